"""Laws of the pictures of a run: made from its files alone, in the format of their name."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.core.arch import Arch
from hwnas.errors import HwnasError, RunError, UnknownNameError
from hwnas.report.plots import draw, draw_to, front_plot, search_plot
from hwnas.runs.database import Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder, create_run
from hwnas.runs.front import DeviceLatency, FrontRow, read_front, write_front

METRICS = [{"name": "loss", "unit": "nats", "highest": False}, {"name": "accuracy", "unit": "share", "highest": True}]
CONDITIONS = {"hardware": "AMD EPYC", "runtime": "onnxruntime 1.31.1", "threads": 1}
ARCHS = [Arch({"kernel": kernel}) for kernel in (3, 5, 7)]


def row_of(arch: Arch, loss: float, ms: float) -> FrontRow:
    here = DeviceLatency(
        device="cpu",
        predicted_ms=ms,
        interval_low_ms=0.9 * ms,
        interval_high_ms=1.1 * ms,
        measured_ms=ms,
        measured_median_ms=ms,
        measured_p90_ms=ms,
        within_budget=True,
        budget_ms=0.5,
    )
    nothing = {"measured_ms": None, "measured_median_ms": None, "measured_p90_ms": None, "budget_ms": None}
    return FrontRow(
        arch_id=arch.id,
        arch=arch.key,
        stages="supernet",
        metrics={"loss_val": loss, "accuracy_val": 1 - loss, "accuracy_test": 1 - loss},
        latencies=(here, replace(here, device="board", **nothing)),
        costs={"params": int(1000 * ms), "peak_mib": 0.5},
        onnx=f"models/{arch.id}.onnx",
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run of three evaluated architectures, of which two are on the front; the costs of one are not known."""
    run = create_run(tmp_path / "run", {"strategy": {"name": "gradient", "options": {"sampler": "gdas"}}}, {})
    goal = {"objectives": ["loss", "latency", "latency@board"], "metrics": METRICS, "budget_on": "p90"}
    devices = [{"name": "cpu", "conditions": CONDITIONS}, {"name": "board", **CONDITIONS, "threads": 4}]
    run.write(run.read() | {"title": "tiny on digits", "goal": goal, "devices": devices})
    with closing(RunDatabase(run.database)) as database:
        database.add_evaluations(
            "search", [Evaluation(arch, ("supernet",), {"loss": 0.5, "accuracy": 0.5}) for arch in ARCHS]
        )
        database.add_costs({arch.id: {"latency": 0.25, "latency@board": 0.5, "params": 250.0} for arch in ARCHS[:2]})
    write_front(run.front, [row_of(ARCHS[0], 0.4, 0.2), row_of(ARCHS[1], 0.2, 0.4)])
    return run


def test_the_plot_of_a_run_has_its_points_its_goal_its_devices_and_what_was_evaluated(run: RunFolder) -> None:
    plot = front_plot(run)
    assert (plot.title, list(plot.points)) == ("tiny on digits", read_front(run.front))
    assert [objective.name for objective in plot.goal.objectives] == ["loss", "latency", "latency@board"]
    assert plot.devices == ("AMD EPYC, onnxruntime 1.31.1, 1 thread(s)", "AMD EPYC, onnxruntime 1.31.1, 4 thread(s)")
    known = {"loss": 0.5, "accuracy": 0.5, "latency": 0.25, "latency@board": 0.5, "params": 250.0}
    assert plot.evaluated == (known, known, {"loss": 0.5, "accuracy": 0.5})
    assert [len(pair.evaluated) for pair in plot.pairs] == [2, 2, 2]


def test_a_run_is_drawn_in_every_format_by_the_name_of_the_file(run: RunFolder, tmp_path: Path) -> None:
    for name in ("png", "svg", "pdf", "csv"):
        draw_to(run, tmp_path / f"picture.{name}")
    draw(run, "png")
    assert (tmp_path / "picture.png").read_bytes() == (run.path / "front.png").read_bytes()
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "picture.svg").read_text().startswith("<?xml")
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "picture.csv").read_bytes() == run.front.read_bytes()


def test_a_page_is_refused_with_the_command_that_writes_it(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="`hwnas report"):
        draw_to(run, tmp_path / "front.html")


def test_a_format_that_is_not_known_writes_nothing(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown plot format '.eps'; known: .csv, .html, .pdf, .png, .svg"):
        draw_to(run, tmp_path / "front.eps")
    assert not (tmp_path / "front.eps").exists()


@pytest.mark.parametrize("axes", [("params", "accuracy"), ("latency@board", "peak"), ("loss", "latency")])
def test_any_two_metrics_and_costs_of_the_front_can_be_the_axes(run: RunFolder, axes: tuple[str, str]) -> None:
    (pair,) = front_plot(run, axes).pairs
    assert (pair.x.name, pair.y.name) == axes


def test_axes_that_the_front_does_not_have_are_refused_with_those_that_it_has(run: RunFolder) -> None:
    expected = "unknown axis 'energy'; known: accuracy, latency, latency@board, loss, params, peak"
    with pytest.raises(UnknownNameError, match=expected):
        draw_to(run, run.path / "front.png", axes=("latency", "energy"))


def test_a_run_without_a_front_says_what_makes_it(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run there"):
        front_plot(RunFolder(tmp_path))
    run.front.unlink()
    with pytest.raises(RunError, match="no front there yet; finish the search"):
        front_plot(run)


def test_gradient_searches_are_drawn_by_their_limits_under_the_title_of_the_run(run: RunFolder) -> None:
    run.searches.mkdir()
    epoch = {"epoch": 1, "ratios": [1.1], "multipliers": [0.0], "entropy": 0.9}
    for label in ("latency <= 4 ms", "latency <= 2 ms"):
        facts = {"label": label, "constraints": ["latency"], "epochs": [epoch]}
        (run.searches / f"{label.split()[2]}.json").write_text(json.dumps(facts))
    plot = search_plot(run)
    assert plot.title == "tiny on digits, gdas"
    assert [search.label for search in plot.searches] == ["latency <= 2 ms", "latency <= 4 ms"]
