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


NONE = "the front is no better than guessing without the input, on the validation split: "
SOME = ", no network is better than guessing without the input, on the validation split: "


def noise(folder: Path, count: int = 1_000, alike: bool = False) -> Dataset:
    """Images of noise, of which 97 % have one class."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    y = np.arange(count) % 100 >= 97
    np.savez(folder / "noise.npz", x=x[:1].repeat(count, 0) if alike else x, y=y.astype(np.int64))
    return load_data(f"npz:{folder / 'noise.npz'}", (3, 8, 8), outputs=2)


def worth(data: Dataset, shape: tuple[int, ...], *scores: dict[str, float], alike: bool = False) -> Worth:
    front = [Evaluation(Arch({"number": number}), ("supernet",), metrics) for number, metrics in enumerate(scores)]
    return worth_of(front, data, SplitScore(data, load_task(data.task), CPU), shape, classes_weigh_alike=alike)


def test_guessing_scores_the_entropy_of_the_shares_and_the_largest_share(tmp_path: Path) -> None:
    guessing = worth(noise(tmp_path), (2,)).guessing
    assert guessing["loss"] == pytest.approx(ENTROPY, rel=1e-6)
    assert (guessing["accuracy"], guessing["balanced_accuracy"]) == (0.97, 0.5)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([(0.1352, 0.97, 0.5)], f"{NONE}best loss 0.1352 (guessing: 0.1347), accuracy 97.0 % (guessing: 97.0 %)"),
        ([(0.1346, 0.97, 0.5)], f"{NONE}best loss 0.1346"),  # by luck
        ([(152.0, 0.107, 0.5)], "the training has diverged: give a lower --learning-rate"),
        ([(152.0, 0.107, 0.6)], f"in loss, accuracy{SOME}best loss 152"),
        ([(0.05, 0.97, 0.6)], f"in accuracy{SOME}best accuracy 97.0 % (guessing: 97.0 %); look"),
        ([(0.05, 0.97, 0.5)], f"in accuracy, balanced_accuracy{SOME}best accuracy 97.0 %"),
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
        assert ("diverged" in warning) == ("diverged" in said)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ((0.3, 0.98, 0.9), ""),  # a plain loss above guessing's
        ((0.3, 0.9, 0.9), f"in accuracy{SOME}best accuracy 90.0 %"),
        ((0.05, 0.98, 0.5), f"in balanced_accuracy{SOME}best balanced_accuracy 50.0 %"),
        ((0.3, 0.97, 0.5), f"{NONE}best loss 0.3"),
    ],
)
def test_a_high_plain_loss_alone_is_no_warning_where_classes_weigh_alike(
    tmp_path: Path, scores: tuple[float, float, float], said: str
) -> None:
    named = dict(zip(("loss", "accuracy", "balanced_accuracy"), scores, strict=True))
    warnings = worth(noise(tmp_path), (2,), named, alike=True).warnings
    assert len(warnings) == bool(said)
    assert all(warning.startswith(said) for warning in warnings)


def test_only_the_first_metric_needs_more_than_luck() -> None:
    data = load_data("digits-angle", (1, 16, 16), outputs=1)
    guess = worth(data, (1,)).guessing
    slightly = {"loss": guess["loss"] * 0.999, "r2": guess["r2"] + 0.001, "rmse": guess["rmse"] * 0.9995}
    (warning,) = worth(data, (1,), slightly).warnings
    assert warning.startswith(f"in loss{SOME}best loss")


def test_examples_that_do_not_differ_are_counted_and_said(tmp_path: Path) -> None:
    good = {"loss": 0.01, "accuracy": 1.0, "balanced_accuracy": 1.0}
    alike = worth(noise(tmp_path, alike=True), (2,), good)
    assert alike.different_examples == 1
    assert [text[:54] for text in alike.warnings] == ["only 1 of 600 training examples differ from one anothe"]
    various = noise(tmp_path)
    assert different_examples(various.train) == 600
    assert worth(various, (2,), good).warnings == ()


@pytest.mark.parametrize(("different", "is_said"), [(2, True), (30, True), (60, True), (100, False), (599, False)])
def test_few_different_examples_are_a_share(tmp_path: Path, different: int, is_said: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (different, 8, 8, 3), dtype=np.uint8)[np.arange(600) % different]
    arrays = {"x_train": x, "y_train": np.arange(600) % 2, "x_val": x[:9], "y_val": np.arange(9) % 2}
    np.savez(tmp_path / "few.npz", **arrays, x_test=x[:9], y_test=np.arange(9) % 2)
    warnings = worth(load_data(f"npz:{tmp_path / 'few.npz'}", (3, 8, 8)), (2,)).warnings
    assert [f"only {different} of 600" in warning for warning in warnings] == [True] * is_said


def test_windows_of_text_may_be_alike(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("ab" * 2_000)
    data = load_data(f"text:{tmp_path / 'b.txt'}", (8,), vocabulary=8_000)
    assert different_examples(data.train) < 8
    assert worth(data, (8, 8_000)).warnings == ()


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
