"""Tables are looked up where they should be, and strategies search them without knowing."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hwnas
from hwnas.benchmarks import tabular
from hwnas.benchmarks.tabular import TabularBenchmark
from hwnas.core.arrays import IntArray
from hwnas.core.factors import total
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.errors import BudgetError, DataError, UnknownNameError
from hwnas.spaces.nasbench201 import to_string
from hwnas.strategies.evolution import Evolution
from hwnas.strategies.gbdt import Gbdt
from hwnas.strategies.linas import Linas
from hwnas.strategies.local import LocalSearch
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.tasks.task import Metric

# Rows of NAS-Bench-201: cell, validation and test accuracy on CIFAR-10 in percent, latency on titanx_256 in ms.
KNOWN = {
    0: (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
        (81.52, 85.8633, 17.4795),
    ),
    1: (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
        (90.5133, 93.66, 26.8493),
    ),
    15624: (
        "|nor_conv_1x1~0|+|none~0|nor_conv_1x1~1|+|none~0|nor_conv_1x1~1|nor_conv_1x1~2|",
        (84.0133, 86.8233, 22.7801),
    ),
}

# Strategies that need no training; `gradient` does. Tests of thousands of evaluations leave out those that fit predictors.
QUICK = {strategy.name: strategy for strategy in (Nsga2, Evolution, LocalSearch, RandomSearch)}
STRATEGIES = {**QUICK, Gbdt.name: Gbdt, Linas.name: Linas}
every_strategy = pytest.mark.parametrize("search", STRATEGIES.values(), ids=STRATEGIES.keys())
every_quick_strategy = pytest.mark.parametrize("search", QUICK.values(), ids=QUICK.keys())


@pytest.fixture(scope="module")
def cells(bench_data: Path) -> TabularBenchmark:
    return tabular.nasbench201(bench_data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table of conv_macro that is made up: accuracy says where a row is."""
    write(tmp_path, made_up())
    return tmp_path


def made_up() -> list[list[float]]:
    space = hwnas.space("conv_macro")
    sizes = [len(choice.options) for choice in space.choices]
    rows = np.random.default_rng(0).permutation(np.indices(sizes).reshape(len(sizes), -1).T)
    options = [[float(c.options[i]) for c, i in zip(space.choices, row, strict=True)] for row in rows]
    return [[*line, float(number) / 100] for number, line in enumerate(options)]


