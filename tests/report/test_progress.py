"""The picture of gradient searches shows every epoch of every search, and every constraint."""

from pathlib import Path

import pytest

from hwnas.errors import HwnasError
from hwnas.report.figures import draw_search, save_figure
from hwnas.report.progress import SearchCurve, SearchPlot


def curve(label: str, epochs: int) -> SearchCurve:
    numbers = range(1, epochs + 1)
    return SearchCurve(
        label=label,
        constraints=("latency", "params"),
        epochs=tuple(numbers),
        ratios=tuple((1 / number, 0.5) for number in numbers),
        multipliers=tuple((0.1 * number, 0.0) for number in numbers),
        entropies=tuple(1 / number for number in numbers),
    )


def test_every_search_and_constraint_has_its_line_through_all_epochs(tmp_path: Path) -> None:
    plot = SearchPlot(title="searches", searches=(curve("0.1 ms", 5), curve("0.2 ms", 8)))
    figure = draw_search(plot)
    costs, multipliers, entropy = ({line.get_gid(): line for line in axes.get_lines()} for axes in figure.axes)
    names = {f"{label} {cost}" for label in ("0.1 ms", "0.2 ms") for cost in ("latency", "params")}
    assert names <= costs.keys() and names == multipliers.keys()
    assert list(costs["0.2 ms latency"].get_ydata()) == [1 / number for number in range(1, 9)]
    assert list(multipliers["0.1 ms latency"].get_xdata()) == [1, 2, 3, 4, 5]
    assert entropy.keys() == {"0.1 ms entropy", "0.2 ms entropy"}
    save_figure(figure, tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000


def test_where_there_was_no_search_there_is_nothing_to_draw() -> None:
    with pytest.raises(HwnasError, match="no gradient search to draw; search with --strategy gradient"):
        SearchPlot(title="a run", searches=())
