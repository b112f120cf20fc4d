"""Files of others run no Python: tables, predictors, runs and supernets whose space is a file that leaves a mark when it runs."""

import csv
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hwnas as package
from hwnas.__main__ import main
from hwnas.core.references import resolve
from hwnas.core.trust import VARIABLE, trusted
from hwnas.errors import SpaceError
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import Profiling, profile
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.table import header_line, line, read_table

OWN = (Path(__file__).parents[2] / "scripts/examples/own_space.py").read_text()
MARK = '__import__("pathlib").Path(__file__).with_name("mark").touch()\n'
SPACE = {"resolution": 8, "blocks": 2}
TRAINED = ["--data", "digits", "--limit-images", "60", "--epochs", "1"]

Answer = tuple[int, str]
Hwnas = Callable[..., Answer]


@pytest.fixture(autouse=True)
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user: an empty trust list for every test."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "trusted.jsonl"))


@pytest.fixture
def hwnas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hwnas:
    """Runs a command; returns its exit code, and its last line on stderr or else its output."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["hwnas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        code = int(exit_.value.code or 0)
        return code, captured.err.splitlines()[-1] if code else captured.out

    return run


def options(file: Path) -> list[str]:
    return ["--space", f"{file}:build", *(f"--space-option={name}={value}" for name, value in SPACE.items())]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space, its table and predictor, a finished run and a supernet, as somebody hands it out."""
    folder = tmp_path_factory.mktemp("ours")
    file = folder / "space.py"
    file.write_text(OWN)
    quick = Protocol(rounds=3, most_rounds=3, burst_ms=0.5, warmup_ms=0.5, unconverged=10.0)
    space, table = package.space(f"{file}:build", **SPACE), folder / "table.jsonl"
    profile(Profiling(space=space, conditions=conditions_here("cpu"), path=table, protocol=quick), networks=10)
    search = [*options(file), *TRAINED, "--objectives", "loss,params", "--evaluations", "6", "--final", "none"]
    with pytest.MonkeyPatch.context() as patch:
        for arguments in (
            ["fit", "--table", str(table), "--out", str(folder / "predictor.json")],
            ["search", *search, "--table", str(table), "--out", str(folder / "run")],
            ["train", *options(file), *TRAINED, "--out", str(folder / "trained")],
        ):
            patch.setattr(sys, "argv", ["hwnas", *arguments])
            with pytest.raises(SystemExit) as exit_:
                main()
            assert not exit_.value.code
    return folder


@pytest.fixture
def theirs(ours: Path, tmp_path: Path) -> Path:
    """The same folder, whose space leaves a mark when it runs; its files name that one, and checksums are right."""
    folder = Path(shutil.copytree(ours, tmp_path / "theirs"))
    (folder / "space.py").unlink()
    (folder / "evil.py").write_text(MARK + OWN)
    before, after = f"{ours / 'space.py'}:build", f"{folder / 'evil.py'}:build"
    for path in (folder / "predictor.json", *folder.glob("*/*.json")):
        path.write_text(path.read_text().replace(before, after))
    for path in (folder / "table.jsonl", folder / "run" / "table.jsonl"):
        table = read_table(path)
        header = header_line(table.conditions, {**table.space, "reference": after}, table.provenance)
        path.write_bytes(header + b"".join(line(row) for row in table.rows))
    return folder


def evaluated(run: Path) -> str:
    """An architecture that the run evaluated and that is not on its front."""
    front = {row["arch_id"] for row in csv.DictReader((run / "front.csv").read_text().splitlines())}
    connection = sqlite3.connect(run / "run.sqlite")
    found = [arch_id for (arch_id,) in connection.execute("SELECT arch_id FROM evaluations ORDER BY arch_id")]
    connection.close()
    return next(arch_id for arch_id in found if arch_id not in front)


def commands(folder: Path) -> Iterator[tuple[str, list[Any]]]:
    """Every command that reads a file of others, and runs the space that the file names."""
    run, out = folder / "run", folder / "out"
    yield "table.jsonl", ["fit", "--table", folder / "table.jsonl", "--out", out / "p.json", "--allow-unconverged"]
    yield "predictor.json", ["predict", "--predictor", folder / "predictor.json", "--arch", "{}"]
    yield "run.json", ["verify", run]
    yield "run.json", ["verify", run, "--claims"]
    yield "run.json", ["export", run, "--arch", evaluated(run), "--out", out / "m.onnx"]
    yield "run.json", ["search", "--resume", "--out", run]
    yield "run.json", ["train", "--resume", "--out", folder / "trained"]


