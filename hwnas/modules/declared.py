"""Compares what operators declare with what their modules do: the output's shape, and the costs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hwnas.core.operator import Operator
from hwnas.core.references import cause, file_of, lines_in
from hwnas.errors import SpaceError, is_out_of_memory, is_the_users
from hwnas.modules.build import build
from hwnas.modules.counting import Counts, counts, require_tensor, sample_of

SHAPES: Final = "output_shape is {}, and its module gives {}"
DTYPES: Final = "outputs must be {}, and its module gives {}"
# What an operator declares: the words for a difference, the declared value and the module's.
Fact = Callable[[Operator, Counts], tuple[str, object, object]]
FACTS: Final[Mapping[str, Fact]] = {
    "output_shape": lambda operator, counted: (
        SHAPES,
        tuple(operator.output_shape),
        counted.output_shape,
    ),
    "output_dtype": lambda operator, counted: (
        DTYPES,
        torch.float32,
        counted.output_dtype,
    ),
    "flops": lambda operator, counted: (
        "cost().flops is {:,}, and its module has {:,}",
        operator.cost().flops,
        counted.cost.flops,
    ),
    "params": lambda operator, counted: (
        "cost().params is {:,}, and its module has {:,}",
        operator.cost().params,
        counted.cost.params,
    ),
    "statistics": lambda operator, counted: (
        "cost().statistics is {:,}, and its module has {:,}",
        operator.cost().statistics,
        counted.cost.statistics,
    ),
    "peak": lambda operator, counted: (
        "peak_bytes() is {:,}, and its module holds {:,} bytes at once",
        operator.peak_bytes(),
        counted.peak_bytes,
    ),
}
# Facts that every use of an operator relies on, or that front.csv shows. The peak is not among them, because modules with inner
# activations exceed its default.
ALWAYS: Final = ("output_shape", "output_dtype", "flops", "params", "statistics")
# The batch size of the run in train mode.
BATCH: Final = 3
# From either of these on, a run without storage is faster than one that makes numbers and computes.
MANY_FLOPS: Final = 3 * 10**7
MANY_PARAMS: Final = 3 * 10**5

# What modules did, by the operator's class and key: networks are built by the thousand from the same few operators.
_counted: Final[dict[tuple[type[Operator], str], Counts]] = {}


def require_declared(operators: Iterable[tuple[str, Operator]], costs: Iterable[str] = ()) -> None:
    """Raises SpaceError for the first operator whose module does not do what the operator declares.

    Compares output shape, dtype, FLOPs, parameters and statistics; the peak only where `costs` names it. `operators` are pairs
    of a place and an operator. Random numbers that modules draw leave torch's generator as it was.
    """
    facts = dict.fromkeys((*ALWAYS, *(name for name in costs if name in FACTS)))
    for place, operator in operators:
        counted = _counts(place, operator)
        for fact in facts:
            wrong = disagreement(operator, counted, fact)
            if wrong:
                raise _disagrees(place, operator, wrong)


def weight_bytes(operator: Operator, precision: str) -> int:
    """Returns the bytes of an operator's numbers in a model file of a precision."""
    return _counts(operator.key, operator).weight_bytes({"": precision})


def disagreement(operator: Operator, counted: Counts, fact: str) -> str:
    """Returns how a declared fact differs from the module's, with both values; empty where the two are equal."""
    words, declared, real = FACTS[fact](operator, counted)
    return "" if declared == real else words.format(declared, real)


@contextmanager
def naming(place: str, operator: Operator) -> Iterator[None]:
    """Turns an error of a module's code into a SpaceError that names the place, the operator and the line.

    A RuntimeError that did not pass through the module's file is left as it is: memory that ran out, or a device's fault.
    """
    try:
        yield
    except BaseException as error:
        is_elsewhere = isinstance(error, RuntimeError) and not lines_in(error, _file(operator))
        if is_the_users(error) and not is_elsewhere:
            raise _fails(place, operator, error) from error
        raise


def _file(operator: Operator) -> str:
    return file_of(operator.module.partition(":")[0])


def _fails(place: str, operator: Operator, error: BaseException) -> SpaceError:
    return SpaceError(f"place {place!r}: {operator.key}: its module fails: {cause(error, _file(operator))}")


def _disagrees(place: str, operator: Operator, wrong: str) -> SpaceError:
    return SpaceError(f"place {place!r}: {operator.key}: {wrong}; correct the one that is wrong")


def _counts(place: str, operator: Operator) -> Counts:
    operator = operator.in_float32
    key = (type(operator), operator.key)
    if key not in _counted:
        with naming(place, operator), torch.random.fork_rng(devices=[]):
            try:
                _counted[key] = _run(place, operator)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                # Shapes that do not fit, in a module that only puts together torch's.
                raise _fails(place, operator, error) from error
    return _counted[key]


def _run(place: str, operator: Operator) -> Counts:
    is_large = operator.cost().flops >= MANY_FLOPS or operator.cost().params >= MANY_PARAMS
    # Modules of others may need the values of their input, and tensors that they keep would stay without storage.
    if not is_large or not operator.module.startswith("hwnas."):
        return _run_here(place, operator)
    with torch.device("meta"), _NormsAsCopies():
        return _run_here(place, operator)


@torch.no_grad()
def _run_here(place: str, operator: Operator) -> Counts:
    """Runs a module in train mode and in eval mode, and returns what it did in the latter."""
    module = build(operator)
    output = module.train()(sample_of(operator.input_shape, operator.vocabulary, batch=BATCH))
    require_tensor(output)
    declared, shape = tuple(operator.output_shape), tuple(output.shape)
    if shape[:1] != (BATCH,):
        wrong = SHAPES.format(declared, f"{shape} for a batch of {BATCH}, where the first axis must be the batch")
        raise _disagrees(place, operator, wrong)
    if shape[1:] != declared:
        raise _disagrees(place, operator, SHAPES.format(declared, shape[1:]))
    if output.dtype != torch.float32:
        raise _disagrees(place, operator, DTYPES.format(torch.float32, output.dtype))
    _require_finite(place, operator, module, output)
    return counts(module, operator.input_shape, operator.vocabulary)


def _require_finite(place: str, operator: Operator, module: torch.nn.Module, output: Tensor) -> None:
    """Raises SpaceError where a module with new weights gives NaN or infinity, for zeros and for random numbers alike.

    Zeros alone are no proof: a module may divide by the norm of its input.
    """
    if output.is_meta or output.isfinite().all():
        return
    shape = (BATCH, *operator.input_shape)
    x = torch.randn(shape) if operator.vocabulary is None else torch.randint(operator.vocabulary, shape)
    if not module(x).isfinite().all():
        raise SpaceError(
            f"place {place!r}: {operator.key}: its module, with new weights, gives outputs that are not finite (NaN or "
            "infinity); correct it"
        )


class _NormsAsCopies(TorchFunctionMode):
    """Takes norms for copies of their input. Without storage, torch works their shapes out in Python: 13 ms a batch-norm."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (F.batch_norm, F.layer_norm) and isinstance(args[0], Tensor):
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))
