"""Every error hwnas raises on purpose. Each says where, what, and what to do, in one line.

HwnasError                      exit 2: the request was wrong
├── UnknownNameError            a space, data set, device ... that does not exist; lists those that do
├── SpaceError                  a search space that contradicts itself, or is not the one a file was made with
├── ArchError                   an architecture that is not in the space
├── DataError                   data that is missing, damaged, or does not fit
│   └── DamagedImageError       an image or a series that cannot be decoded
├── DeviceError                 a device, provider or runtime that cannot be used here
├── MeasurementError            a measurement that cannot be true
├── ExportError                 an ONNX file that does not compute what the network computes
├── TableError                  a table that is damaged or was measured under other conditions
│   └── MissingMeasurementError something was not measured
├── PredictorError              a predictor that does not fit the space or cannot be read
├── RunError                    a run folder that exists, is missing or is damaged
├── TaskError                   a task that cannot be made, or lacks something of the protocol
├── TrainingError               training that went wrong (a loss that is not a number)
├── TrustError                  a file that names Python code which this user has neither run nor allowed
├── ConformanceError            a part that breaks a law of its kind (`hwnas.testing`)
├── BudgetError                 exit 3: no architecture meets the budget
└── WorthError                  exit 4: a front that has learned nothing, where `--strict` was asked for
"""

from collections.abc import Iterable
from difflib import get_close_matches
from errno import ENOMEM
from typing import Final

# Words of torch, ONNX Runtime and C++ for memory that ran out, which they raise as a RuntimeError.
_NO_MEMORY: Final = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message with the known name that is closest; nothing where none is close.

    >>> did_you_mean("stage1.dpth", ["stage1.depth", "stage1.width"])
    "; did you mean 'stage1.depth'?"
    """
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class HwnasError(Exception):
    """Base of all: a message for a person, and the exit code of the command line."""

    exit_code = 2


class UnknownNameError(HwnasError):
    """A name that is not in a list of known ones."""

    def __init__(self, what: str, name: str, known: list[str]) -> None:
        super().__init__(
            f"unknown {what} {name!r}; known: {', '.join(sorted(known)) or 'none'}{did_you_mean(name, known)}"
        )


class SpaceError(HwnasError):
    """A search space that contradicts itself or differs from the one a file was made with."""


class ArchError(HwnasError):
    """An architecture that is not in the space."""


class DataError(HwnasError):
    """Data that is missing, damaged or does not fit the space."""


class DamagedImageError(DataError):
    """An image or a series that cannot be decoded: `where` it is, and what is `wrong` with it."""

    def __init__(self, where: str, wrong: str) -> None:
        self.where, self.wrong = where, wrong
        super().__init__(f"{where}: {wrong}; replace or remove it, or give --skip-damaged")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.where, self.wrong)


class DeviceError(HwnasError):
    """A device, execution provider or runtime that cannot be used here."""


class MeasurementError(HwnasError):
    """A measurement that cannot be true."""


class ExportError(HwnasError):
    """An exported model whose outputs differ from the network's."""


class TableError(HwnasError):
    """A table of measurements that is damaged or was measured under other conditions."""


class MissingMeasurementError(TableError):
    """A table without the rows that are needed."""


class PredictorError(HwnasError):
    """A predictor that does not fit the space or cannot be read."""


class RunError(HwnasError):
    """A run folder that exists already, is missing or is damaged."""


class TaskError(HwnasError):
    """A task that cannot be made or does not keep the protocol of tasks."""


class TrainingError(HwnasError):
    """Training that went wrong."""


class DivergedError(TrainingError):
    """Training whose loss is not a number any more."""


class TrustError(HwnasError):
    """Python code that a file names and this user has neither run nor allowed."""


class ConformanceError(HwnasError):
    """A part that breaks a law of its kind; the message names the place and both values."""


class BudgetError(HwnasError):
    """No architecture of the space meets the budget."""

    exit_code = 3


class WorthError(HwnasError):
    """A front that is worth nothing, where the request was strict."""

    exit_code = 4


class Terminated(SystemExit):
    """The end of the process by a signal. Unlike the SystemExit of a user's code, it is no error of that code."""


def is_out_of_memory(error: BaseException) -> bool:
    """Returns True for every error by which Python, numpy, torch and ONNX Runtime say that memory ran out.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("std::bad_alloc")), is_out_of_memory(ValueError())
    (True, True, False)
    """
    # torch's OutOfMemoryError is a RuntimeError, like what ONNX Runtime and C++ raise.
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == ENOMEM:
        return True
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in _NO_MEMORY)
    )


def is_the_users(error: BaseException) -> bool:
    """Returns True for an error of a user's code: no message of hwnas, no lack of memory, no signal."""
    own = (HwnasError, Terminated)
    return isinstance(error, Exception | SystemExit) and not isinstance(error, own) and not is_out_of_memory(error)