@pytest.mark.parametrize("number", range(7), ids=["fit", "predict", "verify", "claims", "export", "search", "train"])
def test_a_file_of_others_runs_its_space_only_when_the_user_allows_it(theirs: Path, hwnas: Hwnas, number: int) -> None:
    names, arguments = list(commands(theirs))[number]
    evil, mark = theirs / "evil.py", theirs / "mark"
    code, message = hwnas(*arguments)
    assert code == 2
    assert message.endswith(
        f"{names}: names {evil} to be run, which is not on your trust list; read it, and allow it by "
        f"`hwnas trust {evil}`"
    )
    assert not mark.exists()
    assert hwnas("trust", evil)[0] == 0
    assert not mark.exists(), "allowed is not run"
    assert hwnas(*arguments)[0] == (2 if arguments[0] == "predict" else 0)  # {} is no architecture
    assert mark.exists()


def test_a_cold_fit_runs_the_tables_space_only_when_the_user_allows_it(theirs: Path, hwnas: Hwnas) -> None:
    cold = ["fit", "--table", theirs / "table.jsonl", "--space", "conv_macro", "--out", theirs / "p.json"]
    code, message = hwnas(*cold, "--allow-unconverged")
    assert code == 2 and f"table.jsonl: names {theirs / 'evil.py'} to be run" in message
    assert not (theirs / "mark").exists()


def test_a_file_that_serves_a_space_of_the_users_own_runs_nothing(ours: Path, theirs: Path, hwnas: Hwnas) -> None:
    """Merging, profiling on, fitting and searching with tables, predictors and supernets compare spaces by fingerprint."""
    mine, table, out = options(ours / "space.py"), theirs / "table.jsonl", theirs / "out"
    out.mkdir()
    shutil.copy(table, out / "more.jsonl")
    search = ["search", *mine, *TRAINED, "--objectives", "loss,params", "--evaluations", "4", "--final", "none"]
    fit = ["fit", "--table", table, *mine, "--allow-unconverged"]
    for arguments in (
        ["merge", table, out / "more.jsonl", "--out", out / "both.jsonl"],
        ["profile", *mine, "--networks", "8", "--out", table],
        [*fit, "--out", out / "p.json"],
        [*fit, "--from", theirs / "predictor.json", "--out", out / "q.json"],
        [*search, "--predictor", theirs / "predictor.json", "--supernet", theirs / "trained", "--out", out / "a"],
        [*search, "--table", table, "--supernet", theirs / "run", "--out", out / "b"],
        ["plot", theirs / "run", "--out", out / "front.png"],
        ["export", theirs / "run", "--out", out / "m.onnx"],
    ):
        assert hwnas(*arguments)[0] == 0, arguments
    assert not (theirs / "mark").exists()


def changed(path: Path, places: str, value: Any) -> None:
    """Writes a value into a JSON file, at the keys that are joined by dots."""
    content = json.loads(path.read_text())
    *way, last = places.split(".")
    inner = content
    for key in way:
        inner = inner[int(key) if isinstance(inner, list) else key]
    inner[last] = value
    path.write_text(json.dumps(content))


# Where a run.json names parts, and what it may name there.
PLACES: list[tuple[str, Any]] = [
    ("request.space.space", "EVIL:build"),
    ("space.reference", "EVIL:build"),
    ("request.data.data", "EVIL:stripes"),
    ("request.data.task", "EVIL:make"),
    ("request.strategy.name", "EVIL:Strategy"),
    ("request.goal.objectives", "loss, EVIL:cost"),
    ("request.goal.limit", ["EVIL:cost <= 3"]),
    ("request.training.teacher", "EVIL:make"),
    ("request.devices.runtime", "EVIL:RUNTIME"),
    ("request.devices.device", ["cpu+runtime=EVIL:RUNTIME"]),
    ("devices.0.conditions.runtime", "EVIL:RUNTIME 1.0"),
]


