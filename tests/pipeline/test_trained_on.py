"""Laws of what a run is trained on: it is recorded, told where it changes, and refused before anything is made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import hwnas
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import DeviceError, RunError
from hwnas.pipeline import trained_on
from hwnas.pipeline.checked import load_for
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.request import SearchRequest, reopen, search_request
from hwnas.pipeline.search import resume, search
from hwnas.pipeline.supernet import trained_supernet
from hwnas.pipeline.train import resume_training, train
from hwnas.pipeline.trained_on import record_threads, record_training
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import Profiling, profile
from hwnas.runs.folder import RunFolder, create_run
from hwnas.testing.notes import Notes
from hwnas.train.devices import training_device

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
QUICK: dict[str, Any] = {"limit_images": 128, "epochs": 2}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


def asked(space: SearchSpace, **changes: Any) -> SearchRequest:
    return search_request(QUICK | {"space": space.reference, "space_options": space.options} | changes)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", {}, {}, {})


def test_what_a_run_is_trained_on_is_kept_and_told_where_it_changes(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    for name in ("cpu", "cpu", "cuda (A GPU)", "cuda (A GPU)"):
        monkeypatch.setattr(trained_on, "described", lambda device, name=name: name)
        record_training(run, torch.device("cpu"), notes)
    assert run.read()["trained_on"] == ["cpu", "cuda (A GPU)"]
    assert notes.texts == ["trained on cpu so far and on cuda (A GPU) from here on: not what either alone would find"]


class StoppedError(Exception):
    pass


class StopAfterAnEpoch(Silent):  # type: ignore[misc]
    def note(self, text: str) -> None:
        if text.startswith("epoch 1/"):
            raise StoppedError


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts torch's number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_is_kept_and_told_where_it_changes(run: RunFolder) -> None:
    notes = Notes()
    for count in (1, 1, 2, 2, 1):
        torch.set_num_threads(count)
        record_threads(run, notes)
    assert run.read()["torch_threads"] == [1, 2, 1]
    assert notes.texts[0] == (
        "computed with 1 torch thread so far and with 2 from here on: not what either alone would find; "
        "OMP_NUM_THREADS=1 goes on as before"
    )
    assert len(notes.texts) == 2


@pytest.mark.usefixtures("threads")
def test_a_run_that_goes_on_with_other_threads_says_so_unless_it_is_finished(
    space: SearchSpace, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    with pytest.raises(StoppedError):
        train(asked(space), space, tmp_path / "run", StopAfterAnEpoch())
    assert RunFolder(tmp_path / "run").read()["torch_threads"] == [2]
    torch.set_num_threads(1)
    notes = Notes()
    resume_training(tmp_path / "run", notes, {})
    assert [text for text in notes.texts if text.startswith("computed with 2 torch threads so far and with 1 from")]
    torch.set_num_threads(2)
    notes = Notes()
    resume_training(tmp_path / "run", notes, {})
    assert not notes.texts and RunFolder(tmp_path / "run").read()["torch_threads"] == [2, 1]


def test_where_networks_are_only_judged_nothing_is_trained(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(asked(space), space, tmp_path / "trained", Silent())
    run = create_run(tmp_path / "run", {}, {}, {})
    request = asked(space, supernet=str(tmp_path / "trained"))
    data, task = load_for(space, request)
    monkeypatch.setattr(trained_on, "described", lambda device: "elsewhere")
    trained_supernet(run, space, request.training, data, task, request.seed, Silent())
    assert "trained_on" not in run.read()
    notes = Notes()
    resume_training(tmp_path / "trained", notes, {})
    assert RunFolder(tmp_path / "trained").read()["trained_on"] != ["elsewhere"] and not notes.texts


def test_the_first_lines_say_how_data_are_read_and_the_run_stores_them(space: SearchSpace, tmp_path: Path) -> None:
    notes = Notes()
    train(asked(space), space, tmp_path / "run", notes)
    facts = RunFolder(tmp_path / "run").read()["data"]
    assert notes.texts[: len(facts["notes"])] == facts["notes"]
    assert facts["notes"][1] == "augmentation: shift; others by --augmentation: none, shift+flip (mirrored, too)"
    assert facts["notes"][0].startswith("task: ") and facts["notes"][2].startswith("splits: ")


def test_a_run_goes_on_on_another_device_but_not_otherwise_changed(space: SearchSpace, tmp_path: Path) -> None:
    out = tmp_path / "run"
    weights = train(asked(space), space, out, Silent())
    assert RunFolder(out).read()["trained_on"] == [trained_on.described(training_device("auto"))]
    assert reopen(out, {"train_on": "cpu"})[1].training.train_on == "cpu"
    assert resume_training(out, Silent(), {"train_on": "cpu"}) == weights
    with pytest.raises(RunError, match="was started with --epochs 2, not 3"):
        reopen(out, {"train_on": "cpu", "epochs": 3})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_refused_before_a_folder_is_made(space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="--train-on cuda: PyTorch"):
        search(space, "digits", out=tmp_path / "run", **QUICK, train_on="cuda")
    with pytest.raises(DeviceError, match="--train-on cuda: PyTorch"):
        train(asked(space, train_on="cuda"), space, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    "changes",
    [
        {"evaluations": 12},
        {"strategy": "gradient", "scheme": "joint", "final_epochs": 1, "warmup_epochs": 1},
        {
            "strategy": "gradient",
            "scheme": "joint",
            "final_epochs": 1,
            "warmup_epochs": 1,
            "mixed_precision": True,
            "sampler": "gates",
        },
    ],
)
def test_a_search_on_a_gpu_leaves_models_of_a_cpu_and_goes_on_there(
    space: SearchSpace, tmp_path: Path, changes: dict[str, Any]
) -> None:
    profile(Profiling(space=space, conditions=conditions_here("cpu"), path=tmp_path / "t.jsonl"), networks=10)
    fit_table(tmp_path / "t.jsonl", space, allow_unconverged=True).save(tmp_path / "p.json")
    options = QUICK | changes | {"predictor": (str(tmp_path / "p.json"),), "latency_budget": "1s", "train_on": "cuda"}

    with pytest.raises(StoppedError):
        search(space, "digits", out=tmp_path / "run", reporter=StopAfterAnEpoch(), **options)
    found = resume(tmp_path / "run", Silent(), {})
    assert found.run.read()["trained_on"] == [trained_on.described(torch.device("cuda"))]
    assert all((found.run.path / row.onnx).stat().st_size > 1000 for row in found.front)
    assert resume(tmp_path / "run", Silent(), {"train_on": "cpu"}).front == found.front
