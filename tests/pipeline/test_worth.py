"""A front that has learned nothing is said to be worth nothing, whatever the task; one that has learned is not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwnas.core.labels import UNLABELLED
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.splits import Examples
from hwnas.pipeline.guessing import _class_counts as class_counts
from hwnas.pipeline.guessing import chance, compared, guess_on
from hwnas.pipeline.worth import FrontScores, Worth, different_examples, worth_of
from hwnas.tasks.classification import Classification
from hwnas.tasks.registry import load_task

SHARES = (0.97, 0.03)
ENTROPY = -sum(share * np.log(share) for share in SHARES)


NONE = "the front is no better than guessing without the input, on the validation split: "
BEATS = "the front beats guessing on the validation split, but "
OPEN = "the front cannot be told from guessing without the input with 200 validation examples: "
SOME = ", no network is better than guessing without the input, on the validation split: "


def noise(folder: Path, count: int = 1_000, alike: bool = False) -> Dataset:
    """Images of noise, of which 97 % have one class."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    y = np.arange(count) % 100 >= 97
    np.savez(folder / "noise.npz", x=x[:1].repeat(count, 0) if alike else x, y=y.astype(np.int64))
    return load_data(f"npz:{folder / 'noise.npz'}", (3, 8, 8), outputs=2)


def worth(
    data: Dataset,
    shape: tuple[int, ...],
    *scores: dict[str, float],
    alike: bool = False,
    test: dict[str, float] | None = None,
    networks: int = 1,
) -> Worth:
    """The worth of a front with the same scores on both splits, unless others are given for the test split."""
    tests = scores if test is None else [test] * len(scores)
    front = FrontScores(validation=scores, test=tests, networks=networks)
    return worth_of(front, data, load_task(data.task), shape, classes_weigh_alike=alike)


def named(row: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("loss", "accuracy", "balanced_accuracy"), row, strict=True))


def test_guessing_scores_the_entropy_of_the_shares_and_the_largest_share(tmp_path: Path) -> None:
    guessing = worth(noise(tmp_path), (2,)).guessing
    assert guessing["loss"] == pytest.approx(ENTROPY, rel=1e-6)
    assert (guessing["accuracy"], guessing["balanced_accuracy"]) == (0.97, 0.5)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([(0.1352, 0.97, 0.5)], f"{NONE}best loss 0.1352 (guessing: 0.1347), accuracy 97.0 % (guessing: 97.0 %)"),
        ([(0.1346, 0.97, 0.5)], f"{OPEN}best loss 0.1346 (guessing: 0.1347)"),  # by luck
        ([(152.0, 0.107, 0.5)], "the training has diverged: give a lower --learning-rate"),
        ([(152.0, 0.107, 0.9)], f"in loss, accuracy{SOME}best loss 152"),
        ([(0.05, 0.97, 0.6)], f"in accuracy{SOME}best accuracy 97.0 % (guessing: 97.0 %); look"),
        ([(0.05, 0.97, 0.5)], f"in accuracy, balanced_accuracy{SOME}best accuracy 97.0 %"),
        ([(0.2, 0.99, 0.9), (0.05, 0.96, 0.5)], ""),  # each is beaten by one of them
        ([(0.05, 0.99, 0.9)], ""),
    ],
)
def test_a_front_that_does_not_beat_guessing_is_said_to_be_worth_nothing(
    tmp_path: Path, scores: list[tuple[float, float, float]], said: str
) -> None:
    warnings = worth(noise(tmp_path), (2,), *map(named, scores)).warnings
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
    warnings = worth(noise(tmp_path), (2,), named(scores), alike=True).warnings
    assert len(warnings) == bool(said)
    assert all(warning.startswith(said) for warning in warnings)


def balanced(folder: Path, count: int, classes: int = 2) -> Dataset:
    """Images of noise with a fifth of `count` for validation, and as many of every class."""
    x = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    np.savez(folder / f"{count}.npz", x=x, y=np.arange(count) % classes)
    return load_data(f"npz:{folder / f'{count}.npz'}", (3, 8, 8), outputs=classes)


