"""Trackers: the numbers of a run, kept while it goes on."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import HwnasError, UnknownNameError
from hwnas.pipeline.search import resume, search
from hwnas.pipeline.tracking import TrackedReporter, Tracker
from hwnas.runs.database import SEARCH, RunDatabase
from hwnas.testing.notes import Notes

QUICK: dict[str, Any] = {"limit_images": 64, "epochs": 2, "evaluations": 4, "final_epochs": 2, "final_networks": 1}
# A shipped device is never timed, so that nothing waits for a busy machine.
QUICK |= {"device": "amd-epyc", "objectives": "loss,params"}
OWN = """
import json

class Lines:
    def __init__(self, folder, title, options):
        self.file = open(folder / "lines.jsonl", "a")
        print(json.dumps({"title": title, "epochs": options["epochs"]}), file=self.file)

    def record(self, step, values):
        print(json.dumps({"step": step, **values}), file=self.file, flush=True)

    def close(self):
        print(json.dumps({"closed": True}), file=self.file)
        self.file.close()
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("trackers") / "own.py"
    path.write_text(OWN)
    return f"{path}:Lines"


@pytest.fixture(scope="module")
def run(own: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    search("mobilenet", "digits", out=out, track=own, **QUICK)
    return out


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "lines.jsonl").read_text().splitlines()]


def recorded(run: Path, name: str) -> dict[int, float]:
    """The numbers of a name by step; every step is recorded once."""
    pairs = [(line["step"], line[name]) for line in lines(run) if name in line]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def test_a_tracker_gets_losses_of_epochs_and_what_was_evaluated(run: Path) -> None:
    assert lines(run)[0] == {"title": "mobilenet on digits", "epochs": 2}
    assert lines(run)[-1] == {"closed": True}
    assert list(recorded(run, "training/loss")) == [1, 2]
    database = RunDatabase.existing(run / "run.sqlite")
    losses = [evaluation.metrics["loss"] for evaluation in database.evaluations(SEARCH).values()]
    database.close()
    assert recorded(run, "evaluated/loss") == dict(enumerate(losses, start=1))
    assert set(recorded(run, "evaluated/params")) == {1, 2, 3, 4}
    networks = {name for line in lines(run) for name in line if name.startswith("networks/")}
    assert networks
    assert all(list(recorded(run, name)) == [1, 2] for name in networks)


def test_a_run_that_goes_on_records_what_is_new_alone(run: Path) -> None:
    resume(run, Notes(), {"evaluations": 6})
    assert set(recorded(run, "evaluated/loss")) == {1, 2, 3, 4, 5, 6}
    assert list(recorded(run, "training/loss")) == [1, 2]


def test_a_tracker_that_fails_is_left_out_and_named() -> None:
    class Full:
        def record(self, step: int, values: Mapping[str, float]) -> None:
            raise OSError("no space left on device")

        def close(self) -> None:
            raise AssertionError("a tracker that was left out is not closed")

    def unreachable() -> Tracker:
        raise ConnectionError("no server at that address")

    notes = Notes()
    reporter = TrackedReporter(notes, {"full": Full, "mlflow": unreachable})
    reporter.record(1, {"loss": 1.0})
    reporter.record(2, {"loss": 0.5})
    reporter.close()
    assert notes.texts == [
        "--track mlflow failed, and the run goes on without it: no server at that address",
        "--track full failed, and the run goes on without it: no space left on device",
    ]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("wandb", UnknownNameError, "unknown tracker 'wandb'; known: FILE.py:NAME, mlflow, tensorboard"),
        ("missing.py:Lines", HwnasError, "missing.py: no such file"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_before_the_run_begins(
    name: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        search("mobilenet", "digits", out=tmp_path / "run", track=name, **QUICK)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_library_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(
        HwnasError, match=r"--track mlflow needs the package mlflow; install it: pip install 'hwnas\[mlflow\]'"
    ):
        search("mobilenet", "digits", out=tmp_path / "run", track="mlflow", **QUICK)


def test_tensorboard_reads_what_was_recorded(run: Path, tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    resume(run, Notes(), {"evaluations": 8, "track": ("tensorboard",)})
    events = accumulators.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {event.step for event in events.Scalars("evaluated/loss")} == {7, 8}


def test_mlflow_goes_on_with_the_run_that_it_had(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    for evaluations in (9, 10):
        resume(run, Notes(), {"evaluations": evaluations, "track": ("mlflow",)})
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("hwnas").experiment_id])
    assert found.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(found.info.run_id, "evaluated/loss")] == [9, 10]
