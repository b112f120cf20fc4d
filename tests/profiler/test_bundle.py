"""A bundle is measured where there is no torch and no hwnas, and what it gives is a table like any other."""

import json
import os
import subprocess
import sys
import zipfile
import zlib
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import fit_table
from hwnas.profiler.bundle import bundle, compressible
from hwnas.profiler.device import conditions_here
from hwnas.profiler.export import to_onnx
from hwnas.profiler.table import read_table

NETWORKS = 8


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with numpy, onnxruntime and what they require, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    waiting, done = ["numpy", "onnxruntime"], set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top != ".." and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution(name).locate_file(top))))
        needed = [Requirement(text) for text in requires(name) or ()]
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return folder


def python(bare: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python with the bare folder as all it has besides its own library."""
    environment = {"PYTHONPATH": str(bare), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-S", *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def packed(small_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle.zip"
    models = bundle(
        small_space,
        path,
        conditions={"device": "cpu", "threads": 1, "batch": 1, "precision": "fp32"},
        networks=NETWORKS,
        seed=0,
        reporter=Silent(),
    )
    assert models == 1 + len(small_space.operators()) + NETWORKS + 2
    return path


def test_the_bare_folder_has_neither_torch_nor_hwnas(bare: Path, tmp_path: Path) -> None:
    assert python(bare, "-c", "import onnxruntime", cwd=tmp_path).returncode == 0
    for module in ("torch", "hwnas", "onnx", "filelock", "scipy"):
        assert "ModuleNotFoundError" in python(bare, "-c", f"import {module}", cwd=tmp_path).stderr


def test_weights_that_compress_are_none_alike_and_make_a_small_file(packed: Path) -> None:
    linear = compressible(torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 300)))
    assert not torch.equal(linear[0].weight, linear[1].weight)
    assert len(zlib.compress(to_onnx(linear, (300,)))) < 0.1 * 4 * 180_000
    with zipfile.ZipFile(packed) as archive:
        models = [item for item in archive.infolist() if item.filename.endswith(".onnx")]
    assert sum(item.compress_size for item in models) < 0.6 * sum(item.file_size for item in models)  # mostly graphs


@pytest.mark.slow(reason="measures a whole space in a Python of its own, twice")
def test_a_bundle_fills_a_table_without_torch_and_goes_on_where_it_was(
    small_space: SearchSpace, packed: Path, bare: Path, tmp_path: Path
) -> None:
    first = python(bare, str(packed), "--out", "table.jsonl", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    table = read_table(tmp_path / "table.jsonl")
    assert table.keys("operator") == set(small_space.operators())
    assert len(table.keys("network")) == NETWORKS + 2
    assert table.conditions == conditions_here("cpu").describe()
    assert table.space == json.loads(json.dumps(small_space.describe()))
    assert json.loads(first.stdout)["measured"] == len(table.rows)
    assert fit_table(table.path, small_space, allow_unconverged=True).report["networks"] == NETWORKS + 2

    again = python(bare, str(packed), "--out", "table.jsonl", cwd=tmp_path)
    assert json.loads(again.stdout)["measured"] <= len(table.unconverged)  # what did not converge is measured again


def test_a_bundle_of_another_version_is_refused(packed: Path, bare: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(other, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename == "bundle.json":
                content = json.dumps(json.loads(content) | {"schema": 99}).encode()
            target.writestr(item.filename, content)
    found = python(bare, str(other), cwd=tmp_path)
    assert found.returncode == 2 and "schema 99, this version reads 1; bundle again" in found.stderr
    assert not (tmp_path / "table.jsonl").exists()


def test_a_model_that_answers_otherwise_on_the_board_is_an_error(packed: Path, bare: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(other, "w") as target:
        for item in source.infolist():
            swapped = {"models/3.output.npy": "models/3.input.npy"}.get(item.filename, item.filename)
            target.writestr(item.filename, source.read(swapped))
    found = python(bare, str(other), cwd=tmp_path)
    assert found.returncode == 2 and "the loaded model's output" in found.stderr


def test_threads_the_board_does_not_have_are_refused(packed: Path, bare: Path, tmp_path: Path) -> None:
    found = python(bare, str(packed), "--threads", "4096", cwd=tmp_path)
    assert found.returncode == 2 and "give --threads between 1 and" in found.stderr
