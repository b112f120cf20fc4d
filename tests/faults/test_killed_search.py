"""Searches that are killed or interrupted at any moment, and go on to the result of one that was not."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from hwnas.runs.front import read_front

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("HWNAS_KILLS", "2"))
OPTIONS = [
    *("--space", f"{ROOT / 'scripts/examples/own_space.py'}:build", "--space-option", "resolution=16"),
    *("--data", "digits", "--limit-images", "200", "--epochs", "3", "--evaluations", "40", "--networks", "10"),
    *("--latency-budget", "1s", "--final-epochs", "1"),
]


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hwnas", "search", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*arguments: object) -> None:
    process = start(*arguments)
    _, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors


def evaluations(run: Path) -> list[tuple[str, str, str]]:
    """In the order in which they happened."""
    connection = sqlite3.connect(run / "run.sqlite")
    try:
        return connection.execute(
            "SELECT arch_id, stages, metrics FROM evaluations WHERE phase = 'search' ORDER BY rowid"
        ).fetchall()
    finally:
        connection.close()


def require_equal_networks(run: Path, other: Path) -> None:
    """Compares the networks that are on both fronts after final training; what was measured decides about the others."""
    fronts = [{row.arch_id: row.metrics for row in read_front(path / "front.csv")} for path in (run, other)]
    both = fronts[0].keys() & fronts[1].keys()
    assert both and all(fronts[0][arch_id] == fronts[1][arch_id] for arch_id in both)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    began = time.monotonic()
    finish(*OPTIONS, "--out", run)
    return run, time.monotonic() - began


MORE = pytest.mark.slow(reason="one more search that is killed twice and runs in a process of its own")


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=MORE), pytest.param(2, marks=MORE)])
def test_a_search_killed_at_random_moments_comes_to_the_result_of_one_that_was_not(
    undisturbed: tuple[Path, float], tmp_path: Path, number: int
) -> None:
    """Given the same predictor: measured times are never the same twice."""
    reference, seconds = undisturbed
    run = tmp_path / "run"
    moments = random.Random(number)
    for _ in range(KILLS):
        known = ["--resume"] if (run / "run.json").exists() else [*OPTIONS, "--predictor", reference / "predictor.json"]
        process = start(*known, "--out", run)
        time.sleep(moments.uniform(0.2, 0.6) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    known = ["--resume"] if (run / "run.json").exists() else [*OPTIONS, "--predictor", reference / "predictor.json"]
    finish(*known, "--out", run)
    assert evaluations(run) == evaluations(reference)
    assert (run / "supernet.safetensors").read_bytes() == (reference / "supernet.safetensors").read_bytes()
    require_equal_networks(run, reference)


@pytest.mark.slow(reason="six searches in processes of their own, three of them killed")
def test_a_search_that_is_killed_while_it_goes_on_with_other_options_comes_to_the_same_result(
    undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    reference, seconds = undisturbed
    options = ["--resume", "--evaluations", "20", "--final-epochs", "2", "--limit", "params<=1e9"]
    whole, run = (Path(shutil.copytree(reference, tmp_path / name)) for name in ("whole", "run"))
    finish(*options, "--out", whole)
    moments = random.Random(0)
    for _ in range(3):
        process = start(*options, "--out", run)
        time.sleep(moments.uniform(0.2, 0.6) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(*options, "--out", run)
    assert len(evaluations(whole)) == 40 + 20 and evaluations(run) == evaluations(whole)
    require_equal_networks(run, whole)


ALONE = [
    *("--space", f"{ROOT / 'scripts/examples/own_space.py'}:build", "--space-option", "resolution=16"),
    *("--space-option", "blocks=2", "--data", "digits", "--limit-images", "64", "--epochs", "2", "--networks", "8"),
    *("--strategy", "nars", "--vary", "rate=0.3,1", "--evaluations", "8", "--per-round", "4", "--predictions", "20"),
    *("--latency-budget", "1s", "--final", "none"),
]


@pytest.mark.slow(reason="a search in a process of its own, and one that is killed and resumed")
def test_a_search_that_is_killed_while_it_trains_single_networks_comes_to_the_same_weights(tmp_path: Path) -> None:
    reference, run = tmp_path / "reference", tmp_path / "run"
    finish(*ALONE, "--out", reference)
    process = start(*ALONE, "--predictor", reference / "predictor.json", "--out", run)
    # After the first of two epochs of a network that the predictor chose.
    while len(list(run.glob("searches/alone/*.pt"))) < 6:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    known = evaluations(run)
    assert 4 <= len(known) < 8 and known == evaluations(reference)[: len(known)]
    finish("--resume", "--out", run)
    assert evaluations(run) == evaluations(reference)
    for file in (files := list(reference.glob("searches/*.safetensors"))):
        found, expected = (load_file(folder / "searches" / file.name) for folder in (run, reference))
        assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)
    assert len(files) == 8


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_search_says_so_in_one_line_and_can_be_resumed(
    undisturbed: tuple[Path, float], tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    reference, _ = undisturbed
    run = tmp_path / "run"
    endless = ["1000" if before == "--epochs" else word for before, word in pairwise(["", *OPTIONS])]
    process = start(*endless, "--predictor", reference / "predictor.json", "--out", run)
    while not (run / "checkpoint.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=1800)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert "search and train go on by --resume" in errors
    assert not list(run.glob(".*.partial"))


# The fixture `small_space`, whose predictor is there.
PHOTOS = [
    *("--space-option", "resolution=16", "--space-option", "width=0.25", "--latency-budget", "1s", "--final", "none"),
    *("--drop", "*.kernel=7", "--drop", "*.expansion=6", "--drop", "*.depth=3"),
    *("--fix", "stage2.width=8", "--fix", "stage3.width=16", "--fix", "stage4.width=24"),
    *("--epochs", "3", "--evaluations", "8"),
]
GRADIENT = ["--strategy", "gradient", "--scheme", "joint"]


def write_photos(folder: Path) -> str:
    rng = np.random.default_rng(0)
    for number in range(300):
        path = folder / str(number % 10) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 120, (*rng.integers(10, 60, 2), 3)) + 12 * (number % 10)
        Image.fromarray(noise.astype(np.uint8)).save(path)
    return f"imagefolder:{folder}"


@pytest.mark.parametrize("strategy", [["--recipe", "sandwich"], GRADIENT], ids=["supernet", "gradient"])
@pytest.mark.slow(reason="a search in memory, and one on streamed images that is killed five times")
def test_a_search_on_streamed_images_that_is_killed_finds_what_one_in_memory_does(
    small_predictor: Path, tmp_path: Path, strategy: list[str]
) -> None:
    """Processes that decode end with the search; the last part of it decodes without any."""
    options = [*PHOTOS, *strategy, "--data", write_photos(tmp_path / "photos"), "--predictor", small_predictor]
    reference, run = tmp_path / "reference", tmp_path / "run"
    began = time.monotonic()
    finish(*options, "--out", reference)
    seconds = time.monotonic() - began
    moments = random.Random(0)
    for number in range(5):
        streamed = ["--data-memory-gib", "0", "--data-workers", 1 + number % 2]
        known = ["--resume"] if (run / "run.json").exists() else options
        process = start(*known, *streamed, "--out", run)
        time.sleep(moments.uniform(0.2, 0.8) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()  # ends once no worker holds the pipe any more
    finish("--resume", "--data-memory-gib", "0", "--data-workers", "0", "--out", run)
    assert evaluations(run) == evaluations(reference)
    weights = {path.name: load_file(path) for path in reference.rglob("*.safetensors")}
    assert weights
    for name, expected in weights.items():
        (path,) = run.rglob(name)
        found = load_file(path)
        assert found.keys() == expected.keys() and all(np.array_equal(found[key], expected[key]) for key in found)
    require_equal_networks(run, reference)