def write(folder: Path, lines: list[list[float]], accuracy: str = "cifar10_test_acc") -> None:
    header = [f"{part}{number}" for number in range(4) for part in ("channels", "kernel")]
    with (folder / "conv_macro.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*header, accuracy], *lines])


def asked_of(problem: Problem, strategy: type[Strategy], evaluations: int) -> IntArray:
    return tabular.searched(problem, strategy(evaluations=evaluations), seed=0).rows_NC


# ---- the index


def test_every_architecture_is_found_where_the_table_has_it(folder: Path) -> None:
    benchmark = tabular.conv_macro(folder)
    assert len(benchmark.rows_TC) == len(np.unique(benchmark.rows_TC, axis=0)) == benchmark.raw.size == 6561
    places = np.random.default_rng(1).permutation(6561)
    found = benchmark.values("cifar10_test_acc", benchmark.rows_TC[places])
    assert np.allclose(found, places / 10_000)


def test_every_cell_of_nasbench201_is_there_once_under_the_name_the_table_gives_it(
    cells: TabularBenchmark, bench_data: Path
) -> None:
    assert len(np.unique(cells.rows_TC, axis=0)) == len(cells.rows_TC) == cells.raw.size == 15625
    names = pq.read_table(bench_data / "nasbench201.parquet")["arch"].to_pylist()
    assert [to_string(cells.raw.decode(row)) for row in cells.rows_TC] == names


@pytest.mark.parametrize("number", KNOWN)
def test_known_rows_have_their_published_values(cells: TabularBenchmark, number: int) -> None:
    cell, (valid, test, latency_ms) = KNOWN[number]
    row = cells.rows_TC[[number]]
    assert to_string(cells.raw.decode(row[0])) == cell
    assert cells.values("cifar10_valid_acc", row) == pytest.approx([valid / 100], abs=1e-6)
    assert cells.values("cifar10_test_acc", row) == pytest.approx([test / 100], abs=1e-6)
    assert cells.latency_ms("titanx_256", row) == pytest.approx([latency_ms], abs=1e-4)


def test_what_a_space_switches_off_is_still_told_apart_in_its_raw_form(cells: TabularBenchmark) -> None:
    assert np.array_equal(cells.raw.normalise(cells.rows_TC), cells.rows_TC)
    assert cells.raw.meets_requirements(cells.rows_TC).all()
    assert len(np.unique(cells.space.normalise(cells.rows_TC), axis=0)) == cells.space.size == 9445


def test_accuracies_are_fractions_and_latencies_positive_where_the_device_runs_the_network(
    cells: TabularBenchmark,
) -> None:
    for column in (name for name in cells.columns if name.endswith("_acc")):
        values = cells.values(column, cells.rows_TC)
        assert values.min() > 0 and 0.5 < values.max() < 1
    refused = {device: int(np.isnan(cells.latency_ms(device, cells.rows_TC)).sum()) for device in cells.devices}
    assert len(refused) == 15 and {device: n for device, n in refused.items() if n} == {"edgetpu": 4699}
    assert all(np.nanmin(cells.latency_ms(device, cells.rows_TC)) > 0 for device in cells.devices)


def test_a_name_the_table_lacks_is_answered_with_those_it_has(folder: Path) -> None:
    benchmark = tabular.conv_macro(folder)
    with pytest.raises(UnknownNameError, match="unknown column 'top5'; known: cifar10_test_acc"):
        benchmark.values("top5", benchmark.rows_TC)
    with pytest.raises(UnknownNameError, match="unknown column 'top5'"):
        benchmark.problem(accuracy="top5")
    with pytest.raises(UnknownNameError, match="unknown device 'pixel9'; known: none"):
        benchmark.problem(["latency@pixel9"])
    with pytest.raises(UnknownNameError, match="unknown column 'watts'"):
        benchmark.problem(["watts"])


# ---- problems


def test_a_problem_has_the_accuracy_and_the_costs_of_the_table(cells: TabularBenchmark) -> None:
    problem = cells.problem(["latency@edgegpu", "energy_mj_edgegpu", "params_m"], accuracy="cifar100_test_acc")
    rows = cells.rows_TC[:50]
    metrics = problem.evaluate(rows)
    assert np.array_equal(metrics["accuracy"], cells.values("cifar100_test_acc", rows))
    columns = [cells.values(name, rows) for name in ("latency_ms_edgegpu", "energy_mj_edgegpu", "params_m")]
    assert np.array_equal(problem.points(rows, metrics), np.stack([-metrics["accuracy"], *columns], axis=1))
    (_, fastest_ms, *_) = problem.points(problem.start_C[None], problem.evaluate(problem.start_C[None]))[0]
    assert fastest_ms == cells.latency_ms("edgegpu", cells.rows_TC).min()
    assert (problem.violation(cells.rows_TC) <= 0).all()


def test_a_limit_is_kept_and_the_start_keeps_it(cells: TabularBenchmark) -> None:
    problem = cells.problem(limits={"latency@edgegpu": 4.0, "params_m": 0.5})
    feasible = problem.violation(cells.rows_TC) <= 0
    within = (cells.latency_ms("edgegpu", cells.rows_TC) <= 4.0) & (cells.values("params_m", cells.rows_TC) <= 0.5)
    assert np.array_equal(feasible, within)
    assert 0 < feasible.mean() < 1
    assert problem.violation(problem.start_C[None])[0] <= 0
    with pytest.raises(BudgetError, match=r"no architecture has latency@edgegpu <= 0\.1 ms"):
        cells.problem(limits={"latency@edgegpu": 0.1})


@every_strategy
def test_what_a_device_cannot_run_is_never_asked_for(cells: TabularBenchmark, search: type[Strategy]) -> None:
    asked = asked_of(cells.problem(["latency@edgetpu"]), search, 300)
    assert len(asked) == 300 and np.isfinite(cells.latency_ms("edgetpu", asked)).all()


def test_the_usual_cost_is_millions_of_flops(folder: Path) -> None:
    benchmark = tabular.conv_macro(folder)
    problem, space = benchmark.problem(), benchmark.space
    megaflops = problem.costs["flops"].values
    assert megaflops(space.encode([space.largest()])) == space.cost("flops", space.largest()) / 1e6
    assert megaflops(problem.start_C[None]) == space.cost("flops", space.smallest()) / 1e6


def test_flops_are_those_of_the_network_not_of_edges_that_do_nothing(cells: TabularBenchmark) -> None:
    rows = cells.rows_TC
    assert np.array_equal(cells.megaflops(rows), cells.megaflops(cells.space.normalise(rows)))
    as_written = total(cells.space.cost_factors("flops"), rows, cells.space.columns) / 1e6
    assert (cells.megaflops(rows) <= as_written).all() and (cells.megaflops(rows) < as_written).any()


@every_strategy
@pytest.mark.parametrize("costs", [("latency@titanx_256",), ("latency@edgegpu", "energy_mj_edgegpu", "flops")])
def test_every_strategy_searches_a_table_for_different_rows(
    cells: TabularBenchmark, search: type[Strategy], costs: tuple[str, ...]
) -> None:
    asked = asked_of(cells.problem(costs), search, 60)
    assert len(np.unique(asked, axis=0)) == len(asked) == 60


@every_quick_strategy
def test_cells_that_are_one_network_may_all_be_asked_for(cells: TabularBenchmark, search: type[Strategy]) -> None:
    asked = asked_of(cells.problem(["latency@titanx_256"]), search, 2000)
    assert len(np.unique(cells.space.normalise(asked), axis=0)) < len(np.unique(asked, axis=0)) == 2000


# ---- what a space requires


def by_size() -> Problem:
    """NAS-Bench-201 with a loss that draws searches to cells without a path."""
    space = hwnas.space("nasbench201")
    operators = FunctionCost("operators", "", lambda rows_NC: (np.asarray(rows_NC) > 0).sum(axis=1))
    return Problem(
        space=space,
        objectives=("loss", "operators"),
        metrics=(Metric(name="loss"),),
        costs={"operators": operators},
        evaluate=lambda rows_NC: {"loss": operators.values(rows_NC)},
        start_C=space.encode([space.smallest()])[0],
    )


def test_a_row_that_the_space_does_not_allow_is_infeasible_by_at_least_one(every_row) -> None:
    problem = by_size()
    rows = every_row(problem.space)
    met = problem.space.meets_requirements(rows)
    operators = problem.costs["operators"]
    for limits in ((), (Limit(operators, 3.0),)):
        violation = replace(problem, limits=limits).violation(rows)
        assert (violation[~met] >= 1).all() and (~met).any()
        few = operators.values(rows) <= 3 if limits else np.full(len(rows), True)
        assert np.array_equal(violation[met] <= 0, few[met])


@every_quick_strategy
def test_no_strategy_asks_for_what_the_space_does_not_allow(search: type[Strategy]) -> None:
    problem = by_size()
    asked = asked_of(problem, search, 400)
    assert len(asked) == 400 and problem.space.meets_requirements(asked).all()


# ---- files


def test_a_folder_without_the_table_is_named(tmp_path: Path) -> None:
    for name, load in tabular.BENCHMARKS.items():
        with pytest.raises(DataError, match=rf"{name}\.\w+: does not exist; give the folder"):
            load(tmp_path)


def test_a_table_with_a_gap_or_a_repetition_is_refused(tmp_path: Path) -> None:
    lines = made_up()
    write(tmp_path, lines[:-2])
    with pytest.raises(DataError, match="2 of 6561 architectures are missing, 0 rows repeat others"):
        tabular.conv_macro(tmp_path)
    write(tmp_path, [*lines, lines[0]])
    with pytest.raises(DataError, match="0 of 6561 architectures are missing, 1 rows repeat others"):
        tabular.conv_macro(tmp_path)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    lines = made_up()
    write(tmp_path, lines, accuracy="cifar10_top1")
    with pytest.raises(DataError, match=r"conv_macro\.csv: has no column 'cifar10_test_acc'; fetch the file again"):
        tabular.conv_macro(tmp_path)
    write(tmp_path, [[9.0, *lines[0][1:]], *lines[1:]])
    with pytest.raises(DataError, match=r"column 'channels0' holds 9, not one of \[8, 16, 32\]"):
        tabular.conv_macro(tmp_path)
    pq.write_table(pa.table({"edge0": [0, 1]}), tmp_path / "nasbench201.parquet")
    with pytest.raises(DataError, match=r"nasbench201\.parquet: has no column 'edge1'"):
        tabular.nasbench201(tmp_path)


@pytest.mark.parametrize("content", ["", "channels0\nmany\n", "channels0,kernel0\n8,3\n8\n"])
def test_a_damaged_table_is_refused(tmp_path: Path, content: str) -> None:
    for name, file in (("conv_macro", "conv_macro.csv"), ("nasbench201", "nasbench201.parquet")):
        (tmp_path / file).write_text(content)
        with pytest.raises(DataError, match=rf"{file}: cannot be read \(.*\); fetch the file again") as caught:
            tabular.BENCHMARKS[name](tmp_path)
        assert "\n" not in str(caught.value)


def test_a_table_that_a_spreadsheet_saved_is_read(folder: Path) -> None:
    path, plain = folder / "conv_macro.csv", tabular.conv_macro(folder)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    marked = tabular.conv_macro(folder)
    assert np.array_equal(marked.rows_TC, plain.rows_TC)


# ---- the script


def test_the_script_prints_a_line_for_every_strategy(folder: Path) -> None:
    script = Path(hwnas.__file__).parents[1] / "scripts" / "bench" / "tabular.py"
    command = [sys.executable, str(script), "conv_macro", "--evaluations", "30", "--seeds", "1"]
    done = subprocess.run(
        command, env=os.environ | {"HWNAS_BENCH_DATA": str(folder)}, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line]
    named = [(line[0].partition("-")[0], line) for line in lines]
    volumes = {name: float(line[1].rstrip("%")) for name, line in named if name in STRATEGIES}
    assert volumes.keys() == STRATEGIES.keys() and all(0 < volume <= 100 for volume in volumes.values())


# ---- NAS-Bench-Graph: representatives of networks


def graph_table(path: Path, rows: list[tuple[tuple[int, ...], str]]) -> None:
    """Writes a table with links and operators, one letter each; accuracy and latency are made up."""
    columns = {f"link{place}": [links[place] for links, _ in rows] for place in range(4)}
    columns |= {f"op{place}": [operators[place] for _, operators in rows] for place in range(4)}
    numbers = np.arange(1, len(rows) + 1, dtype=float)
    columns |= {"cora_val_acc": numbers / 100, "cora_latency": numbers / 1000, "cora_params": numbers}
    pq.write_table(pa.table(columns), path)


def test_only_representatives_of_networks_are_searched_and_seconds_become_milliseconds(tmp_path: Path) -> None:
    rows = [((0, 0, 0, 0), "aabb"), ((0, 1, 1, 2), "abab"), ((0, 1, 2, 3), "bbbb")]
    graph_table(tmp_path / "other.parquet", rows)
    table = tabular.nasbench_graph(tmp_path / "other.parquet")
    problem = table.problem(["latency@cora"])
    trace = tabular.searched(problem, Nsga2(evaluations=10), 0)
    assert table.devices == ("cora",) and table.accuracy == "cora_val_acc"
    assert sorted(map(tuple, trace.points_ND.round(6).tolist())) == [(-0.03, 3.0), (-0.02, 2.0), (-0.01, 1.0)]
    assert table.raw.size == 3 * 2**4 and np.isnan(table.values("cora_params", np.zeros((1, 5), dtype=int) + 1)).all()


def test_the_same_network_twice_is_refused(tmp_path: Path) -> None:
    graph_table(tmp_path / "nasbench_graph.parquet", [((0, 0, 0, 0), "aabb"), ((0, 0, 0, 0), "aabb")])
    with pytest.raises(DataError, match="1 rows repeat others"):
        tabular.nasbench_graph(tmp_path)


def test_a_table_without_a_link_is_refused(tmp_path: Path) -> None:
    graph_table(tmp_path / "whole.parquet", [((0, 1, 1, 2), "abab")])
    pq.write_table(pq.read_table(tmp_path / "whole.parquet").drop_columns(["link2"]), tmp_path / "less.parquet")
    with pytest.raises(DataError, match="has no column 'link2'"):
        tabular.nasbench_graph(tmp_path / "less.parquet")
