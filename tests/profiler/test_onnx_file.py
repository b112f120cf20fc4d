"""Laws of ONNX files from anywhere: what can be measured is loaded as it is, and the rest is refused in a line."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.errors import DeviceError, ExportError
from hwnas.profiler.device import conditions_here
from hwnas.profiler.onnx_file import read_onnx
from hwnas.profiler.runtime import RuntimeOptions
from hwnas.profiler.runtime_onnx import node_times

Axes = list[int | str | None]


def written(path: Path, *inputs: Axes, outside: bool = False, kind: int = TensorProto.FLOAT) -> Path:
    """Writes a model that multiplies its inputs of shape (..., 4) by a matrix, and adds up the products."""
    values = [helper.make_tensor_value_info(f"x{i}", kind, axes) for i, axes in enumerate(inputs)]
    weight = numpy_helper.from_array(np.ones((4, 300), dtype=np.float32), "weight")
    nodes = [helper.make_node("MatMul", [value.name, "weight"], [f"y{i}"]) for i, value in enumerate(values)]
    nodes.append(helper.make_node("Sum", [node.output[0] for node in nodes], ["out"]))
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "products", values, [output], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=outside, location="weights.bin", size_threshold=0)
    return path


def lookup(path: Path, rows: int) -> Path:
    """Writes a model that looks up token ids in a table."""
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 7])
    table = numpy_helper.from_array(np.ones((rows, 3), dtype=np.float32), "table")
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["out"])], "lookup", [ids], [output], [table]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("batch", [3, "batch", None])
def test_a_file_of_a_fixed_or_an_open_batch_runs_on_its_example(tmp_path: Path, batch: int | str | None) -> None:
    file = read_onnx(written(tmp_path / "a.onnx", [batch, 5, 4]))
    assert (file.input_shape, file.batch) == ((5, 4), 3 if batch == 3 else None)
    model, size = file.load(conditions_here("cpu", batch=3))
    assert model.run(file.example(3)).shape == (3, 5, 300) and size == (tmp_path / "a.onnx").stat().st_size


def test_weights_in_a_file_beside_it_belong_to_a_model(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", [1, 4], outside=True)
    assert path.stat().st_size < 4 * 1200
    model, size = read_onnx(path).load(conditions_here("cpu"))
    assert size > 4 * 1200 and model.run(np.ones((1, 4), dtype=np.float32))[0, 0] == 4
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ExportError, match=r"a\.onnx: is not an ONNX model \(.*weights\.bin"):
        read_onnx(path)


def test_token_ids_are_below_the_rows_of_their_table(tmp_path: Path) -> None:
    file = read_onnx(lookup(tmp_path / "a.onnx", rows=11))
    x = file.example(50)
    assert x.dtype == np.int64 and x.shape == (50, 7) and set(np.unique(x)) == set(range(11))


def test_a_batch_that_a_file_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"has a batch of 3, not 1; give --batch 3, or a file"):
        read_onnx(written(tmp_path / "a.onnx", [3, 4])).load(conditions_here("cpu"))


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([[1, 4], [1, 4]], "has 2 inputs and 1 output; give a model of one each"),
        (
            [["batch", "length", 4]],
            "axis 1 of its input 'x0' is open, and only the batch may be; fix it by `python -m onnxr",
        ),
        ([None], "the shape of its input is not known"),
    ],
)
def test_a_file_that_cannot_be_measured_is_refused(tmp_path: Path, inputs: list[Axes], told: str) -> None:
    path = written(tmp_path / "a.onnx", *inputs)
    with pytest.raises(ExportError) as error:
        read_onnx(path)
    assert str(error.value).startswith(f"{path}: {told}")


@pytest.mark.parametrize("content", [b"", b"not a model at all", bytes(range(200))])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"a\.onnx: is not an ONNX model \(.*\); export it again"):
        read_onnx(path)


def test_a_model_that_fails_when_it_runs_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", ["batch", 5])  # the matrix has 4 rows
    with pytest.raises(ExportError, match=r"cannot load the model|fails at a batch of 1"):
        read_onnx(path).load(conditions_here("cpu"))


def test_pytorch_runs_no_file(tmp_path: Path) -> None:
    file = read_onnx(written(tmp_path / "a.onnx", [1, 4]))
    with pytest.raises(DeviceError, match=r"a\.onnx: PyTorch runs no \.onnx file; leave out --runtime torch"):
        file.load(conditions_here("cpu", runtime="torch"))


def test_every_node_has_a_time(tmp_path: Path) -> None:
    file = read_onnx(written(tmp_path / "a.onnx", [1, 4]))
    nodes = node_times(file.content, RuntimeOptions(), file.example(1), calls=5)
    assert "MatMul" in {node.operation for node in nodes} and all(node.ms >= 0 for node in nodes)
    assert not list(Path().glob("profile*"))
