"""Laws of energy as a second cost: no network over its limit is asked for or derived, and what cannot be limited is told.

The tables are of networks that were really timed; their energies are what a device of so many watts would take.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import hwnas
from hwnas.cli import cli
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.optimum import minimise
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.limits import possible
from hwnas.costs.predicted import PredictedCost
from hwnas.errors import BudgetError, DeviceError, HwnasError, PredictorError, UnknownNameError
from hwnas.pipeline.predict import energies, fit_table
from hwnas.pipeline.predictions import predictions
from hwnas.pipeline.search import SearchResult, search
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.store import TableWriter
from hwnas.profiler.table import Row, Table, read_table
from hwnas.runs.database import RunDatabase

WATTS = 40.0


def with_energy(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of a device that takes more power for an operator by itself than within a network."""
    mj = WATTS * row["p10_ms"] * (1.0 if row["kind"] == "network" else 1.2)
    return {**row, "energy_mj": mj, "energy_uncertainty": 0.04}


def rewritten(table: Table, path: Path, rows: list[Row]) -> Path:
    with TableWriter(path, table.conditions, table.space) as writer:
        writer.append(rows)
    return path


@pytest.fixture(scope="module")
def space(small_space: SearchSpace) -> SearchSpace:
    return small_space


@pytest.fixture(scope="module")
def plain(small_table: Path) -> Path:
    """A table without energies."""
    return small_table