def test_the_best_of_many_that_guess_on_few_examples_is_said_to_be_open(tmp_path: Path) -> None:
    few, luckiest, test = balanced(tmp_path, 200), named((0.6654, 0.675, 0.675)), named((0.707, 0.5, 0.5))
    (warning,) = worth(few, (2,), luckiest, test=test, networks=120).warnings
    assert warning == (
        "the front cannot be told from guessing without the input with 40 validation examples: best loss 0.6654 (guessing: "
        "0.6931), accuracy 67.5 % (guessing: 50.0 %), balanced_accuracy 67.5 % (guessing: 50.0 %), and the best of 120 that "
        "guess may be as good; give more validation data, or train longer (--epochs)"
    )
    assert worth(few, (2,), named((0.3, 0.9, 0.9)), networks=120).warnings == ()
    many = balanced(tmp_path, 2_000)
    assert worth(many, (2,), luckiest, networks=120).warnings == ()


def test_a_front_that_the_test_split_shows_to_have_learned_has_no_open_question(tmp_path: Path) -> None:
    (data, slightly, well) = balanced(tmp_path, 200), named((0.66, 0.6, 0.6)), named((0.3, 0.9, 0.9))
    assert len(worth(data, (2,), slightly, networks=100).warnings) == 1
    assert worth(data, (2,), slightly, test=well, networks=100).warnings == ()


@pytest.mark.parametrize("count", [30, 100, 400])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_fronts_of_networks_that_guess_seldom_pass_and_those_that_know_do(count: int, share: float) -> None:
    """Of 60 searches on noise, each with 50 networks, less than one in ten passes for learned."""
    rng, task = np.random.default_rng(0), load_task("classification")
    passed = 0
    for _ in range(60):
        labels = (rng.random(count) > share).astype(np.int64)
        guess = guess_on(Examples(labels, labels), task, (2,))
        assert guess is not None
        scores = []
        for scale in rng.exponential(0.5, 50):
            logits = guess_logits(labels) + scale * torch.from_numpy(rng.normal(size=(count, 2)))
            scores.append(task.score([(logits, torch.from_numpy(labels))]))
        passed += compared(scores, guess, task.metrics, 50).has_learned
    assert passed < 6
    right = torch.nn.functional.one_hot(torch.from_numpy(labels), 2) * 5.0
    perfect = task.score([(right, torch.from_numpy(labels))])
    assert compared([perfect], guess, task.metrics, 50).has_learned


def guess_logits(labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.log(np.bincount(labels, minlength=2) / len(labels)))


def test_numbers_of_noise_seldom_pass_for_learned() -> None:
    rng, task, passed = np.random.default_rng(0), load_task("regression"), 0
    for _ in range(60):
        labels = torch.from_numpy(rng.normal(size=(50, 2)))
        guess = guess_on(Examples(labels.numpy(), labels.numpy()), task, (2,))
        assert guess is not None
        outputs = [labels.mean(0) + 0.15 * torch.from_numpy(rng.normal(size=(50, 2))) for _ in range(50)]
        passed += compared([task.score([(each, labels)]) for each in outputs], guess, task.metrics, 50).has_learned
    assert passed < 6
    assert compared([task.score([(labels * 0.6, labels)])], guess, task.metrics, 50).has_learned


def test_chance_gives_more_to_more_networks_and_less_on_more_examples() -> None:
    task = load_task("classification")
    few, many = (guess_on(Examples(y, y), task, (2,)) for y in (np.arange(40) % 2, np.arange(4_000) % 2))
    assert few is not None and many is not None
    for metric in task.metrics:
        assert chance(metric, few, 1) < chance(metric, few, 100)
        assert chance(metric, many, 100) < chance(metric, few, 100)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            (2.3, 0.5, 0.5),
            f"validation and test disagree: {BEATS}is no better than guessing without the input, on the test split",
        ),
        (
            (2.3, 0.52, 0.52),
            f"{BEATS}cannot be told from guessing without the input with 40 test examples: best loss 2.3",
        ),
        ((2.3, 0.9, 0.9), ""),  # sure of its errors, but it knows the classes
    ],
)
def test_a_front_that_guesses_on_the_test_split_alone_is_said_to_disagree(
    tmp_path: Path, test: tuple[float, float, float], said: str
) -> None:
    warnings = worth(balanced(tmp_path, 200), (2,), named((0.01, 1.0, 1.0)), test=named(test)).warnings
    assert len(warnings) == bool(said)
    assert all(warning.startswith(said) and "labelled alike" in warning for warning in warnings)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_of_one_class_is_said_to_have_one_class(tmp_path: Path, split: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (200, 3, 8, 8), dtype=np.uint8)
    labels = {"train": np.arange(200) % 2, "validation": np.arange(50) % 2, "test": np.arange(50) % 2}
    labels[split] = np.zeros(50, dtype=np.int64)
    short = {"train": "train", "validation": "val", "test": "test"}
    arrays = {f"y_{short[name]}": y for name, y in labels.items()}
    arrays |= {f"x_{short[name]}": x[: len(y)] for name, y in labels.items()}
    np.savez(tmp_path / "one.npz", **arrays)
    data = load_data(f"npz:{tmp_path / 'one.npz'}", (3, 8, 8), outputs=2)
    well, badly = named((0.3, 0.9, 0.9)), named((0.702, 0.48, 0.48))
    ours, theirs = (badly, well) if split == "validation" else (well, badly)
    (warning,) = worth(data, (2,), ours, test=theirs).warnings
    assert warning == (
        f"the {split} split has one class only, so guessing is right: best loss 0.702 (guessing: 0), accuracy 48.0 % "
        "(guessing: 100.0 %), balanced_accuracy 48.0 % (guessing: 100.0 %); give a split with other labels, too"
    )


