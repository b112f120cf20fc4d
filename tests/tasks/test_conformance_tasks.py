"""Every built-in task, and the example of a user's own, keeps the laws of tasks; the suite notices tasks that break one."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.tasks.classification import Classification
from hwnas.tasks.registry import TASKS, load_task
from hwnas.tasks.task import Metric, Task
from hwnas.testing.tasks import TaskSuite

OWN_TASK = f"{Path(__file__).parents[2] / 'scripts/examples/own_task.py'}:make"
CONFIDENT = 20.0


class TestClassification(TaskSuite):
    classes = 3

    def task(self) -> Task:
        return load_task("classification")

    def labels(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(3, (count,), generator=generator)

    def perfect(self, labels: Tensor) -> Tensor:
        return CONFIDENT * F.one_hot(labels, 3).float()


class TestLanguage(TaskSuite):
    classes = 5

    def task(self) -> Task:
        return load_task("language")

    def labels(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(5, (count, 4), generator=generator)

    def perfect(self, labels: Tensor) -> Tensor:
        return CONFIDENT * F.one_hot(labels, 5).float()


class TestRegression(TaskSuite):
    classes = 2

    def task(self) -> Task:
        return load_task("regression")

    def labels(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, 2, generator=generator)

    def perfect(self, labels: Tensor) -> Tensor:
        return labels.clone()


class TestSegmentation(TaskSuite):
    classes = 3

    def task(self) -> Task:
        return load_task("segmentation")

    def labels(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(3, (count, 4, 5), generator=generator)

    def perfect(self, labels: Tensor) -> Tensor:
        return CONFIDENT * F.one_hot(labels, 3).movedim(-1, 1).float()


class TestOwnTask(TestClassification):
    def task(self) -> Task:
        return load_task(OWN_TASK)


def test_every_built_in_task_is_covered() -> None:
    suites = [TestClassification, TestLanguage, TestRegression, TestSegmentation]
    assert {suite().task().name for suite in suites} == set(TASKS)
    assert {name: load_task(name).name for name in TASKS} == {name: name for name in TASKS}


# ---- the suite bites


class Wrong:
    """Classification with one thing replaced."""

    def __init__(self, **replaced: Any) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(Classification(), name)


def _mean_of_batches(batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    scores = [Classification().score([batch]) for batch in batches]
    return {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}


def _all_at_once(batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    return dict(Classification().score(list(batches)))


def _in_place(outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    if not outputs.requires_grad:
        outputs.mul_(1.01)
    return F.cross_entropy(outputs, labels)


def _with_dropout(outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    return F.cross_entropy(F.dropout(outputs, 0.01), labels)


def _only_right(outputs: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    loss_N = F.cross_entropy(outputs, labels, reduction="none")
    return (loss_N * (outputs.argmax(1) == labels)).sum()


LOWEST = (Metric(name="loss"), Metric(name="accuracy"))
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an accuracy to be minimised": ({"metrics": LOWEST}, "perfect_prediction_scores_best"),
    "a metric that is not scored": ({"metrics": (*LOWEST, Metric(name="f1"))}, "every_metric_and_nothing_else"),
    "a metric too many": ({"metrics": LOWEST[:1]}, "every_metric_and_nothing_else"),
    "one name twice": ({"metrics": (LOWEST[0], LOWEST[0])}, "different_names"),
    "a name that is no column": ({"metrics": (Metric(name="top 5"),)}, "different_names"),
    "tensors as metrics": (
        {"score": lambda batches: {name: torch.tensor(v) for name, v in Classification().score(batches).items()}},
        "every_metric_and_nothing_else",
    ),
    "a mean of means": ({"score": _mean_of_batches}, "how_the_split_is_batched"),
    "a score that keeps everything": ({"score": _all_at_once}, "keeps_no_outputs"),
    "a score of the first batch": ({"score": lambda batches: Classification().score([next(batches)])}, "how_the_split"),
    "a loss that is a sum": (
        {"loss": lambda o, l, *, smoothing=0.0: F.cross_entropy(o, l, reduction="sum")},  # noqa: E741
        "averaged_over_predictions",
    ),
    "a loss per example": (
        {"loss": lambda o, l, *, smoothing=0.0: F.cross_entropy(o, l, reduction="none")},  # noqa: E741
        "finite_scalar",
    ),
    "a loss without a gradient": (
        {"loss": lambda o, l, *, smoothing=0.0: F.cross_entropy(o.detach(), l)},  # noqa: E741
        "finite_scalar",
    ),
    "a loss of the wrong sign": (
        {"loss": lambda o, l, *, smoothing=0.0: -F.cross_entropy(o, l)},  # noqa: E741
        "least_loss",
    ),
    "a loss of right predictions alone": ({"loss": _only_right}, "gradient_for_every_example"),
    "a loss that draws": ({"loss": _with_dropout}, "draw_nothing"),
    "a loss that changes outputs": ({"loss": _in_place}, "change_no_input"),
    "a loss that the batch broadcasts": (
        {"loss": lambda o, l, *, smoothing=0.0: (o[:, None] - F.one_hot(l, 3).float()).square().mean()},  # noqa: E741
        "least_loss",
    ),
    "imitation of nothing": ({"imitation": lambda o, teacher: o.square().mean()}, "imitation_of_oneself"),
    "imitation that is a sum": ({"imitation": lambda o, teacher: (o - teacher).square().sum()}, "averaged_over"),
    "imitation of the most likely class": (
        {"imitation": lambda o, teacher: F.cross_entropy(o, teacher.argmax(1))},
        "imitation_of_oneself",
    ),
    "any shape will do": ({"require_outputs": lambda shape, classes: None}, "others_are_refused"),
}


@pytest.mark.parametrize(("replaced", "law"), WRONG.values(), ids=WRONG.keys())
def test_the_suite_notices_a_task_that_breaks_a_law(replaced: dict[str, Any], law: str) -> None:
    broken = broken_laws(lambda: Wrong(**replaced))  # type: ignore[arg-type,return-value]
    assert any(law in name for name in broken), broken


def test_the_suite_finds_nothing_in_a_task_with_nothing_replaced() -> None:
    assert broken_laws(lambda: Wrong()) == []  # type: ignore[arg-type,return-value]


def broken_laws(task: Callable[[], Task]) -> list[str]:
    suite = TestClassification()
    suite.task = task  # type: ignore[method-assign]
    broken = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite, name)()
            except Exception:
                broken.append(name)
    return broken
