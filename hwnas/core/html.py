"""Small tables in HTML, which notebooks show in the place of a value's `repr`."""

from collections.abc import Iterable, Sequence
from html import escape


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table with a line above it.

    >>> html_table("<one>", ["a"], [[1]])
    '<p>&lt;one&gt;</p><table><tr><th>a</th></tr><tr><td>1</td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<p>{escape(title)}</p><table><tr>{head}</tr>{body}</table>"
