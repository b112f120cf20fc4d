"""A front that has learned nothing is said to be worth nothing, whatever the task; one that has learned is not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.core.arch import Arch
from hwnas.data.dataset import Dataset, load_data
from hwnas.evaluate.split import SplitScore
from hwnas.pipeline.worth import Worth, different_examples, worth_of
from hwnas.runs.database import Evaluation
from hwnas.tasks.registry import load_task

CPU = torch.device("cpu")
SHARES = (0.97, 0.03)
ENTROPY = -sum(share * np.log(share) for share in SHARES)


def noise(folder: Path, count: int = 1_000, alike: bool = False) -> Dataset:
    """Images of noise, of which 97 % have one class."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    y = np.arange(count) % 100 >= 97
    np.savez(folder / "noise.npz", x=x[:1].repeat(count, 0) if alike else x, y=y.astype(np.int64))
    return load_data(f"npz:{folder / 'noise.npz'}", (3, 8, 8), outputs=2)


def worth(data: Dataset, shape: tuple[int, ...], *scores: dict[str, float]) -> Worth:
    front = [Evaluation(Arch({"number": number}), ("supernet",), metrics) for number, metrics in enumerate(scores)]
    return worth_of(front, data, SplitScore(data, load_task(data.task), CPU), shape)


def test_guessing_scores_the_entropy_of_the_shares_and_the_largest_share(tmp_path: Path) -> None:
    guessing = worth(noise(tmp_path), (2,)).guessing
    assert guessing["loss"] == pytest.approx(ENTROPY, rel=1e-6)
    assert (guessing["accuracy"], guessing["balanced_accuracy"]) == (0.97, 0.5)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([(0.1352, 0.97, 0.5)], "best loss 0.1352 (guessing: 0.1347), accuracy 97.0 % (guessing: 97.0 %)"),
        ([(0.1346, 0.97, 0.5)], "loss 0.1346"),  # by luck
        ([(152.0, 0.107, 0.5)], "the training has diverged: give a lower --learning-rate"),
        ([(0.05, 0.97, 0.5)], "best accuracy 97.0 % (guessing: 97.0 %), balanced_accuracy 50.0 % (guessing: 50.0 %)"),
        ([(0.2, 0.99, 0.9), (0.05, 0.96, 0.5)], ""),  # each is beaten by one of them
        ([(0.05, 0.99, 0.9)], ""),
    ],
)
def test_a_front_that_does_not_beat_guessing_is_said_to_be_worth_nothing(
    tmp_path: Path, scores: list[tuple[float, float, float]], said: str
) -> None:
    names = ("loss", "accuracy", "balanced_accuracy")
    warnings = worth(noise(tmp_path), (2,), *(dict(zip(names, row, strict=True)) for row in scores)).warnings
    assert len(warnings) == bool(said)
    for warning in warnings:
        assert said in warning and "\n" not in warning
        assert warning.startswith(
            "the front is no better than guessing without the input, on the validation split: best"
        )


def test_examples_that_do_not_differ_are_counted_and_said(tmp_path: Path) -> None:
    good = {"loss": 0.01, "accuracy": 1.0, "balanced_accuracy": 1.0}
    alike = worth(noise(tmp_path, alike=True), (2,), good)
    assert alike.different_examples == 1
    assert [text[:54] for text in alike.warnings] == ["only 1 of 600 training examples differ from one anothe"]
    various = noise(tmp_path)
    assert different_examples(various.train) == 600
    assert worth(various, (2,), good).warnings == ()


def text(folder: Path) -> str:
    (folder / "a.txt").write_text("the cat sat on the mat and the rat sat on the cat\n" * 40)
    return f"text:{folder / 'a.txt'}"


@pytest.mark.parametrize("reference", ["digits-angle", "digits-canvas", "text"])
def test_every_task_says_what_guessing_scores(tmp_path: Path, reference: str) -> None:
    """The guess itself gets a warning, and right outputs none."""
    shapes = {"digits-angle": (1,), "digits-canvas": (11, 32, 32), "text": (8, 20)}
    inputs = {"digits-angle": (1, 16, 16), "digits-canvas": (1, 32, 32), "text": (8,)}
    shape, is_text = shapes[reference], reference == "text"
    data = load_data(
        text(tmp_path) if is_text else reference, inputs[reference], outputs=None, vocabulary=20 if is_text else None
    )
    guessing = worth(data, shape).guessing
    (warning,) = worth(data, shape, dict(guessing)).warnings
    metrics = load_task(data.task).metrics
    assert all(f"{metric.name} " in warning for metric in metrics)
    perfect = {metric.name: 1.0 if metric.highest else 0.0 for metric in metrics}
    assert worth(data, shape, perfect).warnings == ()


def test_guessing_a_target_scores_its_variance_and_explains_nothing() -> None:
    data = load_data("digits-angle", (1, 16, 16), outputs=1)
    guessing = worth(data, (1,)).guessing
    assert guessing["loss"] == pytest.approx(float(np.var(data.validation.labels)), rel=1e-5)
    assert guessing["r2"] == pytest.approx(0, abs=1e-6)
