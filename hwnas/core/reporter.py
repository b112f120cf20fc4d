"""Progress and notes of long work, for the person who waits."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, final

Item = TypeVar("Item")


class Reporter(Protocol):
    """A place for progress and notes. The command line shows progress bars; a library call stays silent."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        """Yields the items one by one while a bar named `what` advances."""

    def note(self, text: str) -> None:
        """Writes one line that stays visible."""


@final
class Silent:
    """A reporter that shows nothing."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        return items

    def note(self, text: str) -> None:
        return None
