"""The metrics' values, against their definitions and against scikit-learn."""

import math
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    jaccard_score,
    log_loss,
    precision_recall_fscore_support,
    r2_score,
    root_mean_squared_error,
)
from torch import Tensor

from hwnas.core.labels import UNLABELLED
from hwnas.errors import DataError, SpaceError
from hwnas.tasks.registry import TASKS, load_task


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batches(outputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """A batch of one example, and the others."""
    return [(outputs[:1], labels[:1]), (outputs[1:], labels[1:])]


@pytest.mark.parametrize("name", TASKS)
def test_a_split_without_examples_has_no_score(name: str) -> None:
    with pytest.raises(DataError, match="no labelled example"):
        load_task(name).score([])


# ---- classes


def test_a_score_is_cross_entropy_and_the_share_of_right_answers() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])
    score = load_task("classification").score([(logits, labels)])
    assert score["accuracy"] == 0.75
    assert score["loss"] == pytest.approx((3 * np.log1p(np.exp(-9)) + np.log1p(np.exp(9))) / 4, rel=1e-5)


def test_classification_scores_are_those_of_scikit_learn(generator: torch.Generator) -> None:
    logits, labels = torch.randn(20, 4, generator=generator), torch.randint(4, (20,), generator=generator)
    score = load_task("classification").score(batches(logits, labels))
    assert score["loss"] == pytest.approx(log_loss(labels, logits.double().softmax(1), labels=range(4)), rel=1e-6)
    assert score["accuracy"] == accuracy_score(labels, logits.argmax(1))
    assert score["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)), rel=1e-12)


def test_class_rows_are_those_of_scikit_learn(generator: torch.Generator) -> None:
    logits, labels = torch.randn(40, 4, generator=generator), torch.randint(4, (40,), generator=generator)
    precision, recall, _, support = precision_recall_fscore_support(labels, logits.argmax(1))
    rows = load_task("classification").class_rows(batches(logits, labels))
    assert [row["recall"] for row in rows] == pytest.approx(recall.tolist(), rel=1e-6)
    assert [row["precision"] for row in rows] == pytest.approx(precision.tolist(), rel=1e-6)
    assert [row["labels"] for row in rows] == support.tolist()
    maps = logits.T.reshape(1, 4, 5, 8)
    assert load_task("segmentation").class_rows([(maps, labels.reshape(1, 5, 8))]) == rows


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_balanced_classes_weigh_the_same_in_the_loss_and_not_in_the_score(name: str) -> None:
    """The loss of equal mistakes is that of the labels with every class as often as the others."""
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]])[labels]
    even = torch.tensor([0, 1, 2])
    plain = load_task(name)
    balanced = plain.balanced(labels, 3)
    if name == "segmentation":
        shaped = [
            (rows.T.reshape(1, 3, 1, -1), these.reshape(1, 1, -1))
            for rows, these in ((logits, labels), (logits[[0, 6, 7]], even))
        ]
    else:
        shaped = [(logits, labels), (logits[[0, 6, 7]], even)]
    assert float(balanced.loss(*shaped[0])) == pytest.approx(float(plain.loss(*shaped[1])), rel=1e-6)
    assert balanced.score([shaped[0]]) == plain.score([shaped[0]])