def test_targets_that_do_not_vary_are_said_not_to(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (100, 3, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "same.npz", x=x, y=np.full((100, 2), 3.5))
    data = load_data(f"npz:{tmp_path / 'same.npz'}", (3, 8, 8), outputs=2)
    score = {"loss": 0.0156, "r2": 0.0, "rmse": 0.125}
    assert [text[:62] for text in worth(data, (2,), score).warnings] == [
        "the targets of the validation split do not vary, so guessing i",
        "the targets of the test split do not vary, so guessing is righ",
    ]


@pytest.mark.parametrize(("loss", "has_diverged"), [(0.79, False), (1.3, False), (1.5, True), (float("nan"), True)])
def test_a_loss_near_that_of_equally_likely_classes_is_untrained_not_diverged(loss: float, has_diverged: bool) -> None:
    """One pixel in 256 has the second class: guessing scores .0256, an untrained network ln 2."""
    masks = np.zeros((12, 16, 16), dtype=np.int64)
    masks[:, 3, 5] = 1
    task = load_task("segmentation")
    guess = guess_on(Examples(masks, masks), task, (2, 16, 16))
    assert guess is not None and guess.scores["loss"] == pytest.approx(0.02556, abs=1e-5)
    scores = {"loss": loss, "miou": 0.2, "accuracy": 0.43}
    assert compared([scores], guess, task.metrics, 6).has_diverged == has_diverged


@given(
    arrays(np.int64, st.integers(1, 40), elements=st.sampled_from([UNLABELLED, -3, 0, 1, 2, 7, 10**12])),
    st.integers(1, 50),
)
def test_labels_that_are_counted_in_parts_are_those_of_the_whole(labels: np.ndarray, part: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.pipeline.guessing._PART", part)
        counts = class_counts(labels)
    assert counts.tolist() == np.unique(labels[labels != UNLABELLED], return_counts=True)[1].tolist()


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.bool_])
def test_labels_of_every_kind_are_counted(kind: type) -> None:
    assert class_counts(np.array([[0, 1], [1, 1]], kind)).tolist() == [1, 3]


@pytest.mark.parametrize(("scores", "times"), [((0.05, 0.97, 0.5), 2), ((0.05, 0.99, 0.9), 2), ((152.0, 0.1, 0.5), 3)])
def test_zeros_are_scored_only_where_the_training_may_have_diverged(
    tmp_path: Path, scores: tuple[float, float, float], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored, score = [], Classification.score

    def counted(self: Classification, batches: Iterator) -> dict[str, float]:
        scored.append(self)
        return score(self, batches)

    monkeypatch.setattr(Classification, "score", counted)
    worth(noise(tmp_path), (2,), named(scores))
    assert len(scored) == times  # guessing on both splits, and zeros


def test_unlabelled_pixels_are_no_class() -> None:
    masks = np.full((4, 8, 8), UNLABELLED, dtype=np.int64)
    masks[:, 0] = 0
    guess = guess_on(Examples(masks, masks), load_task("segmentation"), (2, 8, 8))
    assert guess is not None and guess.is_constant and guess.predictions == 4 * 8


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
