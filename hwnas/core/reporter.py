"""Progress and notes of long work, for the person who waits."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, final, runtime_checkable

Item = TypeVar("Item")


class Reporter(Protocol):
    """A place for progress and notes. The command line shows progress bars; a library call stays silent."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        """Yields the items one by one while a bar named `what` advances."""

    def note(self, text: str) -> None:
        """Writes one line that stays visible."""


@runtime_checkable
class Recorder(Protocol):
    """A reporter that keeps numbers, too, such as the losses of epochs."""

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps the numbers of one step by name, such as `training/loss`; steps are counted from 1."""


def record(reporter: Reporter, step: int, values: Mapping[str, float]) -> None:
    """Records numbers where the reporter keeps numbers."""
    if isinstance(reporter, Recorder):
        reporter.record(step, values)


@final
class Silent:
    """A reporter that shows nothing."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        return items

    def note(self, text: str) -> None:
        return None
