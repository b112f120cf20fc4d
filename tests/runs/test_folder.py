"""Laws of run folders: nothing is overwritten, nothing is shared between processes, what cannot be read says so."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import RunError
from hwnas.runs.folder import PROVENANCE, SCHEMA, RunFolder, create_run

REQUEST = {"space": {"space": "tiny"}, "seed": 3}
SPACE = {"reference": "tiny", "options": {}, "fingerprint": "0123456789abcdef"}


def created(path: Path) -> RunFolder:
    return create_run(path, REQUEST, SPACE)


# ---- making one


def test_a_new_run_says_what_it_was_asked_and_with_which_versions(tmp_path: Path) -> None:
    facts = created(tmp_path / "deep" / "run").read()
    assert (facts["request"], facts["space"], facts["schema"]) == (REQUEST, SPACE, 2)
    assert set(PROVENANCE) | {"python"} == set(facts["versions"])
    assert facts["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["versions"]["numpy"] != "not installed as a package"


def test_an_empty_folder_becomes_a_run(tmp_path: Path) -> None:
    assert created(tmp_path).read()["request"] == REQUEST


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    content = run.json.read_bytes()
    with pytest.raises(RunError, match="holds a run already; go on with it by --resume, or give another --out"):
        create_run(run.path, {"space": "other"}, SPACE)
    assert run.json.read_bytes() == content


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="exists and is not empty; give another --out"):
        created(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="exists and is not empty; give another --out"):
        created(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_the_files_of_a_run_are_inside_it_and_have_the_names_of_the_contract(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    paths = [run.json, run.database, run.table, run.predictor, run.supernet, run.front, run.model("0123456789")]
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "run.json",
        "run.sqlite",
        "table.jsonl",
        "predictor.json",
        "supernet.safetensors",
        "front.csv",
        os.path.join("models", "0123456789.onnx"),
    ]


DEVICES = st.text(min_size=1, max_size=8)


@given(first=DEVICES, second=DEVICES, later=DEVICES)
def test_every_device_has_files_of_its_own_in_the_folder_and_keeps_them(first: str, second: str, later: str) -> None:
    with TemporaryDirectory() as folder:
        run = create_run(Path(folder) / "run", REQUEST, SPACE, devices=[{"name": first}, {"name": second}])
        names = {first, second, later}
        before = {name: (run.table_of(name), run.predictor_of("latency", name)) for name in names}
        assert len(set(before.values())) == len(names) and before[first] == (run.table, run.predictor)
        assert all(path.parent == run.path for pair in before.values() for path in pair)
        assert run.predictor_of("energy", first) == run.path / "energy.json" != run.predictor_of("energy", second) or (
            first == second
        )
        run.write(run.read() | {"devices": [{"name": later}], "first_device": first})
        assert before == {name: (run.table_of(name), run.predictor_of("latency", name)) for name in names}


# ---- reading one


def test_a_folder_without_a_run_is_answered_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run there \(no run.json\); `hwnas search --out .*` makes one"):
        RunFolder(tmp_path / "nowhere").read()


FACTS = st.dictionaries(
    st.text(max_size=5), st.integers() | st.floats(allow_nan=False) | st.text(max_size=5), max_size=4
)


@given(FACTS)
@settings(max_examples=40, deadline=None)
def test_facts_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, Any]) -> None:
    run = RunFolder(tmp_path_factory.getbasetemp() / "facts")
    facts |= {"schema": SCHEMA, "request": REQUEST, "space": SPACE}
    run.write(facts)
    assert run.read() == facts
    assert [path.name for path in run.path.iterdir()] == ["run.json"]


@given(st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_a_run_json_cut_at_any_byte_is_damaged(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    run = RunFolder(tmp_path_factory.getbasetemp() / "cut")
    run.write({"schema": SCHEMA, "request": REQUEST, "space": SPACE})
    content = run.json.read_bytes().rstrip()
    run.json.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RunError, match=r"run.json: damaged; start again under another --out"):
        run.read()


@pytest.mark.parametrize("content", [b"[" * 200_000, b"\xff\xfe", b"{", b""])
def test_what_is_no_json_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        RunFolder(tmp_path).read()


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_a_run_of_another_version_is_refused_in_one_line_with_the_version(tmp_path: Path, schema: int) -> None:
    facts = {"schema": schema, "config": {}, "space": SPACE, "versions": {"hwnas": "0.1.0"}}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(RunError) as refused:
        RunFolder(tmp_path).read()
    assert str(refused.value) == (
        f"{tmp_path / 'run.json'}: a run of hwnas 0.1.0 (schema {schema}), not of this version (schema {SCHEMA}); "
        "start again under another --out"
    )


@pytest.mark.parametrize("facts", [{"schema": "2"}, {}, [], 1, None, "schema"])
def test_what_names_no_version_is_refused(tmp_path: Path, facts: object) -> None:
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(RunError, match="not a run of this version of hwnas"):
        RunFolder(tmp_path).read()


@pytest.mark.parametrize("missing", ["request", "space", "goal"])
def test_a_run_without_what_is_needed_says_what_is_missing(tmp_path: Path, missing: str) -> None:
    facts = {"schema": SCHEMA, "request": REQUEST, "space": SPACE, "goal": {}}
    RunFolder(tmp_path).write({name: value for name, value in facts.items() if name != missing})
    with pytest.raises(RunError, match=rf"run.json: damaged \(no {missing}\); start again under another --out"):
        RunFolder(tmp_path).read("goal")


# ---- two processes

HOLDER = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from hwnas.runs.folder import RunFolder

with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_working_in(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_folder_another_process_works_in_is_refused_until_that_is_done(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    with another_process_working_in(run.path) as process:
        refused = pytest.raises(RunError, match="another process is working in it; wait, or give another --out")
        with refused, run.locked():
            pass
        assert run.read()["request"] == REQUEST
        process.communicate("")
    with run.locked():
        assert run.path.is_dir()


def test_the_lock_of_a_killed_search_dies_with_it(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    with another_process_working_in(run.path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with run.locked():
            assert run.path.is_dir()


def test_stages_add_up_over_resumed_processes(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    for _ in range(2):
        with run.stage("train"):
            time.sleep(0.05)
    stage = run.read()["stages"]["train"]
    assert stage["seconds"] >= 0.1
    assert stage["peak_mib"] > 10