@pytest.fixture(scope="module")
def table(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = read_table(plain)
    return rewritten(found, tmp_path_factory.mktemp("energy") / "table.jsonl", [with_energy(row) for row in found.rows])


@pytest.fixture(scope="module")
def energy(space: SearchSpace, table: Path) -> LatencyPredictor:
    return fit_table(table, space, cost="energy")


@pytest.fixture(scope="module")
def most_mj(space: SearchSpace, energy: LatencyPredictor) -> float:
    """A limit that one in five architectures keeps."""
    return float(np.quantile(upper_mj(energy, space.spread_rows(np.random.default_rng(1), 500)), 0.2))


def upper_mj(energy: LatencyPredictor, rows: IntArray) -> FloatArray:
    return PredictedCost(energy, "mean", "energy").upper(rows)


def searched(space: SearchSpace, out: Path, **changes: Any) -> SearchResult:
    usual = {"limit_images": 128, "epochs": 2, "latency_budget": "1s", "final": "none"}
    return search(space, "digits", out=out, **usual | changes)


# ---- rows become energies, and a predictor


def test_energies_are_those_of_the_rows_that_have_one(space: SearchSpace, table: Path) -> None:
    found = read_table(table)
    rows = [row for row in found.rows if row["kind"] != "network"]
    networks = [row for row in found.rows if row["kind"] == "network"][:4]
    without = [{name: row[name] for name in row if not name.startswith("energy")} for row in networks[2:]]
    half = [*rows, *networks[:2], *without]
    measured = energies(Table(path=table, conditions={}, space=found.space, provenance={}, rows=tuple(half)), space)
    assert measured.cost == "energy" and measured.reference is None
    assert measured.networks_N == pytest.approx([row["energy_mj"] for row in networks[:2]])
    assert measured.isolated == {row["key"]: row["energy_mj"] for row in rows if row["kind"] == "operator"}


def test_a_predictor_of_energy_predicts_what_was_measured_in_millijoules(
    space: SearchSpace, table: Path, energy: LatencyPredictor
) -> None:
    measured = energies(read_table(table), space)
    ratios = energy.predict(measured.rows_NC) / measured.networks_N
    assert (
        np.median(np.abs(ratios - 1)) < 0.25
    )  # the times behind the energies are quick ones, of a machine that may be busy
    arch = space.largest()
    (answer,) = predictions(energy, [arch.key])
    assert set(answer) == {"arch_id", "predicted_mj", "interval_mj", "layers_mj"}
    assert sum(answer["layers_mj"].values()) == pytest.approx(answer["predicted_mj"])


def test_a_table_without_energies_is_refused_with_what_measures_them(space: SearchSpace, plain: Path) -> None:
    message = rf"^{plain}: the energy of 0 whole networks is measured, a fit needs 8; run `hwnas profile --energy --net"
    with pytest.raises(PredictorError, match=message):
        fit_table(plain, space, cost="energy")


def test_an_unknown_cost_and_a_cold_fit_of_energy_are_refused(table: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown cost 'money'; known: energy, latency"):
        fit_table(table, cost="money")
    with pytest.raises(PredictorError, match="energies are not estimated from those of another"):
        fit_table(table, hwnas.space("fbnet", resolution=16), cost="energy")


def test_the_commands_fit_plot_and_predict_energies(space: SearchSpace, table: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "e.json", tmp_path / "e.svg"
    fitted = CliRunner().invoke(
        cli, ["fit", "--table", str(table), "--cost", "energy", "--out", str(out), "--plot", str(plot)]
    )
    assert fitted.exit_code == 0, fitted.output
    assert LatencyPredictor.load(out).unit == "mJ"
    asked = CliRunner().invoke(cli, ["predict", "--predictor", str(out), "--arch", space.smallest().key])
    assert json.loads(asked.output)["predicted_mj"] > 0
    assert plot.stat().st_size > 1000


# ---- the limit


def test_the_least_energy_is_told_and_enough(space: SearchSpace, energy: LatencyPredictor) -> None:
    with pytest.raises(
        BudgetError, match=r"^no architecture of mobilenet has at most 0\.001 mJ an inference; "
    ) as refusal:
        possible(space, [Limit(PredictedCost(energy, "mean", "energy"), 0.001)])
    least_mj = float(str(refusal.value).rpartition("the least is ")[2].split()[0])
    (limit,) = possible(space, [Limit(PredictedCost(energy, "mean", "energy"), least_mj)])
    frugal = space.encode([minimise(space.choices, (), [limit])])
    assert upper_mj(energy, frugal)[0] <= least_mj * (1 + 1e-6)
    assert (upper_mj(energy, space.spread_rows(np.random.default_rng(0), 500)) >= least_mj * 0.999).all()


def test_an_architecture_is_over_the_limit_where_its_upper_end_is(
    space: SearchSpace, energy: LatencyPredictor, most_mj: float
) -> None:
    rows = space.spread_rows(np.random.default_rng(2), 200)
    limit = Limit(PredictedCost(energy, "mean", "energy"), most_mj)
    assert np.array_equal(limit.over(rows) <= 0, upper_mj(energy, rows) <= most_mj)


def test_a_limit_is_by_the_tables_energies_also_where_the_predictor_of_latency_is_given(
    space: SearchSpace, table: Path, plain: Path, energy: LatencyPredictor, most_mj: float, tmp_path: Path
) -> None:
    fit_table(plain, space, allow_unconverged=True).save(tmp_path / "latency.json")
    files = {"table": (str(table),), "predictor": (str(tmp_path / "latency.json"),), "evaluations": 8}
    result = searched(space, tmp_path / "run", max_energy_mj=most_mj, **files)
    assert result.run.table.read_bytes() == table.read_bytes()
    for row in result.front:
        arch = space.encode([space.arch(json.loads(row.arch))])
        assert (
            row.energy_mj == pytest.approx(energy.predict(arch)[0]) and upper_mj(energy, arch)[0] <= most_mj * 1.000001
        )


def test_a_budget_that_is_missed_under_a_limit_is_answered_with_both_predictors(
    space: SearchSpace, table: Path, most_mj: float, tmp_path: Path
) -> None:
    notes: list[str] = []
    reporter = Silent()
    reporter.note = notes.append
    options = {"limit_images": 128, "latency_budget": "1ns", "table": (str(table),), "max_energy_mj": most_mj}
    with pytest.raises(BudgetError, match="cannot be met"):
        search(space, "digits", out=tmp_path / "run", reporter=reporter, **options)
    advice = notes[-1].partition("search again with ")[2]
    assert advice == f"--predictor {tmp_path}/run/predictor.json --predictor {tmp_path}/run/energy.json"
    files = tuple(advice.split()[1::2])
    assert searched(space, tmp_path / "again", max_energy_mj=most_mj, evaluations=4, predictor=files).front


@pytest.mark.parametrize("strategy", ["nsga2", "random"])
def test_no_network_over_the_limit_is_evaluated_and_the_front_says_its_energy(
    space: SearchSpace, table: Path, energy: LatencyPredictor, most_mj: float, tmp_path: Path, strategy: str
) -> None:
    result = searched(
        space, tmp_path / "run", table=(str(table),), max_energy_mj=most_mj, evaluations=20, strategy=strategy
    )
    database = RunDatabase(result.run.database)
    asked = space.encode([evaluation.arch for evaluation in database.evaluations("search").values()])
    database.close()
    assert len(asked) > 1
    assert (upper_mj(energy, asked) <= most_mj * (1 + 1e-6)).all()  # the solver's tolerance
    for row in result.front:
        arch = space.arch(json.loads(row.arch))
        assert row.energy_mj == pytest.approx(energy.predict(space.encode([arch]))[0])


def test_a_derived_network_keeps_the_limit_which_has_a_multiplier_of_its_own(
    space: SearchSpace, table: Path, energy: LatencyPredictor, most_mj: float, tmp_path: Path
) -> None:
    energy.save(tmp_path / "e.json")
    options = {
        "strategy": "gradient",
        "scheme": "joint",
        "warmup_epochs": 1,
        "predictor": (str(tmp_path / "e.json"),),
    }
    result = searched(space, tmp_path / "run", table=(str(table),), max_energy_mj=most_mj, **options)
    (row,) = result.front
    assert upper_mj(energy, space.encode([space.arch(json.loads(row.arch))]))[0] <= most_mj * (1 + 1e-6)
    (curve,) = result.run.searches.glob("*.json")
    facts = json.loads(curve.read_text())
    assert sorted(facts["constraints"]) == ["energy", "latency"]
    assert all(len(epoch["multipliers"]) == 2 for epoch in facts["epochs"])


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, DeviceError, "^device cpu has no counter of energy that can be read"),
        ({"table": "plain"}, HwnasError, "the energy of 0 whole networks is measured"),
        (
            {"predictor": "latency"},
            PredictorError,
            "^energy needs a predictor, and none of those given has it; give --predictor of `hwnas fit --cost energy`",
        ),
        ({"predictor": "nowhere"}, PredictorError, "nowhere.json: cannot be read"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_before_a_folder_is_made(
    space: SearchSpace,
    plain: Path,
    energy: LatencyPredictor,
    tmp_path: Path,
    files: dict[str, str],
    error: type[HwnasError],
    message: str,
) -> None:
    energy.save(tmp_path / "energy.json")
    fit_table(plain, space, allow_unconverged=True).save(tmp_path / "latency.json")
    paths = {name: (str(plain if name == "table" else tmp_path / f"{what}.json"),) for name, what in files.items()}
    with pytest.raises(error, match=message):
        searched(space, tmp_path / "run", max_energy_mj=1.0, **paths)
    assert not (tmp_path / "run").exists()
