"""Laws of the plots, read back from what was drawn: from matplotlib's artists and from plotly's JSON."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.report.figures import draw_front, save_figure
from hwnas.report.front import STATISTICS, FrontPlot
from hwnas.report.interactive import front_html
from hwnas.report.labels import place_labels
from hwnas.runs.front import FrontRow


def front(points: int = 9, evaluated: int = 200, budget_ms: float | None = 0.15, seed: int = 0) -> FrontPlot:
    rng = np.random.default_rng(seed)
    measured = np.sort(rng.uniform(0.05, 0.25, points))
    cloud_ms = rng.uniform(0.05, 0.28, evaluated)
    cloud = _loss(cloud_ms) * (1 + rng.gamma(1.3, 0.2, evaluated))
    return FrontPlot(
        title="mobilenet <on> CIFAR-10 & $co",
        points=tuple(_point(f"arch{index}", ms, rng, budget_ms) for index, ms in enumerate(measured)),
        evaluated=tuple(zip(cloud_ms.tolist(), cloud.tolist(), strict=True)),
        budget_ms=budget_ms,
        budget_on="median",
        device="cpu <1 thread>",
    )


def _loss(ms: float | np.ndarray) -> float | np.ndarray:
    return 0.05 + 0.4 * np.exp(-17 * (ms - 0.05))


def _point(arch_id: str, ms: float, rng: np.random.Generator, budget_ms: float | None) -> FrontRow:
    predicted = ms * rng.normal(1, 0.03)
    return FrontRow(
        arch_id=arch_id,
        arch='{"kernel":3}',
        onnx=f"models/{arch_id}.onnx",
        loss_val=float(_loss(ms) * rng.uniform(0.99, 1.01)),
        accuracy_val=0.92,
        accuracy_test=0.91,
        predicted_ms=predicted,
        interval_low_ms=0.96 * predicted,
        interval_high_ms=1.05 * predicted,
        measured_ms=float(ms),
        measured_median_ms=1.02 * ms,
        measured_p90_ms=1.1 * ms,
        within_budget=budget_ms is None or 1.02 * ms <= budget_ms,
        budget_ms=budget_ms or 1.0,
        params=123456,
        flops=7654321,
        model_mib=0.5,
        peak_mib=0.25,
    )


PLOTS = {
    "full": front(),
    "one point": front(points=1),
    "two points": front(points=2),
    "none evaluated": front(evaluated=0),
    "no budget": front(budget_ms=None),
    "all over budget": front(budget_ms=0.01),
    "one point and nothing else": front(points=1, evaluated=0, budget_ms=None),
}
every_plot = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS.keys())


def drawn(axes: Axes, *gids: str) -> set[tuple[float, float]]:
    lines = [line for line in axes.get_lines() if line.get_gid() in gids]
    return {(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)}


def page_traces(page: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    decoder = json.JSONDecoder()
    start = page.index("[", page.index('"front",', page.rindex("Plotly.newPlot(")))
    traces, end = decoder.raw_decode(page, start)
    layout, _ = decoder.raw_decode(page, page.index("{", end))
    return traces, layout


# --- The figure.


@every_plot
def test_every_front_point_is_drawn_at_its_measured_latency(plot: FrontPlot) -> None:
    trade_off, prediction = draw_front(plot).axes
    within = {(point.measured_ms, point.loss_val) for point in plot.points if point.within_budget}
    over = {(point.measured_ms, point.loss_val) for point in plot.points if not point.within_budget}
    assert drawn(trade_off, "within") == within
    assert drawn(trade_off, "over") == over
    assert drawn(trade_off, "predicted") == {(point.predicted_ms, point.loss_val) for point in plot.points}
    assert drawn(prediction, "predicted-2") == {(point.measured_ms, point.predicted_ms) for point in plot.points}


@every_plot
def test_every_evaluated_architecture_is_drawn(plot: FrontPlot) -> None:
    assert drawn(draw_front(plot).axes[0], "evaluated") == set(plot.evaluated)


@every_plot
def test_bars_span_the_prediction_intervals(plot: FrontPlot) -> None:
    bars = next(part for part in draw_front(plot).axes[0].collections if part.get_gid() == "intervals")
    ends = [tuple(path.vertices[:, 0]) for path in bars.get_paths()]
    assert ends == [(point.interval_low_ms, point.interval_high_ms) for point in plot.points]


@every_plot
def test_the_budget_line_is_where_the_budget_is(plot: FrontPlot) -> None:
    axes = draw_front(plot).axes[0]
    written = [text.get_text() for text in axes.texts if text.get_text().startswith("budget")]
    assert {x for x, _ in drawn(axes, "budget")} == {plot.budget_ms} - {None}
    assert written == [plot.budget_label] * (plot.budget_ms is not None)


@every_plot
def test_everything_drawn_is_in_view(plot: FrontPlot) -> None:
    for axes in draw_front(plot).axes:
        places = drawn(axes, "within", "over", "predicted", "predicted-2", "evaluated")
        pixels = axes.transData.transform(list(places))
        assert (pixels >= axes.bbox.min).all() and (pixels <= axes.bbox.max).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("points", [1, 2, 3, 8, 12])
def test_accuracies_are_in_view_and_hide_neither_each_other_nor_a_front_point(points: int, seed: int) -> None:
    plot = front(points=points, seed=seed)
    figure = draw_front(plot)
    axes = figure.axes[0]
    labels = [text for text in axes.texts if (text.get_gid() or "").startswith("accuracy-")]
    assert [text.get_gid() for text in labels] == [f"accuracy-{point.arch_id}" for point in plot.highlights]
    assert {text.get_text() for text in labels} == {"test 91.0 %"}
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in labels]  # without the line to the point
    for index, box in enumerate(boxes):
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:index])
        markers = axes.transData.transform(list(drawn(axes, "within", "over")))
        assert not any(box.contains(*marker) for marker in markers)


def of_text(plot: FrontPlot) -> FrontPlot:
    return replace(
        plot, points=tuple(replace(point, perplexity_val=4.5, perplexity_test=4.625) for point in plot.points)
    )


def test_points_of_text_are_labelled_by_their_perplexity() -> None:
    labels = [text for text in draw_front(of_text(front())).axes[0].texts if "accuracy-" in (text.get_gid() or "")]
    assert {text.get_text() for text in labels} == {"test perplexity 4.62"}


def test_drawing_leaves_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    assert isinstance(draw_front(front()), Figure)
    assert dict(matplotlib.rcParams) == before


def untimed(plot: FrontPlot) -> FrontPlot:
    nothing = {"measured_ms": None, "measured_median_ms": None, "measured_p90_ms": None}
    return replace(plot, points=tuple(replace(point, **nothing) for point in plot.points))


@every_plot
def test_what_was_not_timed_is_drawn_at_predicted_latencies_and_says_so(plot: FrontPlot) -> None:
    plot = untimed(plot)
    figure = draw_front(plot)
    (trade_off,) = figure.axes
    predicted = {(point.predicted_ms, point.loss_val) for point in plot.points}
    assert drawn(trade_off, "within", "over") == drawn(trade_off, "predicted") == predicted
    assert "not timed: predicted for cpu <1 thread>" in [text.get_text() for text in figure.texts]
    labels = [handle.get_label() for handle in trade_off.get_legend_handles_labels()[0]]
    assert not any("measured" in label for label in labels)


@every_plot
def test_the_page_of_what_was_not_timed_has_one_panel_and_says_so(plot: FrontPlot) -> None:
    plot = untimed(plot)
    page = front_html(plot)
    traces, layout = page_traces(page)
    assert "xaxis2" not in layout and {trace["xaxis"] for trace in traces} == {"x"}
    places = [(x, y) for trace in traces if trace.get("ids") for x, y in zip(trace["x"], trace["y"], strict=True)]
    assert sorted(places) == sorted((point.predicted_ms, point.loss_val) for point in plot.points)
    assert layout["title"]["subtitle"]["text"].startswith("not timed: predicted for cpu")
    assert "measured: p10" not in page[page.rindex("Plotly.newPlot(") :]


# --- Files.


def test_a_png_has_the_right_size_and_is_not_blank(tmp_path: Path) -> None:
    save_figure(draw_front(front()), tmp_path / "front.png")
    image = imread(tmp_path / "front.png")
    assert image.shape[:2] == (940, 2000)
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 100


def test_an_svg_is_well_formed_and_equal_for_equal_plots(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        save_figure(draw_front(front()), tmp_path / name)
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_saving_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "front.SVG"
    path.write_text("old")
    save_figure(draw_front(front()), path)
    assert path.read_text().startswith("<?xml")
    assert list(tmp_path.iterdir()) == [path]


def test_saving_makes_the_folders(tmp_path: Path) -> None:
    save_figure(draw_front(front()), tmp_path / "no" / "such" / "front.png")
    assert imread(tmp_path / "no" / "such" / "front.png").size


@pytest.mark.parametrize("name", ["front.pdf", "front"])
def test_an_unknown_suffix_says_which_are_known_and_writes_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=rf"unknown plot format '{name}'; known: \.png, \.svg"):
        save_figure(draw_front(front()), tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- The page.


@every_plot
def test_the_page_has_every_point_at_its_measured_latency(plot: FrontPlot) -> None:
    traces, _ = page_traces(front_html(plot))
    places = {
        name: (x, y)
        for trace in traces
        if trace.get("ids")
        for name, x, y in zip(trace["ids"], trace["x"], trace["y"], strict=True)
    }
    assert places == {point.arch_id: (point.measured_ms, point.loss_val) for point in plot.points}
    evaluated = next(trace for trace in traces if trace["name"].startswith("evaluated"))
    assert set(zip(evaluated["x"], evaluated["y"], strict=True)) == set(plot.evaluated)


@every_plot
def test_the_page_has_the_budget_where_it_is(plot: FrontPlot) -> None:
    _, layout = page_traces(front_html(plot))
    lines = [(line["x0"], line["x1"]) for line in layout.get("shapes", [])]
    assert lines == [(plot.budget_ms, plot.budget_ms)] * (plot.budget_ms is not None)


def test_hovering_shows_all_that_is_known_of_a_point() -> None:
    plot = front(points=1)
    traces, _ = page_traces(front_html(plot))
    (text,) = next(trace["hovertext"] for trace in traces if trace.get("ids"))
    point = plot.points[0]
    values = (point.predicted_ms, point.interval_low_ms, point.interval_high_ms, point.measured_ms)
    values += (point.measured_median_ms, point.measured_p90_ms)
    words = ["arch0", "92.00 %", "91.00 %", "123,456", "7,654,321", "within budget: "]
    assert all(word in text for word in [*words, *(f"{value:.4g}" for value in values)])


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_hovering_over_a_point_of_text_shows_its_perplexity() -> None:
    traces, _ = page_traces(front_html(of_text(front(points=1))))
    (text,) = next(trace["hovertext"] for trace in traces if trace.get("ids"))
    assert "perplexity: validation 4.5, test 4.625" in text


def test_the_page_loads_nothing_and_offers_no_upload() -> None:
    page = front_html(front())
    references = _References()
    references.feed(page)
    assert references.found == []
    assert '"showSendToCloud": false' in page
    assert "@import" not in page[: page.index("<script")]


def test_names_are_text_not_markup() -> None:
    page = front_html(front())
    assert "<title>mobilenet &lt;on&gt; CIFAR-10 &amp; $co</title>" in page
    assert "cpu <1 thread>" not in page


def test_equal_plots_give_equal_pages() -> None:
    assert front_html(front()) == front_html(front())


# --- What is plotted.


def test_a_front_without_points_says_so() -> None:
    with pytest.raises(HwnasError, match="the front has no points to draw"):
        replace(front(), points=())


def test_an_unknown_statistic_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown latency statistic 'mean'; known: median, p10, p90"):
        replace(front(), budget_on="mean")


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_budget_says_on_which_statistic_it_is(statistic: str) -> None:
    assert replace(front(), budget_on=statistic).budget_label == f"budget 0.15 ms ({STATISTICS[statistic]})"


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=12), st.randoms())
def test_the_staircase_is_below_every_point_whatever_their_order(places: list[tuple[int, int]], random: Random) -> None:
    template = PLOTS["one point"].points[0]
    points = [replace(template, measured_ms=float(ms), loss_val=float(loss)) for ms, loss in places]
    plot = replace(front(), points=tuple(points))
    for point in points:
        reached = [loss for ms, loss in plot.staircase if ms <= point.measured_ms]
        assert reached and min(reached) <= point.loss_val
    assert set(plot.attained) <= set(points)
    random.shuffle(points)
    assert replace(plot, points=tuple(points)).staircase == plot.staircase


def test_highlights_are_the_fastest_the_knee_and_the_best() -> None:
    template = PLOTS["one point"].points[0]
    places = [(1.0, 1.0), (2.0, 0.8), (3.0, 0.2), (8.0, 0.1), (9.0, 0.5)]
    points = tuple(replace(template, measured_ms=ms, loss_val=loss) for ms, loss in places)
    chosen = replace(front(), points=points).highlights
    assert [(point.measured_ms, point.loss_val) for point in chosen] == [(1.0, 1.0), (3.0, 0.2), (8.0, 0.1)]


def test_a_label_takes_the_place_where_it_hides_least() -> None:
    anchors_12, sizes_12 = np.array([[50.0, 50.0]]), np.array([[20.0, 10.0]])
    frame_22 = np.array([[0.0, 0.0], [100.0, 100.0]])
    left_of = np.array([(x, y) for x in range(0, 50, 2) for y in range(0, 100, 2)], dtype=float)
    centres_12 = place_labels(anchors_12, sizes_12, left_of, np.full(len(left_of), 100.0), frame_22)
    assert centres_12[0, 0] - 10 >= 48
