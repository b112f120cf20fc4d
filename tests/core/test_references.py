"""Laws of references: one look-up for names of built-in parts and for attributes of a user's file."""

import os
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from hwnas.core.references import cause, imported, resolve
from hwnas.core.trust import digest, trusted
from hwnas.errors import DataError, DeviceError, TrainingError, UnknownNameError

KNOWN: Final = {"lazy": "math:tau", "ready": 3}


@pytest.fixture(autouse=True)
def _modules_and_finders_stay_in_their_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("beside_", "hwnas_file_")):
            del sys.modules[name]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text("loaded = []\nloaded.append(1)\nNAME = __name__\n")
    return path


def test_a_known_name_is_its_value_and_a_target_is_imported() -> None:
    assert resolve("part", "ready", KNOWN, DataError) == 3
    assert resolve("part", "lazy", KNOWN, DataError) == imported("math:tau") > 6


def test_a_file_is_executed_once_whatever_is_asked_of_it(own: Path) -> None:
    for kind in ("space", "task"):
        assert resolve(kind, f"{own}:loaded", {}, DataError) == [1]
    name = resolve("space", f"{own}:NAME", {}, DataError)
    assert sys.modules[name].loaded == [1], "operators name their modules by the name of their file's module"
    assert resolve("space", f"{own.parent}/../{own.parent.name}/own.py:NAME", {}, DataError) == name


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("redy", r"unknown part 'redy'; known: FILE.py:NAME, lazy, ready; did you mean 'ready'\?$"),
        ("magic", r"unknown part 'magic'; known: FILE.py:NAME, lazy, ready$"),
        ("own.txt:name", r"unknown part 'own.txt:name'; known: FILE.py:NAME, lazy, ready$"),
        ("own.py", r"unknown part 'own.py'; known: FILE.py:NAME, lazy, ready"),
    ],
)
def test_an_unknown_name_lists_the_known_ones_and_the_closest(reference: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        resolve("part", reference, KNOWN, DataError)


def test_what_a_file_lacks_is_an_error_of_the_kind_that_was_asked_for(own: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"own.py has no 'missing'; FILE.py:NAME names what the file defines"):
        resolve("data set", f"{own}:missing", {}, DataError)
    with pytest.raises(
        DataError, match=r"own.py: which of its names\? Give .*own.py:NAME, a space that the file defines"
    ):
        resolve("space", str(own), {}, DataError)
    with pytest.raises(DeviceError, match=r"none.py: no such file; give a runtime of your own as FILE.py:NAME"):
        resolve("runtime", f"{tmp_path}/none.py:RUNTIME", {}, DeviceError)


def test_a_file_that_fails_is_told_with_its_line_and_is_loaded_again_when_repaired(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("\nraise ValueError('no paint')\n")
    with pytest.raises(TrainingError, match=r"wrong.py: cannot be loaded: ValueError: no paint \(wrong.py, line 2\)"):
        resolve("task", f"{path}:make", {}, TrainingError)
    path.write_text("make = 5\n")
    assert resolve("task", f"{path}:make", {}, TrainingError) == 5


def test_errors_that_a_file_raises_on_purpose_keep_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "refused.py"
    path.write_text("from hwnas.errors import DeviceError\nraise DeviceError('no board')\n")
    with pytest.raises(DeviceError, match=r"^no board$"):
        resolve("space", f"{path}:build", {}, DataError)


def test_the_cause_of_an_error_names_a_line_only_where_the_file_took_part(tmp_path: Path) -> None:
    assert cause(ValueError("no"), tmp_path / "own.py") == "ValueError: no"


def test_modules_beside_a_file_are_imported_wherever_python_was_started(tmp_path: Path) -> None:
    (tmp_path / "beside_pack").mkdir()
    (tmp_path / "beside_pack" / "__init__.py").write_text("")
    (tmp_path / "beside_pack" / "part.py").write_text("COLOUR = 'blue'\n")
    (tmp_path / "beside_help.py").write_text("from beside_pack.part import COLOUR\nclass Paint: pass\n")
    (tmp_path / "beside_other.py").write_text("")
    (tmp_path / "own.py").write_text("from beside_help import COLOUR\nMODULE = 'beside_help:Paint'\n")
    reference = f"{tmp_path / 'own.py'}"
    assert resolve("space", f"{reference}:COLOUR", {}, DataError) == "blue"
    assert imported(resolve("space", f"{reference}:MODULE", {}, DataError)).__name__ == "Paint"
    assert not list(tmp_path.rglob("__pycache__")), "bytecode is neither read nor written"
    with pytest.raises(ModuleNotFoundError):
        imported("beside_other:nothing")  # no part of the closure, so nobody has allowed it


def test_a_module_beside_that_another_file_has_too_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "beside_twin.py").write_text(f"NAME = '{name}'\n")
        (tmp_path / name / "own.py").write_text("from beside_twin import NAME\n")
    assert resolve("space", f"{tmp_path}/a/own.py:NAME", {}, DataError) == "a"
    with pytest.raises(
        DataError, match=r"b/own.py: beside_twin, beside it, has the name of a module in .*a; rename one"
    ):
        resolve("space", f"{tmp_path}/b/own.py:NAME", {}, DataError)


def test_modules_that_are_imported_late_are_those_beside_their_own_file(tmp_path: Path) -> None:
    late = "def run():\n    from beside_late import NAME\n    return NAME\n"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "beside_late.py").write_text(f"NAME = '{name}'\n")
        (tmp_path / name / "own.py").write_text(late)
    run = resolve("space", f"{tmp_path}/a/own.py:run", {}, DataError)
    with pytest.raises(DataError, match=r"beside_late, beside it, has the name of a module in .*a; rename one"):
        resolve("space", f"{tmp_path}/b/own.py:run", {}, DataError)
    (tmp_path / "a" / "beside_late.py").write_text("NAME = 'other'\n")
    with pytest.raises(ImportError, match=r"beside_late.py has changed since it was allowed to run; start again"):
        run()
    (tmp_path / "a" / "beside_late.py").write_text("NAME = 'a'\n")
    assert run() == "a"