@pytest.mark.parametrize(("places", "value"), PLACES)
def test_every_reference_in_a_run_is_asked_for(
    ours: Path, theirs: Path, hwnas: Hwnas, places: str, value: str | list[str]
) -> None:
    evil, run = theirs / "evil.py", theirs / "run"
    run_json = (ours / "run" / "run.json").read_text()
    (run / "run.json").write_text(run_json)
    changed(run / "run.json", places, json.loads(json.dumps(value).replace("EVIL", str(evil))))
    assert hwnas("trust", ours / "space.py")[0] == 0
    reads = [["verify", run]]
    if places != "devices.0.conditions.runtime":
        reads += [["search", "--resume", "--out", run], ["verify", run, "--claims"]]
        reads += [["export", run, "--arch", evaluated(run), "--out", theirs / "m.onnx"]]
    for arguments in reads:
        code, message = hwnas(*arguments)
        assert code == 2 and f"run.json: names {evil} to be run" in message, arguments
    assert not (theirs / "mark").exists()


@pytest.mark.parametrize("places", ["request.strategy", *(place for place, _ in PLACES[:-1])])
def test_a_reference_that_is_no_text_is_told_in_one_line(ours: Path, tmp_path: Path, hwnas: Hwnas, places: str) -> None:
    run = Path(shutil.copytree(ours / "run", tmp_path / "run"))
    assert hwnas("trust", ours / "space.py")[0] == 0
    for value in (5, [5]):
        changed(run / "run.json", places, value)
        code, message = hwnas("search", "--resume", "--out", run)
        assert code == 2 and message.startswith(f"hwnas: {run / 'run.json'}: "), message


def test_a_table_and_a_predictor_whose_space_is_no_text_are_damaged(theirs: Path, hwnas: Hwnas) -> None:
    table = read_table(theirs / "table.jsonl")
    header = header_line(table.conditions, {**table.space, "reference": 5}, table.provenance)
    table.path.write_bytes(header + b"".join(line(row) for row in table.rows))
    changed(theirs / "predictor.json", "space.reference", 5)
    for names, arguments in list(commands(theirs))[:2]:
        code, message = hwnas(*arguments)
        assert code == 2 and f"{names}: damaged: its space is 5, not a name; make it again" in message


