"""Laws of the plots of fronts, read back from what was drawn, by matplotlib's artists."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
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
from hwnas.report.described import described
from hwnas.report.figures import save_figure
from hwnas.report.front import MOST_PANELS, STATISTICS, FrontPlot, Pair
from hwnas.report.front_figure import draw_front
from hwnas.report.labels import place_labels
from hwnas.runs.front import DeviceLatency, FrontRow
from hwnas.runs.objectives import goal_of
from hwnas.tasks.task import Metric

LOSS, ACCURACY = Metric(name="loss", unit="nats"), Metric(name="accuracy", unit="share", highest=True)
PERPLEXITY = Metric(name="perplexity")
TWO = ("loss", "latency")
GOAL = goal_of(TWO, (LOSS, ACCURACY))


def front(
    points: int = 9,
    evaluated: int = 200,
    budget_ms: float | None = 0.15,
    seed: int = 0,
    objectives: tuple[str, ...] = TWO,
    devices: tuple[str, ...] = ("cpu",),
) -> FrontPlot:
    rng = np.random.default_rng(seed)
    measured = np.sort(rng.uniform(0.05, 0.25, points))
    cloud_ms = rng.uniform(0.05, 0.28, evaluated)
    cloud = _loss(cloud_ms) * (1 + rng.gamma(1.3, 0.2, evaluated))
    return FrontPlot(
        title="mobilenet <on> CIFAR-10 & $co",
        points=tuple(_point(f"arch{index}", ms, rng, budget_ms, devices) for index, ms in enumerate(measured)),
        goal=goal_of(objectives, (LOSS, ACCURACY)),
        devices=tuple(f"{device} <1 thread>" for device in devices),
        evaluated=tuple(_values(float(ms), float(loss), devices[1:]) for ms, loss in zip(cloud_ms, cloud, strict=True)),
    )


def _loss(ms: float | np.ndarray) -> float | np.ndarray:
    return 0.05 + 0.4 * np.exp(-17 * (ms - 0.05))


def _values(ms: float, loss: float, further: tuple[str, ...]) -> dict[str, float]:
    """The metrics and predicted costs of an evaluated architecture."""
    costs = {"latency": ms, "params": 1e6 * ms, "energy": 3 * ms}
    return {"loss": loss, "accuracy": 1 - loss, **costs, **{f"latency@{device}": 2 * ms for device in further}}


def _point(
    arch_id: str, ms: float, rng: np.random.Generator, budget_ms: float | None, devices: tuple[str, ...]
) -> FrontRow:
    metrics = {"loss_val": float(_loss(ms) * rng.uniform(0.99, 1.01)), "loss_test": 0.2}
    return FrontRow(
        arch_id=arch_id,
        arch='{"kernel":3}',
        stages="supernet > recalibrate",
        onnx=f"models/{arch_id}.onnx",
        metrics={**metrics, "accuracy_val": 0.92, "accuracy_test": 0.91},
        latencies=tuple(
            _latency(device, ms * (1 + index), rng, budget_ms and budget_ms * (1 + index))
            for index, device in enumerate(devices)
        ),
        costs={"params": 123456, "flops": 7654321, "model_mib": 0.5, "energy_mj": 3.25 * ms},
    )


def _latency(device: str, ms: float, rng: np.random.Generator, budget_ms: float | None) -> DeviceLatency:
    predicted = ms * rng.normal(1, 0.03)
    return DeviceLatency(
        device=device,
        predicted_ms=predicted,
        interval_low_ms=0.96 * predicted,
        interval_high_ms=1.05 * predicted,
        measured_ms=float(ms),
        measured_median_ms=1.02 * ms,
        measured_p90_ms=1.1 * ms,
        within_budget=budget_ms is None or 1.02 * ms <= budget_ms,
        budget_ms=budget_ms,
    )


def changed(point: FrontRow, device: int = 0, **changes: Any) -> FrontRow:
    """The row with other latencies on a device, or another loss."""
    metrics = {**point.metrics, **{name: changes.pop(name) for name in ("loss_val",) if name in changes}}
    latencies = [replace(one, **changes) if at == device else one for at, one in enumerate(point.latencies)]
    return replace(point, metrics=metrics, latencies=tuple(latencies))


def tuned(plot: FrontPlot) -> FrontPlot:
    """The front after final training: every metric as it was before, too."""
    before = {"loss_val_before": 0.5, "accuracy_val_before": 0.8, "accuracy_test_before": 0.79}
    return replace(plot, points=tuple(replace(point, metrics={**point.metrics, **before}) for point in plot.points))


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
BOARD = "latency@board"
MANY = {
    "loss, latency, params": front(objectives=(*TWO, "params")),
    "accuracy, energy": front(objectives=("accuracy", "energy")),
    "two devices": front(objectives=(*TWO, BOARD), devices=("cpu", "board")),
    "four": front(objectives=("loss", "accuracy", "latency", "energy")),
    "after final training": tuned(front(objectives=(*TWO, "params"))),
    "one point": front(points=1, evaluated=0, objectives=(*TWO, "energy")),
}
any_front = pytest.mark.parametrize("plot", [*PLOTS.values(), *MANY.values()], ids=[*PLOTS, *MANY])


_FIGURES: dict[int, Figure] = {}


def figure_of(plot: FrontPlot) -> Figure:
    """The figure of a plot of this module, drawn once: drawing takes most of the time of these tests."""
    if id(plot) not in _FIGURES:
        _FIGURES[id(plot)] = draw_front(plot)
    return _FIGURES[id(plot)]


def drawn(axes: Axes, *gids: str) -> set[tuple[float, float]]:
    lines = [line for line in axes.get_lines() if line.get_gid() in gids]
    return {(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)}


def cloud(plot: FrontPlot) -> set[tuple[float, float]]:
    return {(values["latency"], values["loss"]) for values in plot.evaluated}


# --- The figure.


@every_plot
def test_every_front_point_is_drawn_at_its_measured_latency(plot: FrontPlot) -> None:
    trade_off, prediction = figure_of(plot).axes
    within = {(point.measured_ms, point.loss_val) for point in plot.points if point.within_budget}
    over = {(point.measured_ms, point.loss_val) for point in plot.points if not point.within_budget}
    assert drawn(trade_off, "within") == within
    assert drawn(trade_off, "over") == over
    assert drawn(trade_off, "predicted") == {(point.predicted_ms, point.loss_val) for point in plot.points}
    assert drawn(prediction, "predicted-2") == {(point.measured_ms, point.predicted_ms) for point in plot.points}


@every_plot
def test_every_evaluated_architecture_is_drawn(plot: FrontPlot) -> None:
    assert drawn(figure_of(plot).axes[0], "evaluated") == cloud(plot)


@every_plot
def test_bars_span_the_prediction_intervals(plot: FrontPlot) -> None:
    bars = next(part for part in figure_of(plot).axes[0].collections if part.get_gid() == "intervals")
    ends = [tuple(path.vertices[:, 0]) for path in bars.get_paths()]
    assert ends == [(point.interval_low_ms, point.interval_high_ms) for point in plot.points]


@every_plot
def test_the_budget_line_is_where_the_budget_is(plot: FrontPlot) -> None:
    axes = figure_of(plot).axes[0]
    written = [text.get_text() for text in axes.texts if text.get_text().startswith("budget")]
    budget_ms = plot.points[0].budget_ms
    assert {x for x, _ in drawn(axes, "budget")} == {budget_ms} - {None}
    assert written == ([] if budget_ms is None else [f"budget {budget_ms:g} ms (median)"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("points", [1, 2, 3, 8, 12])
def test_accuracies_are_in_view_and_hide_neither_each_other_nor_a_front_point(points: int, seed: int) -> None:
    plot = front(points=points, seed=seed)
    figure = draw_front(plot)
    axes = figure.axes[0]
    labels = [text for text in axes.texts if (text.get_gid() or "").startswith("label-")]
    assert [text.get_gid() for text in labels] == [f"label-{point.arch_id}" for point in plot.highlights.values()]
    assert {text.get_text() for text in labels} == {"test accuracy 91.0 %"}
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in labels]  # without the line to the point
    for index, box in enumerate(boxes):
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:index])
        markers = axes.transData.transform(list(drawn(axes, "within", "over")))
        assert not any(box.contains(*marker) for marker in markers)


def of_text(plot: FrontPlot) -> FrontPlot:
    metrics = {"loss_val": 1.5, "loss_test": 1.53, "perplexity_val": 4.5, "perplexity_test": 4.625}
    points = tuple(replace(point, metrics=metrics) for point in plot.points)
    return replace(plot, points=points, goal=goal_of(TWO, (LOSS, PERPLEXITY, ACCURACY)))


def test_points_of_text_are_labelled_by_their_perplexity() -> None:
    labels = [text for text in draw_front(of_text(front())).axes[0].texts if "label-" in (text.get_gid() or "")]
    assert {text.get_text() for text in labels} == {"test perplexity 4.625"}


def test_drawing_leaves_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    assert isinstance(draw_front(front()), Figure)
    assert dict(matplotlib.rcParams) == before


def untimed(plot: FrontPlot) -> FrontPlot:
    nothing = {"measured_ms": None, "measured_median_ms": None, "measured_p90_ms": None}
    return replace(plot, points=tuple(changed(point, **nothing) for point in plot.points))


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


# --- Files.


def test_a_png_has_the_right_size_and_is_not_blank(tmp_path: Path) -> None:
    save_figure(draw_front(front()), tmp_path / "front.png")
    image = imread(tmp_path / "front.png")
    assert image.shape[:2] == (940, 2000)
    colours = (255 * image[..., :3]).astype(int) @ [1 << 16, 1 << 8, 1]
    assert len(np.unique(colours)) > 100


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


@pytest.mark.parametrize("name", ["front.eps", "front"])
def test_an_unknown_suffix_says_which_are_known_and_writes_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=rf"unknown plot format '{name}'; known: \.pdf, \.png, \.svg"):
        save_figure(draw_front(front()), tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- Words.


def test_all_that_is_known_of_a_point_is_said() -> None:
    plot = front(points=1)
    point, text = plot.points[0], "\n".join(described(plot.points[0], plot.goal.metrics))
    values = (point.predicted_ms, point.interval_low_ms, point.interval_high_ms, point.measured_ms)
    values += (point.measured_median_ms, point.measured_p90_ms)
    words = ["92.00 %", "91.00 %", "123,456", "7,654,321", "within budget: ", "supernet > recalibrate"]
    assert all(word in text for word in [*words, *(f"{value:.4g}" for value in values)])


def test_a_point_of_text_is_told_by_its_perplexity() -> None:
    plot = of_text(front(points=1))
    assert "perplexity: validation 4.5, test 4.625" in described(plot.points[0], plot.goal.metrics)


# --- What is plotted.


def test_a_front_without_points_says_so() -> None:
    with pytest.raises(HwnasError, match="the front has no points to draw"):
        replace(front(), points=())


def test_an_unknown_statistic_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown latency statistic 'mean'; known: median, p10, p90"):
        replace(front(), goal=replace(GOAL, budget_on="mean"))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_budget_says_on_which_statistic_it_is(statistic: str) -> None:
    (pair,) = replace(front(), goal=replace(GOAL, budget_on=statistic)).pairs
    assert pair.budget_label(pair.x) == f"budget 0.15 ms ({STATISTICS[statistic]})"


def test_several_budgets_are_all_drawn() -> None:
    plot = front()
    points = tuple(changed(point, budget_ms=0.1 * (1 + at % 2)) for at, point in enumerate(plot.points))
    plot = replace(plot, points=points)
    assert {x for x, _ in drawn(draw_front(plot).axes[0], "budget")} == {0.1, 0.2}
    assert plot.pairs[0].budget_label(plot.pairs[0].x) == "budgets 0.1, 0.2 ms (median)"


PLACES = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=12)


@given(PLACES, st.sampled_from(["loss", "accuracy"]), st.randoms())
def test_nothing_is_beyond_the_staircase_whatever_the_order_of_the_points(
    places: list[tuple[int, int]], metric: str, random: Random
) -> None:
    template = PLOTS["one point"].points[0]
    points = [changed(template, measured_ms=float(ms), loss_val=float(value)) for ms, value in places]
    points = [replace(point, metrics={**point.metrics, "accuracy_val": point.loss_val}) for point in points]
    plot = replace(front(objectives=(metric, "latency")), points=tuple(points))
    (pair,) = plot.pairs
    sign = -1 if metric == "accuracy" else 1
    for ms, value in map(pair.place, points):
        reached = [sign * y for x, y in pair.staircase if x <= ms]
        assert reached and min(reached) <= sign * value
    assert set(plot.attained) <= set(points)
    random.shuffle(points)
    assert replace(plot, points=tuple(points)).pairs[0].staircase == pair.staircase


def test_highlights_are_the_fastest_the_knee_and_the_best() -> None:
    template = PLOTS["one point"].points[0]
    places = [(1.0, 1.0), (2.0, 0.8), (3.0, 0.2), (8.0, 0.1), (9.0, 0.5)]
    points = tuple(replace(changed(template, measured_ms=ms, loss_val=loss), arch_id=f"{ms}") for ms, loss in places)
    chosen = replace(front(), points=points).highlights
    assert {name: point.measured_ms for name, point in chosen.items()} == {"fastest": 1.0, "knee": 3.0, "best": 8.0}


# --- Any number of objectives, devices and metrics.


def pair_of(plot: FrontPlot, x: str, y: str) -> Pair:
    return next(pair for pair in plot.pairs if (pair.x.name, pair.y.name) == (x, y))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "board")])
def test_every_pair_of_objectives_has_a_panel_and_what_was_measured_as_far_as_there_is_room(
    count: int, devices: tuple[str, ...]
) -> None:
    objectives = ("loss", "latency", "params", "energy")[:count]
    plot = front(points=3, evaluated=5, objectives=objectives, devices=devices)
    pairs = [{pair.x.name, pair.y.name} for pair in plot.pairs]
    assert pairs == [{one, other} for at, one in enumerate(objectives) for other in objectives[at + 1 :]]
    assert len(plot.comparisons) == min(len(devices), MOST_PANELS - len(pairs))
    figure = draw_front(plot)
    assert len(figure.axes) == len(pairs) + len(plot.comparisons) <= MOST_PANELS


@any_front
def test_every_point_is_in_every_panel_at_its_values(plot: FrontPlot) -> None:
    for axes, pair in zip(figure_of(plot).axes, plot.pairs, strict=False):
        assert drawn(axes, "within", "over") == {pair.place(point) for point in plot.points}


@any_front
def test_everything_drawn_is_in_view_of_every_panel(plot: FrontPlot) -> None:
    for axes in figure_of(plot).axes:
        places = drawn(axes, "within", "over", "predicted", "predicted-2", "evaluated", "before")
        pixels = axes.transData.transform(list(places))
        assert (pixels >= axes.bbox.min).all() and (pixels <= axes.bbox.max).all()


@any_front
def test_labels_are_in_view_and_hide_neither_each_other_nor_a_point(plot: FrontPlot) -> None:
    figure = figure_of(plot)
    figure.draw_without_rendering()
    for axes in figure.axes[: len(plot.pairs)]:
        labels = [text for text in axes.texts if (text.get_gid() or "").startswith("label-")]
        assert [text.get_gid() for text in labels] == [f"label-{row.arch_id}" for row in plot.highlights.values()]
        boxes = [Text.get_window_extent(text) for text in labels]
        for index, box in enumerate(boxes):
            assert (axes.bbox.min <= box.min + 1).all() and (box.max <= axes.bbox.max + 1).all()
            assert not any(box.overlaps(other) for other in boxes[:index])


def test_latencies_are_on_x_before_other_costs_and_metrics_are_on_y() -> None:
    plot = front(objectives=("params", "loss", "latency", "accuracy"))
    assert [(pair.x.name, pair.y.name) for pair in plot.pairs] == [
        ("params", "loss"),
        ("latency", "params"),
        ("params", "accuracy"),
        ("latency", "loss"),
        ("accuracy", "loss"),
        ("latency", "accuracy"),
    ]


def test_axes_are_named_by_metric_or_cost_and_unit() -> None:
    labels = {
        axis.label
        for pair in front(objectives=("loss", "accuracy", "params", "energy")).pairs
        for axis in (pair.x_axis, pair.y_axis)
    }
    assert labels == {"validation loss (nats)", "validation accuracy (%)", "parameters", "energy (mJ)"}


def test_shares_are_drawn_in_percent() -> None:
    plot = front(objectives=("accuracy", "latency"))
    assert {y for _, y in drawn(draw_front(plot).axes[0], "within", "over")} == {92.0}
    assert {y for _, y in plot.pairs[0].evaluated} == {100 * values["accuracy"] for values in plot.evaluated}


def test_a_device_that_is_not_here_is_said_to_be_predicted_and_the_other_to_be_measured() -> None:
    plot = front(objectives=(*TWO, BOARD), devices=("cpu", "board"))
    nothing = {"measured_ms": None, "measured_median_ms": None, "measured_p90_ms": None}
    plot = replace(plot, points=tuple(changed(point, device=1, **nothing) for point in plot.points))
    pair = pair_of(plot, "latency", BOARD)
    assert (pair.x_axis.label, pair.y_axis.label) == (
        "latency on cpu, measured, p10 (ms)",
        "latency on board, predicted (ms)",
    )
    assert plot.subtitle == "cpu: cpu <1 thread>\nboard: not timed: predicted for board <1 thread>"
    assert [comparison.labels[0] for comparison in plot.comparisons] == ["measured latency on cpu, p10 (ms)"]


def test_each_device_has_its_budget_on_its_own_axis() -> None:
    plot = front(objectives=(*TWO, BOARD), devices=("cpu", "board"))
    axes = draw_front(plot).axes[plot.pairs.index(pair_of(plot, "latency", BOARD))]
    assert {x for x, _ in drawn(axes, "budget")} == {0.15}
    assert {y for _, y in drawn(axes, "budget-y")} == {0.3}
    written = [text.get_text() for text in axes.texts if text.get_text().startswith("budget")]
    assert written == ["budget 0.15 ms (median)", "budget 0.3 ms (median)"]


def test_a_device_that_is_named_twice_in_a_panel_has_its_intervals_on_both_axes() -> None:
    plot = front(objectives=(*TWO, BOARD), devices=("cpu", "board"))
    axes = draw_front(plot).axes[plot.pairs.index(pair_of(plot, "latency", BOARD))]
    bars = {part.get_gid(): part for part in axes.collections}
    for at, gid in enumerate(("intervals", "intervals-y")):
        ends = [tuple(path.vertices[:, at]) for path in bars[gid].get_paths()]
        assert ends == [
            (point.latencies[at].interval_low_ms, point.latencies[at].interval_high_ms) for point in plot.points
        ]


def test_points_before_final_training_are_marked_where_a_metric_is_drawn() -> None:
    plot = MANY["after final training"]
    for axes, pair in zip(draw_front(plot).axes, plot.pairs, strict=False):
        before = {(pair.x.value(point), 0.5) for point in plot.points}
        assert drawn(axes, "before") == (before if pair.y.metric else set())
    text = "\n".join(described(plot.points[0], plot.goal.metrics))
    assert "accuracy: validation 92.00 % (before 80.00 %), test 91.00 % (before 79.00 %)" in text


def test_what_is_beaten_in_two_of_three_objectives_is_small() -> None:
    plot = MANY["loss, latency, params"]
    axes = draw_front(plot).axes[plot.pairs.index(pair_of(plot, "params", "loss"))]
    sizes = {line.get_markersize() for line in axes.get_lines() if line.get_gid() in ("within", "over")}
    assert sizes == {5, 8}
    best = min(plot.points, key=lambda point: point.loss_val)
    large = [line for line in axes.get_lines() if line.get_gid() in ("within", "over") and line.get_markersize() == 8]
    assert {(float(x), float(y)) for line in large for x, y in zip(*line.get_data(), strict=True)} == {
        (123456.0, best.loss_val)
    }


def test_two_axes_of_choice_are_one_panel_in_the_order_asked_for() -> None:
    plot = front(objectives=(*TWO, "params"))
    plot = replace(plot, axes=(plot.goal.objective("accuracy"), plot.goal.objective("energy")))
    (pair,) = plot.pairs
    assert (pair.x.name, pair.y.name) == ("accuracy", "energy")
    figure = draw_front(plot)
    assert drawn(figure.axes[0], "within", "over") == {(92.0, point.energy_mj) for point in plot.points}


def test_an_architecture_whose_costs_are_not_known_is_left_out_of_the_panels_that_need_them() -> None:
    plot = replace(front(objectives=(*TWO, "params")), evaluated=({"loss": 0.3, "latency": 0.1}, {"loss": 0.2}))
    assert [len(pair.evaluated) for pair in plot.pairs] == [1, 0, 0]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_point_that_is_not_finite_leaves_the_others_drawn(value: float) -> None:
    plot = front(points=4)
    points = (changed(plot.points[0], loss_val=float(value)), *plot.points[1:])
    plot = replace(plot, points=points)
    axes = draw_front(plot).axes[0]
    assert {pair for pair in drawn(axes, "within") if np.isfinite(pair).all()} == {
        (point.measured_ms, point.loss_val) for point in points[1:] if point.within_budget
    }


def test_a_label_takes_the_place_where_it_hides_least() -> None:
    anchors_12, sizes_12 = np.array([[50.0, 50.0]]), np.array([[20.0, 10.0]])
    frame_22 = np.array([[0.0, 0.0], [100.0, 100.0]])
    left_of = np.array([(x, y) for x in range(0, 50, 2) for y in range(0, 100, 2)], dtype=float)
    centres_12 = place_labels(anchors_12, sizes_12, left_of, np.full(len(left_of), 100.0), frame_22)
    assert centres_12[0, 0] - 10 >= 48
