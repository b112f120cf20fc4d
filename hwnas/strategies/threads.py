"""The number of threads of linear algebra in a strategy."""

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def one_blas_thread(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Returns the function with linear algebra on one thread.

    Threads that share small matrices wait for each other longer than they compute, above all on a busy machine. The order
    of sums, hence the architectures that are chosen, would follow the number of cores, too.
    """

    @wraps(function)
    def limited(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@cache
def _libraries() -> ThreadpoolController:
    """Returns the numerical libraries that are loaded; finding them takes milliseconds."""
    return ThreadpoolController()
