"""Runs the command line, and turns errors and signals into exit codes and one line on stderr."""

import errno
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Final

import click

from hwnas.cli import cli
from hwnas.errors import HwnasError, Terminated, is_out_of_memory

KEPT: Final = (
    "what was measured, trained and evaluated so far is kept "
    "(search and train go on by --resume, profile by the same --out)"
)


# The commands that go on with what was kept.
_RESUMABLE: Final = ("search", "train", "profile")
_TRAINING: Final = ("search", "train")
# The options of each command that make it need less memory.
_SMALLER: Final[Mapping[str, str]] = {
    "search": "give a smaller --batch, a smaller --limit-images, or a space of smaller inputs, ",
    "train": "give a smaller --limit-images, or a space of smaller inputs, ",
    "elasticize": "give a smaller --limit-images, ",
    "measure": "give a smaller --batch, or a smaller --resolution, ",
    "profile": "give a smaller --batch, or a space of smaller inputs, ",
    "bundle": "give a smaller --batch, or a space of smaller inputs, ",
    "export": "give a smaller --batch, ",
}
_FULL: Final = "; free space there, or write to another disk"
# What to do about an error of the system.
_ADVICE: Final[Mapping[int | None, str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EISDIR: "; give a file, not a folder",
    errno.ENOTDIR: "; a file stands where a folder is needed; give another path",
    errno.EACCES: "; give a path that you may use",
    errno.EROFS: "; give a path that can be written to",
}


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 2 wrong request, 3 budget, 4 refused by --strict, 1 our fault, 130 and 143
    interrupted, 141 closed pipe."""
    interrupts: list[int] = []

    def interrupt(number: int, _: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, _terminated)
    if hasattr(signal, "SIGPIPE"):
        # A closed pipe (`hwnas predict ... | head`) ends the process without a word, as it ends other commands; click and
        # rich would exit with 1.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, interrupt)
    try:
        sys.exit(cli(sys.argv[1:] or ["--help"], standalone_mode=False))
    except (Exception, KeyboardInterrupt) as error:
        # Interrupted while it is imported, a C extension raises ImportError.
        sys.exit(_told(KeyboardInterrupt() if interrupts else error))


def _told(error: BaseException) -> int:
    """Says on stderr, in one line, what a person can do something about; the exit code."""
    code = 2
    match error:
        case KeyboardInterrupt() | click.Abort():
            message, code = f"interrupted{_kept()}", 130
        case click.ClickException():
            message = " ".join(error.format_message().split())
        case HwnasError():
            message, code = str(error), error.exit_code
        case _ if is_out_of_memory(error):
            message = f"{_less_memory(error)}{_kept()}"
        case OSError():
            advice = _ADVICE.get(error.errno, "")
            kept = _kept() if advice == _FULL else ""
            message = f"{error.filename or 'standard output'}: {error.strerror or error}{advice}{kept}"
        case _:
            traceback.print_exception(error)
            return 1
    click.echo(f"hwnas: {message}", err=True)
    return code


def _less_memory(error: BaseException) -> str:
    """Returns which memory ran out, and what makes the command need less of it."""
    command = _command()
    # Torch says of a GPU: "CUDA out of memory. Tried to allocate ..."
    if isinstance(error, RuntimeError) and "out of memory" in str(error):
        cpu = ", or give --train-on cpu" if command in _TRAINING else ""
        return f"{str(error).split('. ')[0]}; free the GPU's memory{cpu}"
    return f"memory ran out; {_SMALLER.get(command, '')}close other programs, or use a machine with more memory"


def _command() -> str:
    return next(iter(sys.argv[1:2]), "")


def _kept() -> str:
    """Returns what is kept, for commands that can go on."""
    return f"; {KEPT}" if _command() in _RESUMABLE else ""


def _terminated(*_: object) -> None:
    click.echo(f"hwnas: terminated{_kept()}", err=True)
    raise Terminated(143)


if __name__ == "__main__":
    main()
