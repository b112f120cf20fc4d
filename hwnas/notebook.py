"""Progress and notes in a notebook: one line per piece of work, written over once a second."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import Any, Final, TypeVar, final

Item = TypeVar("Item")

EVERY_S: Final = 1.0


def in_notebook() -> bool:
    """Returns True where a Jupyter kernel runs this process; IPython is not imported for the answer."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


@final
class NotebookReporter:
    """A line per piece of work that lasts, with what is done and the time, and notes as lines of their own."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        return self._tracked(items, what)

    def _tracked(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        began = shown = monotonic()
        handle: Any = None
        for number, item in enumerate(items):
            now = monotonic()
            if now - shown >= EVERY_S:
                handle, shown = _shown(handle, _line(what, number, len(items), now - began)), now
            yield item
        if handle is not None:
            _shown(handle, _line(what, len(items), len(items), monotonic() - began))

    def note(self, text: str) -> None:
        print(text)


def _line(what: str, done: int, count: int, seconds: float) -> str:
    """Returns the line of a piece of work.

    >>> _line("evaluating architectures", 3, 40, 75.2)
    'evaluating architectures 3/40, 0:01:15'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{what} {done}/{count}, {minutes // 60}:{minutes % 60:02}:{rest:02}"


def _shown(handle: Any, text: str) -> Any:
    """Returns the handle of a line that shows the text, in the place of what it showed before."""
    from IPython.display import display

    content = {"text/plain": text}
    if handle is None:
        return display(content, raw=True, display_id=True)
    handle.update(content, raw=True)
    return handle
