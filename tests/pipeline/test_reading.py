"""Reading a finished run: the best network within limits, what options are worth, another device's front."""

import csv
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hwnas.cli import cli
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError, HwnasError, RunError, UnknownNameError
from hwnas.pipeline.best import best_of_run
from hwnas.pipeline.reading import importance_of_run
from hwnas.pipeline.search import SearchResult, resume, search
from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.database import RunDatabase
from hwnas.runs.evaluated import EvaluatedNetworks
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import named, read_front, write_front
from hwnas.testing.notes import Notes

QUICK: dict[str, Any] = {
    "limit_images": 128,
    "epochs": 1,
    "strategy": "nsga2",
    "population": 8,
    "final": "finetune",
    "final_epochs": 1,
}


@pytest.fixture(scope="module")
def finished(small_space: SearchSpace, small_predictor: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A run whose front was measured here."""
    out, given = tmp_path_factory.mktemp("runs") / "run", (str(small_predictor),)
    return search(small_space, "digits", out=out, device=("cpu",), predictor=given, evaluations=32, **QUICK)


@pytest.fixture
def copied(finished: SearchResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.run.path, tmp_path / "run"))


def test_without_limits_the_best_is_the_knee_that_export_gives(finished: SearchResult) -> None:
    networks = EvaluatedNetworks.of(finished.run)
    ((found,), _) = best_of_run(finished.run.path, {})
    assert found.row == named(list(networks.front.values()), networks.goal.objectives)["knee"]
    assert found.on_front and found.measured and found.name == "knee"
    assert found.options == json.loads(found.row.arch)


def test_every_evaluated_network_counts_and_those_off_the_front_are_not_exported(finished: SearchResult) -> None:
    networks = EvaluatedNetworks.of(finished.run)
    assert len(networks.rows) == 32 and networks.rows.keys() == networks.searched.keys()
    others = [row for arch_id, row in networks.rows.items() if arch_id not in networks.front]
    assert others and all(not row.onnx and not any("_test" in name for name in row.metrics) for row in others)
    predictor = LatencyPredictor.load(finished.run.predictor)
    for row in others:
        latency = row.latencies[0]
        if latency.measured_ms is None:
            upper_ms = latency.predicted_ms * predictor.upper_ratio("median")
            assert networks.judged(row, "latency", "median") == upper_ms > latency.predicted_ms
        else:
            assert networks.judged(row, "latency", "median") == latency.measured_median_ms


def test_the_best_within_a_budget_is_within_it_and_none_within_it_was_evaluated_as_better(
    finished: SearchResult,
) -> None:
    networks = EvaluatedNetworks.of(finished.run)
    judged = sorted(networks.judged(row, "latency", "median") for row in networks.rows.values())
    for exact_ms in (judged[4], judged[16], judged[-1]):
        bound_ms = exact_ms * (1 + 1e-9)  # not exactly a latency: the text of a budget may be rounded
        ((found,), _) = best_of_run(finished.run.path, {"latency_budget": f"{bound_ms!r}ms"})
        within = [row for row in networks.rows.values() if networks.judged(row, "latency", "median") <= bound_ms]
        assert found.row in within
        searched = {row.arch_id: networks.as_searched(row.arch_id)["loss_val"] for row in within}
        best_id = min(searched, key=lambda arch_id: searched[arch_id])
        if best_id in networks.front:
            assert found.row.loss_val == min(row.loss_val for row in within if row.arch_id in networks.front)
        else:
            assert found.row.arch_id == best_id and not found.on_front


def test_a_network_off_the_front_is_found_where_it_is_better_and_can_be_exported(copied: Path, tmp_path: Path) -> None:
    with closing(RunDatabase.existing(RunFolder(copied).database)) as database:
        worst = max(database.evaluations().values(), key=lambda evaluation: evaluation.metrics["loss"])
    row = replace(read_front(copied / "front.csv")[0], arch_id=worst.arch.id, arch=worst.arch.key)
    write_front(copied / "front.csv", [row])  # as if the others had been evaluated and were beaten
    ((found,), networks) = best_of_run(copied, {"latency_budget": "1s"})
    losses = {arch_id: networks.as_searched(arch_id)["loss_val"] for arch_id in networks.rows}
    assert losses[found.row.arch_id] == min(losses.values()) < losses[worst.arch.id]
    assert not found.on_front and found.front_id == worst.arch.id
    assert any(line.strip().startswith("not on the front") for line in found.lines(networks))
    model = tmp_path / "found.onnx"
    cli([*found.export.split()[1:], "--out", str(model)], standalone_mode=False)
    onnx.checker.check_model(onnx.load(model))


def test_several_budgets_have_a_network_each_and_json_has_all_that_is_known(
    finished: SearchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = max(row.measured_median_ms for row in finished.front)
    arguments = ["best", str(finished.run.path), "--latency-budget", f"{slow}ms,{2 * slow}ms"]
    cli([*arguments, "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert printed["networks"] == 32 and [len(one["limits"]) for one in printed["best"]] == [1, 1]
    row = next(row for row in finished.front if row.arch_id == printed["best"][0]["arch_id"])
    assert printed["best"][0]["loss_test"] == row.loss_test and printed["best"][0]["options"] == json.loads(row.arch)
    cli(arguments, standalone_mode=False)
    told = capsys.readouterr().out
    assert told.count("hwnas export") == 2 and f"measured: p10 {row.measured_ms:.4g}" in told


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"latency_budget": "1ns"}, BudgetError, r"none of 32 evaluated networks .* the least of each: latency 0\."),
        ({"latency_budget": "40%"}, HwnasError, "a share would need the largest network's latency; give milliseconds"),
        ({"limit": ("jacobian<=1",)}, UnknownNameError, "'jacobian'; known: .*flops, latency, loss"),
        ({"objectives": "f1,latency"}, UnknownNameError, "'f1'; known: accuracy"),
        ({"objectives": "loss,loss"}, HwnasError, "give two to four different names"),
    ],
)
def test_what_no_network_has_or_meets_is_said(
    finished: SearchResult, options: dict[str, Any], error: type[HwnasError], message: str
) -> None:
    with pytest.raises(error, match=message):
        best_of_run(finished.run.path, options)


def test_a_metric_that_an_earlier_version_did_not_evaluate_is_no_objective(copied: Path) -> None:
    with closing(sqlite3.connect(RunFolder(copied).database)) as connection, connection:
        of_one = "phase = 'search' AND arch_id = (SELECT MIN(arch_id) FROM evaluations)"
        connection.execute(f"UPDATE evaluations SET metrics = json_remove(metrics, '$.accuracy') WHERE {of_one}")
    assert best_of_run(copied, {"objectives": "loss,latency"})[0]
    with pytest.raises(UnknownNameError, match="'accuracy'; known: "):
        best_of_run(copied, {"objectives": "accuracy,latency"})


def test_a_run_folder_has_the_importance_of_its_choices_and_its_hypervolume(
    finished: SearchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (finished.run.hypervolume, finished.run.importance.with_suffix(".png")):
        assert path.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(finished.run.importance.read_text().splitlines()))
    importance = importance_of_run(finished.run.path)
    assert [(row["choice"], float(row["loss"]), float(row["latency_ms"])) for row in rows] == [
        (effect.choice, effect.metric, effect.latencies_ms["latency"]) for effect in importance.effects
    ]
    cli(["importance", str(finished.run.path), "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert printed["networks"] == 32 and len(printed["effects"]) == len(rows)
    cli(["importance", str(finished.run.path)], standalone_mode=False)
    assert "an additive fit to 32 evaluated networks" in capsys.readouterr().out


def test_the_milliseconds_of_an_option_are_those_of_the_predictor(
    finished: SearchResult, small_space: SearchSpace
) -> None:
    """A deeper stage takes longer, by as much as the predictor says of random networks."""
    importance = importance_of_run(finished.run.path)
    predictor = LatencyPredictor.load(finished.run.predictor)
    rows_NC = small_space.sample_rows(np.random.default_rng(5), 20_000)
    ms_N, column = predictor.predict(rows_NC), small_space.columns["stage1.depth"]
    means = np.array([ms_N[rows_NC[:, column] == k].mean() for k in range(2)])
    found = [effect.latencies_ms["latency"] for effect in importance.by_choice["stage1.depth"]]
    assert found == pytest.approx(means - means.mean(), rel=0.15) and found[0] < found[1]


def test_too_few_networks_are_said_to_be_too_few_and_no_effect_is_written(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    heard = Notes()
    options = QUICK | {"final": "none", "evaluations": 8, "device": ("cpu",), "predictor": (str(small_predictor),)}
    run = search(small_space, "digits", out=tmp_path / "run", reporter=heard, **options).run
    assert "importance of choices: too few networks were evaluated: 8, at least 20 are needed" in heard.texts
    assert not run.importance.exists() and run.hypervolume.exists()
    with pytest.raises(RunError, match=r"too few networks .* --evaluations 40` evaluates more"):
        importance_of_run(run.path)
    resume(run.path, Silent(), {"evaluations": 24})
    assert run.importance.exists() and importance_of_run(run.path).networks == 24


def test_another_devices_front_is_searched_for_with_what_the_run_evaluated(
    copied: Path, board: LatencyPredictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = (copied / "front.csv").read_bytes(), tmp_path / "board"
    arguments = ["front", str(copied), "--device", "board", "--out", str(out), "--evaluations", "36", "--json"]
    cli(arguments, standalone_mode=False)
    rows = read_front(out / "front.csv")
    assert [row["arch_id"] for row in json.loads(capsys.readouterr().out)["front"]] == [row.arch_id for row in rows]
    assert all(row.latencies[0].device == "board" and row.measured_ms is None for row in rows)
    with closing(RunDatabase(copied / "run.sqlite")) as old, closing(RunDatabase(out / "run.sqlite")) as new:
        first, then = list(old.evaluations()), list(new.evaluations())
    assert then[: len(first)] == first
    assert (copied / "front.csv").read_bytes() == before
    assert (out / "supernet.safetensors").read_bytes() == RunFolder(copied).supernet.read_bytes()
    assert {"importance.csv", "hypervolume.csv", "hypervolume.png"} <= {path.name for path in out.iterdir()}
    with pytest.raises(HwnasError, match="give the device of the front: --device NAME"):
        cli(["front", str(copied), "--out", str(tmp_path / "none")], standalone_mode=False)


def test_the_page_of_a_measured_run_has_its_numbers_its_drift_and_links_to_its_models(finished: SearchResult) -> None:
    page = finished.run.report.read_text(encoding="utf-8")
    content = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    (device,) = content["devices"]
    assert device["grade"] in ("good", "fair", "poor")
    assert any("of its time at profiling" in reason for reason in device["reasons"])
    for point, row in zip(content["front"], finished.front, strict=True):
        assert point["cells"]["measured_ms"] == row.measured_ms
        assert (finished.run.path / content["links"][row.onnx]).is_file()
    counts = content["hypervolume"]["evaluations"]
    assert counts[0] == 1 and counts[-1] <= content["evaluations"]
    assert content["importance"]["choice"] and content["notes"]["importance"]