def test_a_shipped_devices_runtime_is_asked_for(theirs: Path, hwnas: Hwnas, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = theirs / "devices" / "predictors" / "board" / "mobilenet.json"
    predictor.parent.mkdir(parents=True)
    shutil.copy(theirs / "predictor.json", predictor)
    changed(predictor, "conditions.runtime", f"{theirs / 'evil.py'}:RUNTIME 1.0")
    monkeypatch.setenv("HWNAS_DEVICES", str(theirs / "devices"))
    assert hwnas("devices")[0] == 0
    code, message = hwnas("search", "--device", "board", "--out", theirs / "out")
    assert code == 2 and f"the predictor of device board: names {theirs / 'evil.py'} to be run" in message
    assert not (theirs / "mark").exists()


# ---- files of the user's own


def test_a_run_of_a_file_that_was_named_goes_on_without_a_question(
    ours: Path, tmp_path: Path, hwnas: Hwnas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, that is; and after the file has changed the user is told so."""
    file, run = tmp_path / "mine.py", tmp_path / "trained"
    file.write_text(OWN)
    assert hwnas("train", *options(file), *TRAINED, "--out", run)[0] == 0
    name = resolve("space", f"{file}:__name__", {}, SpaceError)
    assert list(trusted().values()) == [str(file)]
    monkeypatch.delitem(sys.modules, name)
    assert hwnas("train", "--resume", "--out", run)[0] == 0
    monkeypatch.delitem(sys.modules, name)
    file.write_text(f"{OWN}\n# greener\n")
    code, message = hwnas("train", "--resume", "--out", run)
    assert code == 2
    assert (
        f"run.json: names {file} to be run; it, or a module beside it that it imports, has changed since you" in message
    )
    assert hwnas("train", "--resume", *options(file), "--out", run)[0] == 0, "named in this very call"


def test_a_file_that_is_named_for_one_run_does_not_allow_another(theirs: Path, ours: Path, hwnas: Hwnas) -> None:
    code, message = hwnas("search", "--resume", *options(ours / "space.py"), "--out", theirs / "run")
    assert code == 2 and f"names {theirs / 'evil.py'} to be run" in message
    assert not (theirs / "mark").exists()


def test_trust_lists_adds_and_empties(tmp_path: Path, hwnas: Hwnas) -> None:
    file = tmp_path / "mine.py"
    file.write_text("NAME = 3\n")
    assert json.loads(hwnas("trust", "--json")[1]) == {"trusted": []}
    (entry,) = json.loads(hwnas("trust", file, "--json")[1])["trusted"]
    assert entry["file"] == str(file) and len(entry["sha256"]) == 64
    assert str(file) in hwnas("trust")[1]
    assert json.loads(hwnas("trust", "--empty", "--json")[1]) == {"trusted": []}
    for wrong in (tmp_path / "none.py", tmp_path, tmp_path / "trusted.jsonl"):
        assert hwnas("trust", wrong) == (2, f"hwnas: {wrong}: no Python file there; give the FILE.py of FILE.py:NAME")


# ---- paths that leave the folder


def rewritten_front(run: Path, **cells: str) -> None:
    """Writes cells into every row of front.csv."""
    with (run / "front.csv").open(newline="") as file:
        rows = [{**row, **cells} for row in csv.DictReader(file)]
    with (run / "front.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    "name", ["../secret.onnx", "models/../../secret.onnx", "/secret.onnx", "C:\\secret.onnx", "ABSOLUTE"]
)
def test_a_model_path_that_leaves_the_run_is_refused(theirs: Path, hwnas: Hwnas, name: str) -> None:
    secret = theirs / "secret.onnx"
    secret.write_text("secret")
    name = name.replace("ABSOLUTE", str(secret))
    rewritten_front(theirs / "run", onnx=name)
    code, message = hwnas("export", theirs / "run", "--out", theirs / "m.onnx")
    assert code == 2 and f"run: its files name {name!r}, which is outside the run folder" in message
    assert not (theirs / "m.onnx").exists()


@pytest.mark.parametrize("arguments", [["export"], ["verify"], ["verify", "--claims"]], ids=" ".join)
def test_an_architectures_id_that_leaves_the_run_is_refused(
    theirs: Path, hwnas: Hwnas, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (theirs / "deep").mkdir()
    monkeypatch.chdir(theirs / "deep")
    shutil.copy(next((theirs / "run" / "models").glob("*.onnx")), theirs / "secret.onnx")
    rewritten_front(theirs / "run", arch_id="../../secret")
    hwnas("trust", theirs / "evil.py")
    before = {path: path.stat().st_mtime_ns for path in theirs.rglob("*.onnx")}
    code, message = hwnas(*arguments, theirs / "run")
    assert code == 2 and "its files name 'models/../../secret" in message
    assert {path: path.stat().st_mtime_ns for path in theirs.rglob("*.onnx")} == before


@pytest.mark.parametrize(
    "inside", ["models/MODEL", "run.sqlite", "supernet.safetensors", "models", ".lock", "front.csv"]
)
@pytest.mark.parametrize(
    "arguments", [["export"], ["verify"], ["plot", "--out", "x.png"], ["search", "--resume", "--out"]]
)
def test_a_link_out_of_the_run_is_neither_read_nor_written(
    theirs: Path, hwnas: Hwnas, inside: str, arguments: list[str]
) -> None:
    run = theirs / "run"
    path = run / inside.replace("MODEL", next((run / "models").glob("*.onnx")).name)
    outside = theirs / "outside"
    if path.exists():
        path.rename(outside)
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    code, message = hwnas(*arguments, run)
    assert (code, message) == (
        2,
        f"hwnas: {path}: is a link out of the run folder, to {outside}; put a copy in its place",
    )


def test_a_link_within_the_run_and_a_run_behind_a_link_are_as_good_as_files(theirs: Path, hwnas: Hwnas) -> None:
    run = theirs / "run"
    model = next((run / "models").glob("*.onnx"))
    model.rename(run / "kept.onnx")
    model.symlink_to("../kept.onnx")
    (theirs / "link").symlink_to(run)
    assert hwnas("export", theirs / "link", "--out", theirs / "m.onnx")[0] == 0
