"""Tasks by name, and from a user's file. Imports no torch: a built-in task's module is imported when the task is made."""

from collections.abc import Callable, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import Any, Final

from hwnas.core.references import cause, resolve
from hwnas.errors import TaskError, is_the_users
from hwnas.tasks.task import Metric, Task

METHODS: Final = ("loss", "imitation", "score", "require_outputs")


def _built_in(reference: str) -> Task:
    task: Task = resolve_name(reference)()
    return task


TASKS: Final[Mapping[str, Callable[[], Task]]] = {
    "classification": partial(_built_in, "hwnas.tasks.classification:Classification"),
    "language": partial(_built_in, "hwnas.tasks.language:Language"),
    "regression": partial(_built_in, "hwnas.tasks.regression:Regression"),
    "segmentation": partial(_built_in, "hwnas.tasks.segmentation:Segmentation"),
}


def load_task(reference: str) -> Task:
    """Returns the task of a built-in name, or the one that `FILE.py:NAME` makes when it is called without arguments.

    Raises UnknownNameError for a name that is neither, TaskError for a file, a function or a task that does not work.
    """
    make = resolve("task", reference, TASKS, TaskError)
    if not callable(make):
        raise TaskError(f"{reference} is a {type(make).__name__}; give a function or class that makes a task")
    try:
        task = make()
    except BaseException as error:
        if is_the_users(error):
            file = reference.rpartition(":")[0]
            raise TaskError(f"{reference}: cannot make the task: {cause(error, file)}") from error
        raise
    return _checked(task, reference)


def _checked(task: Any, reference: str) -> Task:
    """Returns the task. Raises TaskError where it lacks something of the protocol."""
    lacking = [name for name in METHODS if not callable(getattr(task, name, None))]
    if lacking:
        raise TaskError(
            f"{reference} makes a {type(task).__name__} without {', '.join(lacking)}; see hwnas/tasks/task.py"
        )
    name, metrics = getattr(task, "name", None), getattr(task, "metrics", None)
    if not isinstance(name, str) or not name:
        raise TaskError(f"{reference} makes a task without a name; set `name` to a short string")
    if not isinstance(metrics, tuple) or not metrics or not all(isinstance(metric, Metric) for metric in metrics):
        raise TaskError(
            f"the metrics of the task {name} are {metrics!r}; give a tuple of one hwnas.tasks.task.Metric or more"
        )
    names = [metric.name for metric in metrics]
    if len(set(names)) < len(names) or not all(each.isidentifier() for each in names):
        raise TaskError(f"the metrics of the task {name} are named {names}; give different names that are identifiers")
    checked: Task = task
    return checked
