"""The public names, and what importing them costs."""

import importlib
import subprocess
import sys

import pytest

import hwnas

PUBLIC = [
    "ExpectedLatency",
    "HwnasError",
    "LatencyPredictor",
    "Supernet",
    "elasticize",
    "export_onnx",
    "load",
    "search",
    "space",
]


def test_public_names_are_pinned() -> None:
    assert sorted(hwnas.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_with_a_docstring(name: str) -> None:
    assert getattr(hwnas, name).__doc__


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'hwnas' has no attribute 'Supernett'"):
        hwnas.Supernett  # noqa: B018


def test_spaces_are_searched_through_without_torch_or_a_runtime() -> None:
    code = (
        "import sys, numpy, hwnas\n"
        "space = hwnas.space('mobilenet')\n"
        "arch = space.sample(numpy.random.default_rng(0))\n"
        "space.encode([arch]), space.cost('flops', space.largest())\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'pymoo', 'matplotlib', 'plotly', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_transfer_is_found_by_its_full_name() -> None:
    code = "import hwnas; print(hwnas.latency.transfer.transfer_ms.__name__)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "transfer_ms"


def test_no_package_has_the_name_of_a_public_function() -> None:
    for name in PUBLIC:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"hwnas.{name}")
