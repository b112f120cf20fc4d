"""What long work tells the person who waits: how far it is, and what it found."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, final

Item = TypeVar("Item")


class Reporter(Protocol):
    """The command line shows progress bars; a library call stays silent."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        """The items, one by one, while a bar named `what` advances."""

    def note(self, text: str) -> None:
        """One line that stays."""


@final
class Silent:
    """Says nothing."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        return items

    def note(self, text: str) -> None:
        return None