def as_task(name: str, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (P, K) and labels (P,) as outputs and labels of the task: as pixels of one image, or as they are."""
    if name == "segmentation":
        return logits.T.reshape(1, logits.shape[1], 1, -1), labels.reshape(1, 1, -1)
    return logits, labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_balanced_classes_leave_the_optimum_of_separable_data_where_it_is(name: str, smoothing: float) -> None:
    """Where the input tells the class, the optimum is the smoothed label, however rare a class is."""
    labels = torch.tensor([0] * 97 + [1] * 3)
    balanced = load_task(name).balanced(labels, 2)
    optimum = torch.tensor([[1 - smoothing / 2, smoothing / 2], [smoothing / 2, 1 - smoothing / 2]])
    logits = optimum.clamp(min=1e-9).log().requires_grad_()
    balanced.loss(*as_task(name, logits[labels], labels), smoothing=smoothing).backward()
    assert logits.grad is not None and logits.grad.abs().max() < 1e-6
    leaf = torch.zeros(2, 2, requires_grad=True)
    optimizer = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        balanced.loss(*as_task(name, leaf[labels], labels), smoothing=smoothing).backward()
        optimizer.step()
    assert leaf.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_weights_that_are_all_alike_give_the_plain_loss(
    generator: torch.Generator, name: str, smoothing: float
) -> None:
    plain, labels = load_task(name), torch.arange(12) % 3
    outputs, labels = as_task(name, torch.randn(12, 3, generator=generator), labels)
    even = plain.balanced(labels, 3)
    assert even.weights == (1.0, 1.0, 1.0)
    for task in (even, replace(plain, weights=(0.2, 0.2, 0.2))):
        loss = float(task.loss(outputs, labels, smoothing=smoothing))
        assert loss == pytest.approx(float(plain.loss(outputs, labels, smoothing=smoothing)), rel=1e-6)


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_a_class_that_is_never_trained_weighs_nothing(name: str) -> None:
    balanced = load_task(name).balanced(torch.tensor([0, 0, 2]), 4)
    assert balanced.weights == (0.375, 0.0, 0.75, 0.0)
    outputs, labels = as_task(name, torch.randn(3, 4), torch.tensor([1, 3, 1]))
    assert float(balanced.loss(outputs, labels, smoothing=0.1)) == 0


def test_labels_of_one_byte_are_counted_like_others(generator: torch.Generator) -> None:
    logits, labels = torch.randn(60, 30, generator=generator), torch.arange(60) % 30
    task, narrow = load_task("classification"), labels.to(torch.uint8)
    assert task.score(batches(logits, narrow)) == task.score(batches(logits, labels))
    assert str(task.class_rows(batches(logits, narrow))) == str(task.class_rows(batches(logits, labels)))
    weighted = task.balanced(narrow, 30)
    assert float(weighted.loss(logits, narrow)) == float(weighted.loss(logits, labels))


def test_ten_thousand_classes_are_cheap_at_one_example_per_batch(generator: torch.Generator) -> None:
    """A matrix of classes by classes per batch would take 0.8 GB and most of a second."""
    classes, count = 10_000, 100
    logits, labels = torch.randn(count, classes, generator=generator), torch.arange(count)
    task, single = load_task("classification"), [(logits[i : i + 1], labels[i : i + 1]) for i in range(count)]
    began = process_time()
    task.score(single)
    task.class_rows(single)
    assert process_time() - began < 10


def test_every_position_of_a_text_is_a_prediction(generator: torch.Generator) -> None:
    logits, labels = torch.randn(6, 4, 5, generator=generator), torch.randint(5, (6, 4), generator=generator)
    language, classification = load_task("language"), load_task("classification")
    score = language.score(batches(logits, labels))
    flat = classification.score([(logits.flatten(0, 1), labels.flatten())])
    assert score["accuracy"] == flat["accuracy"]
    assert score["loss"] == pytest.approx(flat["loss"], rel=1e-6)
    assert score["perplexity"] == pytest.approx(math.exp(flat["loss"]), rel=1e-5)
    assert language.loss(logits, labels) == classification.loss(logits.flatten(0, 1), labels.flatten())


def test_perplexity_beyond_a_double_is_infinite() -> None:
    logits = torch.tensor([[[0.0, 1000.0]]])
    assert load_task("language").score([(logits, torch.tensor([[0]]))])["perplexity"] == math.inf


def test_smoothing_is_the_share_of_all_classes_alike(generator: torch.Generator) -> None:
    logits, labels = torch.randn(8, 4, generator=generator), torch.randint(4, (8,), generator=generator)
    classification = load_task("classification")
    plain, smooth = (float(classification.loss(logits, labels, smoothing=share)) for share in (0.0, 0.2))
    uniform = float(-logits.log_softmax(1).mean())
    assert smooth == pytest.approx(0.8 * plain + 0.2 * uniform, rel=1e-6)


# ---- regression


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 1e4])  # targets far from 0 do not cancel
def test_regression_scores_are_those_of_scikit_learn(generator: torch.Generator, targets: int, offset: float) -> None:
    labels = torch.randn(30, targets, generator=generator) + offset
    outputs = labels + 0.3 * torch.randn(30, targets, generator=generator)
    score = load_task("regression").score(batches(outputs, labels))
    exact, guess = labels.double().numpy(), outputs.double().numpy()
    assert score["r2"] == pytest.approx(r2_score(exact, guess), rel=1e-9)
    assert score["loss"] == pytest.approx(np.mean((exact - guess) ** 2), rel=1e-9)
    assert score["rmse"] == pytest.approx(np.sqrt(score["loss"]), rel=1e-12)
    if targets == 1:
        assert score["rmse"] == pytest.approx(root_mean_squared_error(exact, guess), rel=1e-9)


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (0.5, 0.0)])
def test_a_target_that_does_not_vary_is_explained_by_exact_predictions_alone(error: float, r2: float) -> None:
    labels = torch.full((5, 1), 2.0)
    assert load_task("regression").score([(labels + error, labels)])["r2"] == r2 == r2_score(labels, labels + error)


def test_labels_without_an_axis_of_targets_are_not_broadcast() -> None:
    outputs, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 3.0])
    assert load_task("regression").loss(outputs, labels) == 0
    assert load_task("regression").score([(outputs, labels)])["loss"] == 0


# ---- segmentation


def test_segmentation_scores_are_those_of_scikit_learn(generator: torch.Generator) -> None:
    logits, labels = torch.randn(5, 3, 4, 6, generator=generator), torch.randint(3, (5, 4, 6), generator=generator)
    score = load_task("segmentation").score(batches(logits, labels))
    guess, exact = logits.argmax(1).flatten(), labels.flatten()
    assert score["miou"] == pytest.approx(jaccard_score(exact, guess, average="macro"), rel=1e-12)
    assert score["accuracy"] == pytest.approx(accuracy_score(exact, guess), rel=1e-12)
    rows = logits.double().movedim(1, -1).flatten(0, -2)
    assert score["loss"] == pytest.approx(log_loss(exact, rows.softmax(1), labels=range(3)), rel=1e-6)


def test_classes_that_are_neither_labelled_nor_predicted_do_not_count() -> None:
    labels = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.full((1, 4, 1, 4), -9.0)
    for pixel, predicted in enumerate([0, 0, 1, 0]):
        logits[0, predicted, 0, pixel] = 9.0
    assert load_task("segmentation").score([(logits, labels)])["miou"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_that_is_predicted_but_never_labelled_counts_nothing_right() -> None:
    labels = torch.tensor([[[0, 0]]])
    logits = torch.tensor([[[[9.0, 0.0]], [[0.0, 9.0]]]])
    assert load_task("segmentation").score([(logits, labels)])["miou"] == pytest.approx((1 / 2 + 0) / 2)


def test_pixels_without_a_label_neither_teach_nor_count(generator: torch.Generator) -> None:
    logits, labels = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(3, (2, 4, 4), generator=generator)
    segmentation = load_task("segmentation")
    known, hidden = labels[:, :2], labels.clone()
    hidden[:, 2:] = UNLABELLED
    leaf = logits.clone().requires_grad_()
    segmentation.loss(leaf, hidden).backward()
    assert leaf.grad is not None and leaf.grad[:, :, 2:].abs().max() == 0 < leaf.grad[:, :, :2].abs().max()
    assert segmentation.score([(logits, hidden)]) == pytest.approx(segmentation.score([(logits[:, :, :2], known)]))


# ---- shapes


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("classification", (8, 10), r"outputs \(10,\), one per class, .* shape \(8, 10\)"),
        ("language", (10,), r"outputs \(positions, 10\), one per token, .* shape \(10,\)"),
        ("regression", (3,), r"outputs \(10,\), one per target, .* shape \(3,\)"),
        ("segmentation", (32, 32, 10), r"outputs \(10, height, width\), one map per class, .* shape \(32, 32, 10\)"),
    ],
)
def test_outputs_of_another_shape_are_refused_with_both_shapes(name: str, shape: tuple[int, ...], wanted: str) -> None:
    with pytest.raises(SpaceError, match=f"the task {name} .*{wanted}; give a --space"):
        load_task(name).require_outputs(shape, 10)
