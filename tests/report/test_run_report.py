"""Laws of the page of a run as values: its numbers are those of the run's files, and its words follow from them."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import RunError, UnknownNameError
from hwnas.pipeline.report import command_of, write_report
from hwnas.predict.predictor import LatencyPredictor
from hwnas.report.confidence import confidence_in
from hwnas.report.layer_times import layer_times
from hwnas.report.run_page import links_from, run_html
from hwnas.report.run_report import read_report
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import DeviceLatency, read_front

TEN = (
    "novelty",
    "solution quality",
    "efficiency",
    "stability",
    "interpretability",
    "reproducibility",
    "engineering quality",
    "scalability",
    "generalisability",
    "eco-friendliness",
)


@pytest.fixture(scope="module")
def run(made_run: Callable[..., RunFolder], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return made_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def content(run: RunFolder) -> dict[str, Any]:
    """The data in the page, read back from the page."""
    return data_of(write_report(run).read_text(encoding="utf-8"))


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*)</script>', page)
    content: dict[str, Any] = json.loads(text)
    return content


def test_the_front_has_the_cells_of_front_csv(run: RunFolder, content: dict[str, Any]) -> None:
    rows = read_front(run.front)
    assert [point["cells"] for point in content["front"]] == [
        {name: value for name, value in row.cells.items() if name != "arch"} for row in rows
    ]
    for number, row in enumerate(rows):
        assert content["networks"]["ids"][number] == row.arch_id
        assert content["networks"]["values"]["latency"][number] == row.measured_ms
        assert content["networks"]["values"]["loss"][number] == row.loss_val


def test_every_evaluated_network_is_there_once_and_its_text_tells_its_options(
    run: RunFolder, content: dict[str, Any]
) -> None:
    networks, rows = content["networks"], {row.arch_id: row for row in read_front(run.front)}
    assert len(networks["ids"]) == len(set(networks["ids"])) == content["evaluations"] > len(rows)
    for arch_id, text in zip(networks["ids"], networks["archs"], strict=True):
        options = {
            choice["name"]: choice["options"][ord(character) - 48]
            for choice, character in zip(networks["choices"], text, strict=True)
        }
        if arch_id in rows:
            assert options == json.loads(rows[arch_id].arch)


def test_the_layers_of_a_network_add_up_to_its_prediction(content: dict[str, Any]) -> None:
    predicted = content["networks"]["predicted"][0]
    for number, predicted_ms in enumerate(predicted):
        parts = [
            layer["alternatives"][layer["numbers"][number]]["latencies_ms"]["latency"] for layer in content["layers"]
        ]
        assert math.isclose(sum(parts), predicted_ms, rel_tol=1e-5)
    places = [layer["name"] for layer in content["layers"] if layer["is_place"]]
    assert places[0] == "stem" and "stage1.block1" in places


def test_layers_are_those_of_the_predictors_breakdown(run: RunFolder) -> None:
    predictor, row = LatencyPredictor.load(run.predictor), read_front(run.front)[0]
    options = json.loads(row.arch)
    row_C = np.array([choice.options.index(options[choice.name]) for choice in predictor.choices])
    found = {layer.name: layer.alternatives[0] for layer in layer_times({"latency": predictor}, [options])}
    assert {name: one.latencies_ms["latency"] for name, one in found.items()} == {
        name: value for name, value in predictor.breakdown(row_C).items() if value
    }
    kernel, width = options["stage1.block1.kernel"], options["stage1.width"]
    assert f"kernel {kernel}" in found["stage1.block1"].words and f"width {width}" in found["stage1.block1"].words


def test_layers_that_do_not_add_up_to_the_prediction_are_left_out(
    made_run: Callable[..., RunFolder], tmp_path: Path
) -> None:
    run = made_run(tmp_path / "run", 20)
    predictor = LatencyPredictor.load(run.predictor)
    first, *others = predictor.additive
    replace(predictor, additive=(replace(first, values=first.values + 1.0), *others)).save(run.predictor)
    assert read_report(run, "").layers == ()
    run.predictor.unlink()
    with pytest.raises(Exception, match=r"predictor\.json"):  # intervals of networks off the front are the predictor's
        read_report(run, "")


def test_budgets_axes_and_columns_are_those_of_the_run(run: RunFolder, content: dict[str, Any]) -> None:
    columns = {column["name"]: column for column in content["columns"]}
    assert [name for name, column in columns.items() if column["is_objective"]] == ["loss", "latency", "params"]
    assert columns["latency"]["budgets"] == [0.15] and "0.15 ms (median)" in columns["latency"]["budget_label"]
    assert columns["accuracy"]["factor"] == 100 and columns["accuracy"]["unit"] == "%"
    assert content["axes"] == ["latency", "loss"]
    assert read_report(run, "", ("params", "accuracy")).axes == ("params", "accuracy")
    with pytest.raises(UnknownNameError, match="unknown axis 'energy'"):
        read_report(run, "", ("params", "energy"))


def test_the_report_card_has_the_ten_criteria_and_says_what_was_not_measured(content: dict[str, Any]) -> None:
    assert tuple(criterion["name"] for criterion in content["card"]) == TEN
    for criterion in content["card"]:
        assert criterion["known"] != criterion["words"].startswith("not measured")


def test_the_page_loads_nothing_is_small_and_no_text_ends_its_script(run: RunFolder, content: dict[str, Any]) -> None:
    page = run.report.read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page) and "default-src 'none'" in page
    assert "<title>mobilenet &lt;drawn&gt;</title>" in page and content["title"] == "mobilenet <drawn>"
    assert page.count("</script>") == 2 and len(page) < 500_000
    assert "@" not in re.findall(r"<h1>.*</h1>", page)[0]


def test_equal_runs_give_equal_pages(run: RunFolder) -> None:
    first, second = (run_html(read_report(run, "hwnas search"), {}) for _ in range(2))
    assert first == second


def test_links_lead_from_the_page_to_files_that_are_there(made_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    run = made_run(tmp_path / "a run", 20)
    report = read_report(run, "")
    first, second = (row.onnx for row in report.rows[:2])
    (run.path / "models").mkdir()
    (run.path / first).write_bytes(b"")
    links = links_from(tmp_path / "pages" / "report.html", run.path, report)
    assert links[first] == f"./../a%20run/{first}" and second not in links
    assert links_from(run.report, run.path, report)["front.csv"] == "./front.csv"


def test_a_folder_without_a_front_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run there"):
        write_report(RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("measured", "grade"),
    [((1.0, 1.01), "good"), ((1.1, 1.12), "fair"), ((1.5, 1.4), "poor"), ((None, None), "unknown")],
)
def test_a_verdict_follows_from_the_errors_of_the_prediction(
    measured: tuple[float | None, ...], grade: str, run: RunFolder
) -> None:
    points = [
        DeviceLatency(
            device="cpu",
            predicted_ms=1.0,
            interval_low_ms=0.97,
            interval_high_ms=1.03,
            measured_ms=ms,
            measured_median_ms=ms,
            measured_p90_ms=ms,
            within_budget=True,
            budget_ms=None,
        )
        for ms in measured
    ]
    confidence = confidence_in("latency", run.read()["devices"][0], LatencyPredictor.load(run.predictor), points)
    assert confidence.grade == grade
    assert any("held-out" in reason for reason in confidence.reasons)
    assert confidence.conditions["precision"] == "fp32"


def test_the_command_has_what_was_asked_for_and_no_defaults() -> None:
    request = {
        "space": {"space": "mobilenet", "space_options": {"width": 0.5}, "fix": ["*.kernel=3"], "model": None},
        "data": {"data": "digits", "skip_damaged": True, "augmentation": "auto"},
        "devices": {"device": ["cpu", "amd-epyc"], "threads": 1},
        "strategy": {"name": "nsga2", "options": {"population": 8}},
        "seed": 4,
    }
    assert command_of(request) == (
        "hwnas search --space mobilenet --space-option width=0.5 --fix '*.kernel=3' --data digits --skip-damaged --device cpu "
        "--device amd-epyc --strategy nsga2 --population 8 --seed 4 --out RUN"
    )


@pytest.mark.parametrize(
    ("reference_ms", "unconverged", "words"),
    [
        (1.01, 0, ["took 101 % of its time", "has not drifted", "0 of 12 measurements did not converge."]),
        (
            1.2,
            3,
            ["took 120 % of its time", "has drifted", "3 of 12 measurements did not converge: the device was busy."],
        ),
    ],
)
def test_drift_and_noise_are_those_of_the_worst_session(
    reference_ms: float, unconverged: int, words: list[str], run: RunFolder
) -> None:
    session = {"networks": 6, "profiled_ms": 1.0, "unconverged": 0, "reference_ms": 0.995}
    sessions = [session, {**session, "reference_ms": reference_ms, "unconverged": unconverged}]
    points = [row.latencies[0] for row in read_front(run.front)]
    reasons = "\n".join(confidence_in("latency", run.read()["devices"][0], None, points, sessions).reasons)
    assert all(word in reasons for word in words)
