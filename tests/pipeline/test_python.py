"""Laws of the Python way: progress, data in memory, resuming, the result, and its models."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from scipy.io import wavfile
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import hwnas
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.core.wording import in_python
from hwnas.data.dataset import load_data
from hwnas.data.given import as_npz
from hwnas.errors import ArchError, BudgetError, DataError, HwnasError, RunError
from hwnas.pipeline.predictions import lines_named
from hwnas.pipeline.result import SearchResult
from hwnas.pipeline.search import usual_reporter
from hwnas.pipeline.trained import TrainedNetwork
from hwnas.profiler.runtime import RuntimeOptions
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.runs.folder import RunFolder
from hwnas.supernet.network import Supernet
from hwnas.terminal import TerminalReporter

QUICK: dict[str, Any] = {"epochs": 1, "evaluations": 8, "final_epochs": 1, "final_networks": 2}


def scans() -> tuple[np.ndarray, np.ndarray]:
    """128 scans of digits, uint8 (N, 8, 8), and their classes."""
    digits = load_digits()
    return (digits.images[:128] * 15).astype(np.uint8), digits.target[:128]


class Streamed(IterableDataset):
    """Examples that are only read in order."""

    def __init__(self, examples: TensorDataset) -> None:
        self._examples = examples

    def __iter__(self) -> Iterator[Any]:
        return iter(self._examples)

    def __len__(self) -> int:
        return len(self._examples)


@pytest.fixture(scope="module")
def result(small_space: SearchSpace, small_predictor: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search of arrays."""
    out = tmp_path_factory.mktemp("python") / "run"
    return hwnas.search(
        small_space,
        scans(),
        latency_budget="100ms",
        predictor=str(small_predictor),
        out=out,
        reporter=Silent(),
        **QUICK,
    )


def test_the_names_of_the_package_are_seen_and_no_others() -> None:
    assert dir(hwnas) == sorted([*hwnas.__all__, "__version__"])


def test_a_result_is_the_same_when_it_is_loaded(result: SearchResult) -> None:
    assert hwnas.load(result.run.path) == result
    assert repr(result).startswith("<SearchResult ") and f"{len(result.front)} networks" in repr(result)


def test_a_run_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run there"):
        hwnas.load(tmp_path)


def test_networks_are_chosen_by_name_and_by_latency(result: SearchResult) -> None:
    assert result.knee in result.front and result.fastest == result.front[0]
    slowest_ms = max(row.latencies[0].measured_median_ms for row in result.front)
    best, losses = result.best(latency_ms=2 * slowest_ms), [row.metrics["loss_val"] for row in result.front]
    if best not in result.front:  # it has the weights of the search: those of the front did not lose less with these
        losses = [row.metrics.get("loss_val_before", row.metrics["loss_val"]) for row in result.front]
    assert best.metrics["loss_val"] <= min(losses)
    with pytest.raises(BudgetError, match="the least of each"):
        result.best(latency_ms=1e-6)


def test_a_notebook_shows_the_front_with_every_network(result: SearchResult) -> None:
    assert all(row.arch_id in result._repr_html_() for row in result.front)


def test_a_frame_has_a_row_per_network_and_all_columns(result: SearchResult) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = result.frame()
    assert frame["arch_id"].tolist() == [row.arch_id for row in result.front]
    assert set(frame.columns) >= set(result.front[0].cells)


def test_a_result_is_plotted_alone_beside_another_and_as_blocks(
    result: SearchResult, made_run: Callable[..., RunFolder], tmp_path: Path
) -> None:
    other = hwnas.load(made_run(tmp_path / "other", 30).path)
    assert len(result.plot(("latency", "loss")).axes) == 2
    (both,) = other.plot(beside=[hwnas.load(made_run(tmp_path / "another", 40).path)]).axes
    assert {line.get_gid() for line in both.lines} >= {"other staircase", "another staircase"}
    assert len(other.plot(networks=["knee", "best"]).axes) == 2
    with pytest.raises(hwnas.HwnasError, match="leave out axes and beside"):
        other.plot(beside=[result], networks=["knee"])


def test_a_model_computes_what_its_file_computes_and_keeps_preparation_and_classes(
    result: SearchResult, tmp_path: Path
) -> None:
    row = result.knee
    model = result.model(row)
    assert not model.training and model.arch_id == row.arch_id and len(model.classes) == 10
    images, _ = scans()
    x = model.prepare(images[0])
    handed_out = OnnxModel((result.run.path / row.onnx).read_bytes(), RuntimeOptions())
    np.testing.assert_allclose(model(x).detach().numpy(), handed_out.run(x.numpy()), rtol=1e-3, atol=1e-4)
    assert model.predict(images[0]) == [model.classes[int(model(x).argmax())]]
    hwnas.export_onnx(model, model.input_shape, tmp_path / "again.onnx", metadata={"by": "a test"})
    properties = {item.key: item.value for item in onnx.load(tmp_path / "again.onnx").metadata_props}
    assert json.loads(properties["hwnas.classes"]) == list(model.classes)
    assert {"hwnas.mean", "hwnas.size", "by"} <= set(properties)


