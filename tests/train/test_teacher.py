"""Laws of external teachers: torch modules of a file, and ONNX models."""

from pathlib import Path

import pytest
import torch
from torch import nn

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.errors import TrainingError, UnknownNameError
from hwnas.modules.assemble import network
from hwnas.profiler.export import to_onnx
from hwnas.train.teacher import external_teacher, taught

FILE = Path(__file__).parent / "teachers.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@pytest.fixture(scope="module")
def plain(space: SearchSpace) -> nn.Module:
    torch.manual_seed(0)
    return network(space, space.smallest()).eval()


@pytest.fixture(scope="module")
def x(space: SearchSpace) -> torch.Tensor:
    return torch.randn(4, *space.input_shape, generator=torch.Generator().manual_seed(0))


def exported(space: SearchSpace, module: nn.Module, folder: Path, batch: int | None) -> Path:
    path = folder / "teacher.onnx"
    path.write_bytes(to_onnx(module, space.input_shape, batch=batch or "dynamic"))
    return path


@pytest.mark.parametrize("name", ["module", "build"])
def test_a_module_and_a_function_that_returns_one_teach(space: SearchSpace, x: torch.Tensor, name: str) -> None:
    teacher = external_teacher(f"{FILE}:{name}", x, space.output_shape, CPU)
    assert taught(teacher, x).shape == (4, 10)


@pytest.mark.parametrize("batch", [1, 2, None])
def test_an_onnx_model_teaches_as_its_module_does(
    space: SearchSpace, plain: nn.Module, x: torch.Tensor, tmp_path: Path, batch: int | None
) -> None:
    path = exported(space, plain, tmp_path, batch)
    teacher = external_teacher(str(path), x[:2], space.output_shape, CPU)
    torch.testing.assert_close(taught(teacher, x), plain(x).detach(), rtol=1e-3, atol=1e-4)


def test_an_onnx_model_of_another_batch_says_so(
    space: SearchSpace, plain: nn.Module, x: torch.Tensor, tmp_path: Path
) -> None:
    path = exported(space, plain, tmp_path, 3)
    with pytest.raises(TrainingError, match="takes 3 examples at once, and a batch has 4"):
        external_teacher(str(path), x, space.output_shape, CPU)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (f"{FILE}:narrow", r"gives \(4, 4\) for inputs .* the networks of the space give \(4, 10\)"),
        (f"{FILE}:broken", r"the function fails: ValueError: no weights \(teachers\.py, line"),
        (f"{FILE}:number", "is a int, not a torch module or a function"),
        (f"{FILE}:other", "has no 'other'"),
        ("nowhere.py:build", "no such file"),
        ("nowhere.onnx", "cannot be read"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    space: SearchSpace, x: torch.Tensor, reference: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        external_teacher(reference, x, space.output_shape, CPU)


def test_a_name_that_is_no_reference_is_refused(space: SearchSpace, x: torch.Tensor) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown teacher 'resnet'; known: FILE\.onnx, FILE\.py:NAME"):
        external_teacher("resnet", x, space.output_shape, CPU)


def test_a_damaged_model_and_one_of_other_inputs_are_refused(
    space: SearchSpace, plain: nn.Module, x: torch.Tensor, tmp_path: Path
) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    with pytest.raises(TrainingError, match=r"damaged\.onnx: ONNX Runtime cannot load"):
        external_teacher(str(tmp_path / "damaged.onnx"), x, space.output_shape, CPU)
    path = exported(space, plain, tmp_path, None)
    with pytest.raises(TrainingError, match=r"fails on inputs of shape \(4, 3, 8, 8\)"):
        external_teacher(str(path), x[..., :8, :8], space.output_shape, CPU)
