"""Laws of the plot of held-out predictions, read back from matplotlib's artists and from plotly's JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from matplotlib.text import Text

from hwnas.errors import HwnasError
from hwnas.report.figures import draw_held_out, save_figure
from hwnas.report.held_out import BANDS, HeldOutPlot
from hwnas.report.interactive import held_out_html


def held_out(networks: int = 60, spread: float = 8.0, seed: int = 0) -> HeldOutPlot:
    """Networks of which the slowest takes `spread` times as long as the fastest, predicted within a few percent."""
    rng = np.random.default_rng(seed)
    measured_ms = 0.03 * spread ** rng.permutation(np.linspace(0, 1, networks))
    predicted_ms = measured_ms * rng.normal(1, 0.03, networks)
    return HeldOutPlot(
        title="<space> & $co",
        device="cpu <1 thread>",
        points=tuple(zip(measured_ms.tolist(), predicted_ms.tolist(), strict=True)),
        mape=0.024,
        kendall=0.95,
        repeat_noise=0.005,
    )


PLOTS = {
    "logarithmic": held_out(),
    "linear": held_out(spread=2.0),
    "five decades": held_out(spread=1e5),
    "two networks": held_out(networks=2),
    "one network": held_out(networks=1),
    "a long device": replace(held_out(), device="Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, " * 3),
    "nothing known": replace(held_out(), kendall=None, repeat_noise=None),
}
every_plot = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS.keys())


def page_traces(page: str) -> list[dict[str, Any]]:
    start = page.index("[", page.index('"held-out",', page.rindex("Plotly.newPlot(")))
    return json.JSONDecoder().raw_decode(page, start)[0]


@every_plot
def test_every_network_is_drawn_and_in_view(plot: HeldOutPlot) -> None:
    (axes,) = draw_held_out(plot).axes
    (marks,) = (line for line in axes.get_lines() if line.get_gid() == "held-out")
    assert tuple(map(tuple, marks.get_xydata().tolist())) == plot.points
    pixels = axes.transData.transform(marks.get_xydata())
    assert (pixels >= axes.bbox.min).all() and (pixels <= axes.bbox.max).all()


@every_plot
def test_bands_reach_from_edge_to_edge_at_their_share_of_the_diagonal(plot: HeldOutPlot) -> None:
    (axes,) = draw_held_out(plot).axes
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx(plot.latencies_ms)
    for band in BANDS:
        (drawn,) = (part for part in axes.collections if part.get_gid() == f"band-{band:g}")
        x, y = drawn.get_paths()[0].vertices.T
        assert (x.min(), x.max()) == pytest.approx(plot.latencies_ms)
        assert {round(ratio, 9) for ratio in y / x} == {1 - band, 1 + band}


@every_plot
def test_nothing_written_is_cut_off_or_overlaps(plot: HeldOutPlot) -> None:
    figure = draw_held_out(plot)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    written = [axes.xaxis.label, axes.yaxis.label, axes._left_title, *axes.texts]
    for axis in (axes.xaxis, axes.yaxis):
        places = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        written += [label for place, label in places if plot.latencies_ms[0] <= place <= plot.latencies_ms[1]]
    boxes = [Text.get_window_extent(text) for text in written]
    for index, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:index])


@every_plot
def test_both_formats_say_how_well_networks_were_predicted(plot: HeldOutPlot, tmp_path: Path) -> None:
    (axes,) = draw_held_out(plot).axes
    assert any(plot.accuracy in text.get_text() for text in axes.texts)
    assert plot.accuracy in held_out_html(plot)


def test_the_accuracy_says_what_is_known() -> None:
    assert held_out().accuracy == "60 networks, held out, MAPE 2.40 %, Kendall 0.950, repeat noise 0.50 %"
    assert PLOTS["nothing known"].accuracy == "60 networks, held out, MAPE 2.40 %"


def test_a_picture_is_written_and_equal_plots_are_equal_files(tmp_path: Path) -> None:
    save_figure(draw_held_out(held_out()), tmp_path / "fit.png")
    assert imread(tmp_path / "fit.png").shape[:2] == (1400, 1240)
    for name in ("one.svg", "two.svg"):
        save_figure(draw_held_out(held_out()), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert held_out_html(held_out()) == held_out_html(held_out())


@every_plot
def test_the_page_has_every_network_and_its_error(plot: HeldOutPlot) -> None:
    trace = next(trace for trace in page_traces(held_out_html(plot)) if trace["name"] == "held-out network")
    assert tuple(zip(trace["x"], trace["y"], strict=True)) == plot.points
    errors = [100 * (predicted / measured - 1) for measured, predicted in plot.points]
    assert trace["customdata"] == pytest.approx(errors)


def test_names_on_the_page_are_text_not_markup() -> None:
    page = held_out_html(held_out())
    assert "<title>&lt;space&gt; &amp; $co</title>" in page
    assert "cpu <1 thread>" not in page


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=1, max_size=20))
def test_axes_hold_every_network_and_have_enough_ticks_and_not_too_many(points: list[tuple[float, float]]) -> None:
    plot = replace(held_out(), points=tuple(points))
    low, high = plot.latencies_ms
    assert all(low <= latency_ms <= high for point in points for latency_ms in point)
    if plot.logarithmic:
        assert low > 0
        assert 3 <= len(plot.ticks_ms) <= 10
        assert all(low <= tick <= high for tick in plot.ticks_ms)


def test_shares_within_a_band_are_counted() -> None:
    plot = replace(held_out(), points=((1.0, 1.04), (1.0, 0.92), (2.0, 2.4), (4.0, 4.0)))
    assert [plot.share_within(band) for band in BANDS] == [0.5, 0.75]


def test_a_plot_without_networks_says_so() -> None:
    with pytest.raises(HwnasError, match="no held-out networks to draw; fit again"):
        replace(held_out(), points=())