def test_pictures_are_taken_as_arrays_of_every_form(result: SearchResult, tmp_path: Path) -> None:
    model, (images, _) = result.model(result.knee), scans()
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    expected = model.prepare(Image.fromarray(images[0]))
    assert expected.shape == (1, *model.input_shape)
    for same in (
        images[0],
        images[0][..., None],
        images[0][None],
        torch.from_numpy(images[0]),
        str(tmp_path / "a.png"),
    ):
        torch.testing.assert_close(model.prepare(same), expected)
    several = model.prepare([images[0], images[1][..., None]])
    for batch in (images[:2, ..., None], images[:2, None], np.repeat(images[:2, ..., None], 3, axis=3)):
        torch.testing.assert_close(model.prepare(batch), several)
    for wrong, message in (
        ([], "no picture is given; give files"),
        (__file__, "cannot be read as an image .*; give the path of an image file"),
        (images[0] / 255, "an array of float64 is no picture; scale it to uint8"),
        (images[:2], r"an array of shape \(2, 8, 8\) is no picture; give files, Pillow images, or uint8 arrays"),
    ):
        with pytest.raises(DataError, match=message):
            model.prepare(wrong)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (("conv_macro", {"resolution": 16, "features": 16, "classes": 2}), (3, 16, 16)),
        (("series", {"length": 64, "classes": 2}), (1, 64)),
    ],
)
def test_features_and_series_are_prepared_as_in_training(
    options: tuple[str, dict[str, Any]], shape: tuple[int, ...], tmp_path: Path
) -> None:
    name, space_options = options
    space = hwnas.space(name, **space_options)
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (40, *shape)).astype(np.float32), np.arange(40) % 2
    np.savez(tmp_path / "data.npz", x=x, y=y)
    data = load_data(f"npz:{tmp_path / 'data.npz'}", space.input_shape)
    arch = space.smallest()
    model = TrainedNetwork(Supernet(space).uncalibrated(arch), arch, space, data).eval()
    expected = data.inputs(x[:3])
    for same in (x[:3], list(x[:3]), torch.from_numpy(x[:3])):
        torch.testing.assert_close(model.prepare(same), expected)
    torch.testing.assert_close(model.prepare(x[0]), expected[:1])
    if shape[0] == 1:
        torch.testing.assert_close(model.prepare(x[:3, 0]), expected)
        torch.testing.assert_close(model.prepare(x[0, 0]), expected[:1])
    assert model.predict(x[:3]) == [model.classes[number] for number in model(expected).argmax(1).tolist()]
    with pytest.raises(DataError, match="and the network takes"):
        model.prepare(x[..., :5])
    with pytest.raises(DataError, match="these are no numbers of one shape"):
        model.prepare("photo.png")


def test_a_recording_is_prepared_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "words" / name).mkdir(parents=True)
        for number in range(8):
            samples = rng.integers(-9999, 9999, 90 + number).astype(np.int16)
            wavfile.write(tmp_path / "words" / name / f"{number}.wav", 8000, samples)
    space = hwnas.space("series", length=64, classes=2)
    data, arch = load_data(f"wav:{tmp_path / 'words'}", space.input_shape), space.smallest()
    model = TrainedNetwork(Supernet(space).uncalibrated(arch), arch, space, data).eval()
    found = [model.prepare(path)[0] for path in sorted((tmp_path / "words").rglob("*.wav"))]
    for known in data.inputs(data.train.raw):
        assert any(torch.equal(known, one) for one in found)


def test_a_row_is_short_and_its_column_arch_is_an_architecture(result: SearchResult) -> None:
    predictor = hwnas.LatencyPredictor.load(result.run.predictor)
    assert len(repr(result.knee)) < 200 and result.knee.arch_id in repr(result.knee)
    found = predictor.predict_ms([row.arch for row in result.front])
    np.testing.assert_allclose(found, [row.predicted_ms for row in result.front], rtol=1e-6)
    np.testing.assert_array_equal(predictor.predict_ms(result.front[0].arch), found[:1])
    with pytest.raises(ArchError, match="'largest' is no architecture; give a mapping"):
        predictor.predict_ms("largest")


