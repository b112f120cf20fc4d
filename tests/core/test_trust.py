"""Laws of the trust list: Python files run when they are named, or with the very content that ran or was allowed before."""

import hashlib
import json
import py_compile
from pathlib import Path

import pytest

from hwnas.core.references import require_trusted, resolve
from hwnas.core.trust import VARIABLE, content_of, forget, trust, trust_list, trusted, untrusted
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
    assert trusted() == {hashlib.sha256(b"NAME = 3\n").hexdigest(): str(file)}
    assert [json.loads(line) for line in own_list.read_text().splitlines()] == [
        {"sha256": hashlib.sha256(b"NAME = 3\n").hexdigest(), "path": str(file)}
    ]


def test_a_file_that_was_never_named_is_refused_with_how_to_allow_it(folder: Path) -> None:
    file = written(folder / "a b.py", "NAME = 3\n")
    with pytest.raises(TrustError) as refused:
        require_trusted(f"{file}:NAME", "table.jsonl")
    assert str(refused.value) == (
        f"table.jsonl: names {file} to be run, which you have neither run nor allowed; read it, and allow it by "
        f"`hwnas trust '{file}'`"
    )
    trust(file)
    require_trusted(f"{file}:NAME", "table.jsonl")


def test_other_content_is_refused_as_changed_and_a_copy_elsewhere_is_not(folder: Path) -> None:
    file = written(folder / "mine.py", "NAME = 3\n")
    trust(file)
    require_trusted(f"{written(folder / 'moved' / 'copy.py', file.read_text())}:NAME", "run.json")
    file.write_text("NAME = 4\n")
    with pytest.raises(TrustError, match=r"run.json: names .*mine.py to be run, which has changed since you last ran"):
        require_trusted(f"{file}:NAME", "run.json")


def test_names_and_files_that_are_not_there_need_no_trust(folder: Path) -> None:
    for reference in ("mobilenet", f"{folder}/none.py:build", "text:FILE", ""):
        require_trusted(reference, "table.jsonl")


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
    ],
)
def test_modules_beside_a_file_that_it_imports_belong_to_its_content(folder: Path, statement: str, module: str) -> None:
    file, beside = written(folder / "mine.py", statement), written(folder / module, "paint = 'red'")
    written(folder / "other.py", "")
    assert list(content_of(file)) == [file, beside]
    trust(file)
    assert untrusted(file) is None
    beside.write_text("paint = 'blue'")
    assert untrusted(file) == (beside, True)
    with pytest.raises(TrustError, match=rf"names {file} to be run, imports {beside}, which has changed since"):
        require_trusted(f"{file}:build", "table.jsonl")


def test_what_imported_modules_import_belongs_to_the_content_too_and_circles_end(folder: Path) -> None:
    file = written(folder / "mine.py", "import first")
    first, second = written(folder / "first.py", "import second, mine"), written(folder / "second.py", "import first")
    assert list(content_of(file)) == [file, first, second]


def test_a_file_that_python_cannot_read_has_a_content_of_its_own(folder: Path) -> None:
    for content in ("import (", "\0", "(" * 100_000):
        assert list(content_of(written(folder / "wrong.py", content))) == [folder / "wrong.py"]


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
    assert untrusted(file) == (file, False)
    forget()


def test_a_run_of_a_part_records_it_where_any_kind_of_part_is_looked_up(folder: Path) -> None:
    for kind in ("space", "task", "cost", "strategy", "data set", "runtime"):
        file = written(folder / f"{kind[:4]}.py", f"NAME = {kind!r}\n")
        assert resolve(kind, f"{file}:NAME", {}, HwnasError) == kind
    assert len(trusted()) == 6
