"""Laws of the trust list: Python files run when they are named, or with the very closure that ran or was allowed before."""

import hashlib
import json
import py_compile
import sys
from pathlib import Path

import pytest

from hwnas.core.references import require_trusted, resolve
from hwnas.core.trust import VARIABLE, closure, digest, forget, trust, trust_list, trusted
from hwnas.errors import HwnasError, TrustError


@pytest.fixture(autouse=True)
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty trust list for every test."""
    path = tmp_path / "data" / "trusted.jsonl"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_list_is_in_the_users_data_folder_or_where_the_environment_says(own_list: Path) -> None:
    assert trust_list({}).parts[-2:] == ("hwnas", "trusted.jsonl")
    assert trust_list({VARIABLE: "/elsewhere/list"}) == Path("/elsewhere/list")
    assert trust_list() == own_list


def test_a_file_that_is_named_runs_and_is_on_the_list_by_its_sha256(folder: Path, own_list: Path) -> None:
    file = written(folder / "mine.py", "NAME = 3\n")
    assert not own_list.exists()
    assert resolve("space", f"{file}:NAME", {}, HwnasError) == 3
    assert closure(file) == {".": hashlib.sha256(b"NAME = 3\n").hexdigest()}
    assert trusted() == {digest(file): str(file)}
    assert [json.loads(line) for line in own_list.read_text().splitlines()] == [
        {"sha256": digest(file), "path": str(file)}
    ]


def test_a_file_that_was_never_named_is_refused_with_how_to_allow_it(folder: Path) -> None:
    file = written(folder / "a b.py", "NAME = 3\n")
    with pytest.raises(TrustError) as refused:
        require_trusted(f"{file}:NAME", "table.jsonl")
    assert str(refused.value) == (
        f"table.jsonl: names {file} to be run, which is not on your trust list; read it, and allow it by "
        f"`hwnas trust '{file}'`"
    )
    trust(file)
    require_trusted(f"{file}:NAME", "table.jsonl")


def test_other_content_is_refused_as_changed_and_a_copy_elsewhere_is_not(folder: Path) -> None:
    file = written(folder / "mine.py", "NAME = 3\n")
    trust(file)
    require_trusted(f"{written(folder / 'moved' / 'copy.py', file.read_text())}:NAME", "run.json")
    file.write_text("NAME = 4\n")
    with pytest.raises(TrustError, match=r"run.json: names .*mine.py to be run; it, or a module .*, has changed"):
        require_trusted(f"{file}:NAME", "run.json")


def test_names_need_no_trust(folder: Path) -> None:
    for reference in ("mobilenet", "text:FILE", ""):
        require_trusted(reference, "table.jsonl")


def test_a_file_that_is_not_there_now_is_refused_for_it_may_be_there_at_the_look_up(folder: Path) -> None:
    (folder / "circle.py").symlink_to("circle.py")
    (folder / "folder.py").mkdir()
    for name in ("none.py", "circle.py", "folder.py"):
        with pytest.raises(
            TrustError, match=rf"^table.jsonl: names {folder / name} to be run, which is not there; put"
        ):
            require_trusted(f"{folder / name}:build", "table.jsonl")


def test_control_characters_of_names_are_quoted(folder: Path) -> None:
    file = written(folder / "a\x1b[2K\n.py", "NAME = 3\n")
    for _ in ("there", "not there"):
        with pytest.raises(TrustError) as refused:
            require_trusted(f"{file}:NAME", "b\x1b.jsonl")
        assert str(refused.value).isprintable()
        assert str(refused.value).startswith(f"'b\\x1b.jsonl': names {str(file)!r} to be run, which is not ")
        file.unlink(missing_ok=True)


def test_a_file_that_runs_in_this_process_already_needs_no_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(folder / "mine.py", "NAME = 3\n")
    monkeypatch.setenv(VARIABLE, str(folder))  # a list that cannot be written
    assert resolve("space", f"{file}:NAME", {}, HwnasError) == 3
    require_trusted(f"{file}:NAME", "table.jsonl")
    with pytest.raises(
        HwnasError, match=rf"{folder}: the trust list cannot be written \(Is a directory\); .* {VARIABLE}$"
    ):
        trust(file)


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import helper", "helper.py"),
        ("import helper.part as part", "helper/part.py"),
        ("from helper import paint", "helper.py"),
        ("def build():\n    from helper.part import paint", "helper/deep/part.py"),
        ("import helper", "helper.abi3.so"),
        ("import helper", "helper.pyc"),
        ("import helper", "helper/deep/part.pyc"),
        ("MODULE = 'helper.part:Paint'", "helper/part.py"),
        ("class Paint:\n    module = 'helper:Paint'", "helper.py"),
    ],
)
def test_modules_beside_a_file_that_it_imports_belong_to_its_content(folder: Path, statement: str, module: str) -> None:
    file, beside = written(folder / "mine.py", statement), written(folder / module, "paint = 'red'")
    written(folder / "other.py", "")
    assert list(closure(file)) == [".", module]
    trust(file)
    require_trusted(f"{file}:build", "table.jsonl")
    beside.write_text("paint = 'blue'")
    with pytest.raises(
        TrustError, match=rf"names {file} to be run; it, or a module beside it that it imports, has changed since"
    ):
        require_trusted(f"{file}:build", "table.jsonl")


def test_a_module_that_a_trusted_file_imports_is_not_trusted_by_itself(folder: Path) -> None:
    trust(written(folder / "mine.py", "import helper"))
    for _ in ("a module", "a file of a package"):
        with pytest.raises(TrustError, match="is not on your trust list"):
            require_trusted(f"{written(folder / 'helper.py', 'NAME = 3')}:NAME", "table.jsonl")
    assert len(trusted()) == 1


def test_trusted_contents_of_two_projects_are_not_trusted_together(folder: Path) -> None:
    for name, colour in (("one", "red"), ("two", "blue")):
        file = written(folder / name / "mine.py", f"import helper  # {name}")
        written(folder / name / "helper.py", f"paint = {colour!r}")
        trust(file)
        require_trusted(f"{file}:NAME", "table.jsonl")
    written(folder / "one" / "helper.py", "paint = 'blue'")
    with pytest.raises(TrustError, match="has changed"):
        require_trusted(f"{folder / 'one' / 'mine.py'}:NAME", "table.jsonl")


def test_contents_that_change_places_are_another_closure(folder: Path) -> None:
    file = written(folder / "mine.py", "import first, second")
    written(folder / "first.py", "a = 1"), written(folder / "second.py", "a = 2")
    before = digest(file)
    written(folder / "first.py", "a = 2"), written(folder / "second.py", "a = 1")
    assert digest(file) != before


def test_a_file_behind_a_link_has_the_neighbours_that_it_imports(folder: Path) -> None:
    """Of its own folder, not of the link's: the module's file is the one behind the link."""
    written(folder / "real" / "helper.py", "")
    written(folder / "helper.py", "")
    file, link = (
        written(folder / "real" / "mine.py", "import sys\nNAME = (__file__, sys._getframe().f_code.co_filename)"),
        folder / "link.py",
    )
    link.symlink_to(file)
    assert closure(link) == closure(file)
    assert resolve("space", f"{link}:NAME", {}, HwnasError) == (str(file), str(file))
    assert resolve("space", f"{link}:__spec__", {}, HwnasError).origin == str(file)


def test_links_within_a_package_are_followed_and_circles_end(folder: Path) -> None:
    file = written(folder / "mine.py", "import helper")
    written(folder / "helper" / "__init__.py", "")
    beside = written(folder / "elsewhere" / "part.py", "paint = 'red'")
    (folder / "helper" / "deep").symlink_to(folder / "elsewhere")
    (folder / "elsewhere" / "back").symlink_to(folder / "helper")
    assert list(closure(file)) == [".", "helper/__init__.py", "helper/deep/part.py"]
    before = digest(file)
    beside.write_text("paint = 'blue'")
    assert digest(file) != before


def test_only_bytecode_that_python_cached_is_left_out(folder: Path) -> None:
    file = written(folder / "mine.py", "import helper")
    for name in (
        "helper.py",
        "__pycache__/helper.cpython-311.pyc",
        "helper/__init__.py",
        "helper/__pycache__/a.pyc",
        "helper/b.pyc",
    ):
        written(folder / name, "")
    assert list(closure(file)) == [".", "helper/__init__.py", "helper/b.pyc", "helper.py"]


def test_a_folder_of_data_that_is_named_like_an_installed_module_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(folder / "mine.py", "import json, numpy, sys, own")
    for name in ("json", "numpy", "sys", "own"):
        written(folder / name / "image.py", "")
    for path in ([], [str(folder)]):
        monkeypatch.setattr(sys, "path", [*path, *sys.path])
        assert list(closure(file)) == [".", "own/image.py"]
    written(folder / "numpy" / "__init__.py", "")
    assert list(closure(file)) == [".", "numpy/__init__.py", "numpy/image.py", "own/image.py"]


def test_what_imported_modules_import_belongs_to_the_content_too_and_circles_end(folder: Path) -> None:
    file = written(folder / "mine.py", "import first")
    written(folder / "first.py", "import second, mine"), written(folder / "second.py", "import first")
    assert list(closure(file)) == [".", "first.py", "second.py"]


def test_a_file_that_python_cannot_read_has_a_content_of_its_own(folder: Path) -> None:
    for content in ("import (", "\0", "(" * 100_000):
        assert list(closure(written(folder / "wrong.py", content))) == ["."]


def test_bytecode_beside_a_file_is_not_run_in_its_place(folder: Path) -> None:
    """Python's own loader takes bytecode whose header says that nobody has to compare it with the source."""
    file = written(folder / "mine.py", "NAME = 'other'\n")
    py_compile.compile(str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert list((folder / "__pycache__").iterdir())
    file.write_text("NAME = 'mine'\n")
    assert resolve("space", f"{file}:NAME", {}, HwnasError) == "mine"


def test_the_list_forgets_and_reads_over_damaged_lines(folder: Path, own_list: Path) -> None:
    file = written(folder / "mine.py", "NAME = 3\n")
    trust(file)
    trust(file)
    assert len(own_list.read_bytes().splitlines()) == 1
    own_list.write_bytes(b'{"sha256": 1}\n\xff\n[]\nnull\n' + own_list.read_bytes() + b'{"sha256": "12')
    assert list(trusted().values()) == [str(file)]
    forget()
    assert trusted() == {}
    with pytest.raises(TrustError, match="is not on your trust list"):
        require_trusted(f"{file}:NAME", "table.jsonl")
    forget()


def test_a_run_of_a_part_records_it_where_any_kind_of_part_is_looked_up(folder: Path) -> None:
    for kind in ("space", "task", "cost", "strategy", "data set", "runtime"):
        file = written(folder / f"{kind[:4]}.py", f"NAME = {kind!r}\n")
        assert resolve(kind, f"{file}:NAME", {}, HwnasError) == kind
    assert len(trusted()) == 6