def test_an_architecture_of_the_run_has_a_name_for_predictions(result: SearchResult, small_space: SearchSpace) -> None:
    for name, row in {"fastest": result.fastest, "knee": result.knee}.items():
        assert lines_named(small_space, name, result.run.predictor) == [row.arch]


def test_a_budget_without_a_unit_is_refused(small_space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(
        HwnasError, match=r"latency_budget='?0\.5'? has no unit; write '0\.5ms', or latency_budget_ms=0\.5"
    ):
        hwnas.search(small_space, scans(), latency_budget=0.5, out=tmp_path / "run")


def test_a_predictor_takes_architectures_as_well_as_rows(result: SearchResult, small_space: SearchSpace) -> None:
    predictor = hwnas.LatencyPredictor.load(result.run.predictor)
    archs = [small_space.smallest(), small_space.largest()]
    expected = predictor.predict_ms(small_space.encode(archs))
    np.testing.assert_array_equal(predictor.predict_ms(archs), expected)
    np.testing.assert_array_equal(predictor.predict_ms(archs[0]), expected[:1])


def test_a_search_goes_on_in_python(result: SearchResult, small_space: SearchSpace) -> None:
    again = hwnas.search(small_space, scans(), resume=True, evaluations=10, out=result.run.path, reporter=Silent())
    assert again.run.read()["request"]["strategy"]["options"]["evaluations"] == 10
    x, y = scans()
    with pytest.raises(RunError, match=r"run\.npz: holds other data"):
        hwnas.search(small_space, (x[1:], y[1:]), resume=True, out=result.run.path)
    with pytest.raises(RunError, match="another space than this"):
        hwnas.search(hwnas.space("mobilenet"), scans(), resume=True, out=result.run.path)
    with pytest.raises(RunError, match="holds a run already; go on with it by resume=True, or give another out"):
        hwnas.search(small_space, scans(), out=result.run.path)


def test_a_refused_search_leaves_nothing_behind(small_space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match=r"^epochs must be at least 0, not -1"):
        hwnas.search(small_space, scans(), epochs=-1, out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_data_in_memory_is_the_same_as_arrays_data_set_or_batches() -> None:
    x, y = scans()
    tensors = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    forms = [
        (x, y),
        (x, y.tolist()),
        tensors,
        DataLoader(tensors, batch_size=50),
        list(zip(x, y, strict=True)),
        Streamed(tensors),
        DataLoader(Streamed(tensors), batch_size=50),
    ]
    for form in forms:
        with np.load(io.BytesIO(as_npz({"train": form, "val": (x[:5], y[:5])}))) as stored:
            assert sorted(stored) == ["x_train", "x_validation", "y_train", "y_validation"]
            np.testing.assert_array_equal(stored["x_train"], x)
            np.testing.assert_array_equal(stored["y_train"], y)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "train is a int; give"),
        ({"trian": scans()}, "'trian' is no split"),
        ((scans()[0], scans()[1][:5]), "128 examples and 5 labels"),
        ([1, 2], "train is a list of int; give"),
        ((scans()[0], "labels"), "train is a tuple of ndarray; give"),
        (np.arange(9), "yields a int64, not pairs"),
        ((np.arange(3), [0, 1, 0]), "examples that are single numbers"),
        ([(np.zeros((2, 2)), 0), (np.zeros((3, 2)), 1)], r"examples of shapes \(2, 2\) and \(3, 2\)"),
        ([(np.zeros((2, 2)), 0), (np.zeros((2, 2)), [1, 2])], "the labels of train cannot be joined"),
        ([], "train has 0 examples"),
        (iter([(np.zeros((1, 64)), np.zeros(1))] * 3), "nothing tells which; give a DataLoader with a batch size"),
        (DataLoader(torch.zeros(3, 2)), "not pairs of an example and its label"),
    ],
)
def test_data_that_cannot_be_read_says_what_to_give(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_npz(data)


def test_progress_is_shown_in_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(usual_reporter(), Silent)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(usual_reporter(), TerminalReporter)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("--resume goes on in --out", "resume=True goes on in out"),
        ("give --space-option classes=3", "give classes=3 as an option of the space"),
        ("--fix 'stage1.depth=9': none", "fix='stage1.depth=9': none"),
        ("leave --weights out, or run `hwnas fit --out x`", "leave weights out, or run `hwnas fit --out x`"),
        ("give --latency-budget 60%", "give latency_budget='60%'"),
    ],
)
def test_messages_name_arguments_in_python(message: str, expected: str) -> None:
    assert in_python(message) == expected
