"""A reporter for tests of what people are told."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Notes:
    """A reporter that keeps its notes, in order, in `texts`."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        return items

    def note(self, text: str) -> None:
        self.texts.append(text)
