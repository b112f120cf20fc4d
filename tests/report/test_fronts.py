"""Laws of pictures of several runs, and of networks as blocks: their numbers are those of the runs' files."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.report.fronts_figure import draw_fronts
from hwnas.report.network_figure import draw_networks
from hwnas.report.plots import draw_fronts_to, draw_networks_to, fronts_plot, networks_plot
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, read_front, write_front

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def runs(made_run: MakeRun, tmp_path: Path) -> list[RunFolder]:
    """Two runs; every second network of the second is over its budget."""
    first, second = made_run(tmp_path / "first", 30), made_run(tmp_path / "second", 60)
    rows = read_front(second.front)
    write_front(second.front, [over_budget(row) if at % 2 else row for at, row in enumerate(rows)])
    return [first, second]


def over_budget(row: FrontRow) -> FrontRow:
    return replace(row, latencies=(replace(row.latencies[0], within_budget=False),))


def drawn(figure: Figure, gid: str) -> list[tuple[float, float]]:
    lines = (line for axes in figure.axes for line in axes.lines if line.get_gid() == gid)
    return [(float(x), float(y)) for line in lines for x, y in line.get_xydata()]


def test_every_network_of_every_front_is_drawn_where_its_run_has_it(runs: list[RunFolder]) -> None:
    figure = draw_fronts(fronts_plot(runs, ("latency", "accuracy")))
    for run in runs:
        for within, gid in ((True, "within"), (False, "over")):
            rows = [row for row in read_front(run.front) if row.within_budget == within]
            places = [(row.latency_ms, 100 * row.accuracy_val) for row in rows]
            found = [place for end in ("", ", beaten") for place in drawn(figure, f"{run.path.name} {gid}{end}")]
            assert np.allclose(sorted(found), sorted(places)) if places else not found


def test_the_legend_tells_runs_apart_and_says_what_is_hollow(runs: list[RunFolder]) -> None:
    (legend,) = draw_fronts(fronts_plot(runs)).legends
    first, second, small, hollow = [text.get_text() for text in legend.get_texts()]
    count = len(read_front(runs[0].front))
    assert first == f"first: {count} networks, measured (p10), budget 0.15 ms (median)"
    assert second.startswith("second: ") and hollow == "hollow: over budget"
    assert small.startswith("small: beaten")


def test_devices_stand_in_the_legend_where_runs_have_different_ones(runs: list[RunFolder]) -> None:
    plot = fronts_plot(runs)
    assert plot.notes == plot.fronts[0].described_devices
    assert plot.fronts[0].described_devices[0] not in plot.label(plot.fronts[0])
    facts = runs[1].read()
    (device,) = facts["devices"]
    runs[1].write(facts | {"devices": [device | {"conditions": device["conditions"] | {"hardware": "a board"}}]})
    plot = fronts_plot(runs)
    assert plot.notes == ()
    assert "a board" in plot.label(plot.fronts[1])
    assert plot.fronts[0].described_devices[0] in plot.label(plot.fronts[0])


def test_metrics_of_different_data_are_compared_with_a_warning(runs: list[RunFolder]) -> None:
    runs[1].write(runs[1].read() | {"data": {"digest": "abc"}})
    assert any("split it differently" in note for note in fronts_plot(runs).notes)
    assert not any("split it differently" in note for note in fronts_plot(runs, ("latency", "params")).notes)


def test_runs_of_different_tasks_share_no_axis(runs: list[RunFolder]) -> None:
    facts = runs[1].read()
    metrics = [{**facts["goal"]["metrics"][0], "unit": "bits"}, *facts["goal"]["metrics"][1:]]
    runs[1].write(facts | {"goal": facts["goal"] | {"metrics": metrics}})
    with pytest.raises(HwnasError, match="first and second do not have the same loss: plot runs of one task"):
        fronts_plot(runs)


def test_the_table_of_several_runs_has_the_rows_of_each(runs: list[RunFolder], tmp_path: Path) -> None:
    draw_fronts_to(runs, tmp_path / "fronts.csv")
    lines = list(csv.DictReader((tmp_path / "fronts.csv").read_text().splitlines()))
    for run in runs:
        own = [
            {name: cell for name, cell in line.items() if name != "run"}
            for line in lines
            if line["run"] == run.path.name
        ]
        assert own == list(csv.DictReader(run.front.read_text().splitlines()))


def test_runs_of_one_name_are_told_apart_and_one_run_given_twice_is_refused(made_run: MakeRun, tmp_path: Path) -> None:
    same = [made_run(tmp_path / parent / "run", 30) for parent in ("one", "two")]
    assert [front.name for front in fronts_plot(same).fronts] == [str(run.path) for run in same]
    with pytest.raises(HwnasError, match="is given twice; give each run once"):
        fronts_plot([same[0], RunFolder(tmp_path / "one" / ".." / "one" / "run")])


@pytest.mark.parametrize("draw", [draw_fronts_to, lambda runs, path: draw_networks_to(runs[0], ["best"], path)])
def test_pictures_are_written_in_every_format_and_a_page_is_refused(
    draw: Callable[[list[RunFolder], Path], None], runs: list[RunFolder], tmp_path: Path
) -> None:
    for name, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        draw(runs, tmp_path / f"picture.{name}")
        content = (tmp_path / f"picture.{name}").read_bytes()
        draw(runs, tmp_path / f"picture.{name}")
        assert content.startswith(start) and (tmp_path / f"picture.{name}").read_bytes() == content
    with pytest.raises(HwnasError, match=r"page"):
        draw(runs, tmp_path / "picture.html")
    assert not (tmp_path / "picture.html").exists()


def test_the_blocks_of_a_network_add_up_to_its_prediction(runs: list[RunFolder]) -> None:
    rows = read_front(runs[0].front)
    plot = networks_plot(runs[0], ["fastest", rows[-1].arch_id])
    for number, row in enumerate((rows[0], rows[-1])):
        blocks = [plot.block(place, number) for place in plot.places]
        assert sum(ms for _, ms in filter(None, blocks)) == pytest.approx(plot.rows[number].latencies[0].predicted_ms)
        options: dict[str, Any] = json.loads(row.arch)
        words, _ = plot.block("stage1.block1", number) or ("", 0.0)
        assert f"kernel {options['stage1.block1.kernel']}" in words


def test_a_block_that_a_network_lacks_leaves_a_gap(runs: list[RunFolder]) -> None:
    ids = [row.arch_id for row in read_front(runs[1].front)]
    plot = networks_plot(runs[1], ids)
    figure = draw_networks(plot)
    gids = {patch.get_gid() for axes in figure.axes for patch in axes.patches}
    gaps = 0
    for number in range(len(ids)):
        for place in plot.places[:-1]:
            is_there = plot.block(place, number) is not None
            assert (f"block-{number}-{place}" in gids) == is_there
            gaps += not is_there
    assert gaps


def test_the_table_of_a_network_adds_up_to_its_prediction(runs: list[RunFolder], tmp_path: Path) -> None:
    draw_networks_to(runs[0], ["knee", "best"], tmp_path / "networks.csv")
    lines = list(csv.DictReader((tmp_path / "networks.csv").read_text().splitlines()))
    by_id = {row.arch_id: row for row in read_front(runs[0].front)}
    assert len({line["network"] for line in lines}) == 2
    for arch_id in {line["network"] for line in lines}:
        total_ms = sum(float(line["latency_ms"]) for line in lines if line["network"] == arch_id)
        assert total_ms == pytest.approx(by_id[arch_id].latencies[0].predicted_ms)


def test_a_network_that_was_not_evaluated_and_one_without_layers_are_refused(runs: list[RunFolder]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown network 'nkee'.*did you mean 'knee'"):
        networks_plot(runs[0], ["nkee"])
    rows = read_front(runs[0].front)
    longer = [replace(row.latencies[0], predicted_ms=2 * row.latencies[0].predicted_ms) for row in rows]
    write_front(runs[0].front, [replace(row, latencies=(one,)) for row, one in zip(rows, longer, strict=True)])
    with pytest.raises(HwnasError, match="does not say how long each layer takes"):
        networks_plot(runs[0], ["best"])


def test_a_network_under_two_names_is_drawn_once_with_both(runs: list[RunFolder]) -> None:
    (best,) = networks_plot(runs[0], ["best"]).rows
    plot = networks_plot(runs[0], ["best", best.arch_id, "best"])
    assert [row.arch_id for row in plot.rows] == [best.arch_id]
    assert plot.heading(0).startswith(f"best, {best.arch_id} ({best.arch_id})")
    assert len(plot.csv().splitlines()) == len(networks_plot(runs[0], ["best"]).csv().splitlines())


def test_axes_of_a_device_fit_runs_whose_first_device_it_is(runs: list[RunFolder]) -> None:
    rows = read_front(runs[0].front)
    board = [
        replace(row.latencies[0], device="board", measured_ms=None, predicted_ms=5.0, budget_ms=3.0) for row in rows
    ]
    board = [replace(one, measured_median_ms=None, measured_p90_ms=None, within_budget=False) for one in board]
    write_front(
        runs[0].front,
        [replace(row, latencies=(one, row.latencies[0])) for row, one in zip(rows, board, strict=True)],
    )
    facts = runs[0].read()
    runs[0].write(facts | {"devices": [facts["devices"][0] | {"name": "board"}, *facts["devices"]]})
    plot = fronts_plot(runs, ("latency@amd-epyc", "accuracy"))
    assert [front.devices for front in plot.fronts] == [("amd-epyc",), ("amd-epyc",)]
    assert plot.axes[0].label == "latency on amd-epyc (ms)"
    assert all(plot.fronts[0].is_within(point) for point in plot.fronts[0].points)  # of the budget that is drawn
    both = fronts_plot(runs[:1], ("latency", "latency@amd-epyc"))
    assert [axis.label for axis in both.axes] == ["latency on board (ms)", "latency on amd-epyc (ms)"]
    assert "board predicted, budget 3 ms" in both.label(both.fronts[0])
    assert "amd-epyc measured (p10), budget 0.15 ms" in both.label(both.fronts[0])
    with pytest.raises(HwnasError, match=r"second: unknown axis 'latency@board'.*give --axes that all have"):
        fronts_plot(runs, ("latency@board", "accuracy"))


def test_some_measured_networks_are_not_called_all(runs: list[RunFolder]) -> None:
    first, *others = read_front(runs[0].front)
    unknown = {"measured_ms": None, "measured_median_ms": None, "measured_p90_ms": None}
    write_front(runs[0].front, [replace(first, latencies=(replace(first.latencies[0], **unknown),)), *others])
    (front,) = fronts_plot(runs[:1]).fronts
    assert front.kind(front.pair.x) == f"{len(others)} of {len(others) + 1} measured (p10), the others predicted"


def test_long_legends_stay_inside_the_picture(runs: list[RunFolder]) -> None:
    facts = runs[1].read()
    (device,) = facts["devices"]
    name = "a board of a long name " * 3
    runs[1].write(facts | {"title": "t" * 60, "devices": [{**device, "name": name}]})
    rows = read_front(runs[1].front)
    write_front(runs[1].front, [replace(row, latencies=(replace(row.latencies[0], device=name),)) for row in rows])
    figure = draw_fronts(fronts_plot(runs))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.x1
