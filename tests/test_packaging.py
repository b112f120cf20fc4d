"""Laws of the package as it is built: complete, nothing of the tests in it, and its devices found wherever it is installed."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

import pytest
from build import ProjectBuilder
from pyproject_hooks import quiet_subprocess_runner

import hwnas
from hwnas.predict.shipped import PREDICTORS, TABLES, own_folder

REPOSITORY = Path(__file__).parents[1]
SHIPPED = sorted(
    str(path.relative_to(REPOSITORY)) for folder in (TABLES, PREDICTORS) for path in (REPOSITORY / folder).glob("*/*")
)


def build(source: Path, distribution: Literal["sdist", "wheel", "editable"], out: Path) -> Path:
    """Builds with the backend that is installed here, so without a network."""
    return Path(ProjectBuilder(source, runner=quiet_subprocess_runner).build(distribution, out))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"hwnas-{hwnas.__version__}"


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel made from the source distribution, which is how `python -m build` and pip make it."""
    return build(unpacked, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: a pure wheel is installed by unpacking it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(code: str, path: Path, folder: Path) -> str:
    """Runs code in a new process that imports from the path, in the folder."""
    environment = {**os.environ, "PYTHONPATH": str(path), "HWNAS_DEVICES": ""}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_repository_ships_a_table_and_a_predictor_per_space_of_a_device() -> None:
    devices = {Path(path).parts[1] for path in SHIPPED}
    assert "amd-epyc" in devices
    for device in devices:
        tables, predictors = (
            {Path(path).stem for path in SHIPPED if path.startswith(f"{folder}/{device}/")}
            for folder in (TABLES, PREDICTORS)
        )
        assert tables == predictors != set()


def test_the_wheel_has_every_table_and_predictor_inside_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in names if name.endswith((".json", ".jsonl"))) == sorted(
        f"hwnas/{path}" for path in SHIPPED
    )
    assert {"hwnas/py.typed", *(f"hwnas/report/page/page.{end}" for end in ("html", "css", "js"))} <= set(names)


def test_the_wheel_has_every_module_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {Path(name).parts[0] for name in names} == {"hwnas", f"hwnas-{hwnas.__version__}.dist-info"}
    modules = sorted(f"hwnas/{path.relative_to(REPOSITORY / 'hwnas')}" for path in (REPOSITORY / "hwnas").rglob("*.py"))
    assert sorted(name for name in names if name.endswith(".py")) == modules


def test_the_sdist_has_what_the_checks_need(unpacked: Path) -> None:
    names = set(files(unpacked))
    assert set(SHIPPED) <= names
    for folder in ("hwnas", "tests", "scripts", "docs"):
        tracked = {f"{folder}/{path}" for path in files(REPOSITORY / folder) if "__pycache__" not in path}
        assert tracked <= names
    assert {"pyproject.toml", "constraints.txt", "Makefile", "README.md", "SECURITY.md", "LICENSE", ".ci/run"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(".venv")]


def test_the_version_is_the_packages(wheel: Path, sdist: Path) -> None:
    assert wheel.name == f"hwnas-{hwnas.__version__}-py3-none-any.whl"
    assert sdist.name == f"hwnas-{hwnas.__version__}.tar.gz"


def test_an_installed_wheel_finds_its_devices_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    code = "import sys; from hwnas.__main__ import main; sys.argv = ['hwnas', 'devices', '--json']; main()"
    shipped = {device["device"]: device for device in json.loads(run(code, installed, tmp_path))["shipped"]}
    assert shipped["amd-epyc"]["spaces"] == sorted(Path(path).stem for path in SHIPPED if "predictors/amd-epyc" in path)
    assert shipped["amd-epyc"]["detail"] == ""


def test_an_installed_package_looks_inside_and_a_checkout_beside_the_package(installed: Path) -> None:
    assert own_folder(installed / "hwnas") == installed / "hwnas"
    assert own_folder(REPOSITORY / "hwnas") == REPOSITORY


def test_an_editable_install_uses_the_checkout(tmp_path: Path) -> None:
    editable = build(REPOSITORY, "editable", tmp_path)
    with zipfile.ZipFile(editable) as archive:
        (pth,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert archive.read(pth).decode().split() == [str(REPOSITORY)]
        assert not [name for name in archive.namelist() if name.startswith("hwnas/")]