def test_bytecode_in_a_cache_is_not_what_was_allowed(tmp_path: Path) -> None:
    package = tmp_path / "beside_cached"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "evil.py").write_text("NAME = 'evil'\n")
    py_compile.compile(str(tmp_path / "evil.py"), str(package / "__pycache__" / "evil.pyc"))
    (tmp_path / "own.py").write_text("from beside_cached.__pycache__ import evil\n")
    before = list(sys.meta_path)
    with pytest.raises(DataError, match=r"ImportError: .*evil.pyc is not part of what was allowed to run"):
        resolve("space", f"{tmp_path / 'own.py'}:evil", {}, DataError)
    assert sys.meta_path == before, "no finder stays of a file that fails"


def test_a_folder_without_init_elsewhere_does_not_hide_a_module_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "beside_models").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "beside_models.py").write_text("NAME = 'here'\n")
    (tmp_path / "here" / "own.py").write_text("from beside_models import NAME\n")
    assert resolve("space", f"{tmp_path / 'here/own.py'}:NAME", {}, DataError) == "here"


def test_what_is_trusted_does_not_depend_on_what_was_imported_before(tmp_path: Path) -> None:
    (tmp_path / "beside_both").mkdir()
    (tmp_path / "beside_both" / "part.py").write_text("")
    (tmp_path / "beside_both.py").write_text("NAME = 1\n")
    (tmp_path / "own.py").write_text("from beside_both import NAME\n")
    fresh = digest(tmp_path / "own.py")
    resolve("space", f"{tmp_path / 'own.py'}:NAME", {}, DataError)
    assert digest(tmp_path / "own.py") == fresh and fresh in trusted()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import beside_lost\n")
    (tmp_path / "beside_lost.py").write_text("")
    (tmp_path / "beside_lost.py").chmod(0)
    if os.access(tmp_path / "beside_lost.py", os.R_OK):
        pytest.skip("this user reads everything")
    with pytest.raises(DataError, match=r"own.py: cannot be loaded: PermissionError"):
        resolve("space", f"{tmp_path / 'own.py'}:x", {}, DataError)


def test_a_module_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(
        DataError,
        match=r"named 'no_such.*line 1\); install it, or put it beside the file and import it by",
    ):
        resolve("space", f"{tmp_path / 'own.py'}:x", {}, DataError)
