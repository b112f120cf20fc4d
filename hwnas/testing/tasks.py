"""The conformance suite of tasks.

    class TestMine(TaskSuite):
        classes = 4

        def task(self) -> Task:
            return load_task("mine.py:make")

        def labels(self, count: int, generator: torch.Generator) -> Tensor:
            return torch.randint(4, (count,), generator=generator)

        def perfect(self, labels: Tensor) -> Tensor:
            return 20.0 * F.one_hot(labels, 4)

pytest then runs every law on the task. A law is an ordinary method, so a suite also runs without pytest.
"""

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hwnas.core.operator import Shape
from hwnas.errors import SpaceError
from hwnas.tasks.task import Guessing, Metric, Task

# Examples of a batch, and the sizes of batches that score the same examples.
COUNT = 12
BATCHINGS = ([COUNT], [1] * COUNT, [1, COUNT - 1], [COUNT - 2, 2])
# Batches differ in the order of sums alone.
TOLERANCE = 1e-4


class TaskSuite:
    """Laws of every task. A subclass gives the task, random labels, and outputs that predict labels perfectly.

    `classes` is the length of the outputs' channel axis. `labels` returns labels that differ between examples.
    """

    classes: int

    def task(self) -> Task:
        """Returns the task."""
        raise NotImplementedError

    def labels(self, count: int, generator: torch.Generator) -> Tensor:
        """Returns random labels of `count` examples, as a data set gives them."""
        raise NotImplementedError

    def perfect(self, labels: Tensor) -> Tensor:
        """Returns a network's outputs that are right for all labels, and confident."""
        raise NotImplementedError

    # ---- laws of the metrics and the score

    def test_metrics_have_different_names_that_files_can_hold(self) -> None:
        names = [metric.name for metric in self.task().metrics]
        assert names, "a task has at least one metric: searches minimise the first"
        assert all(isinstance(metric, Metric) for metric in self.task().metrics), "metrics are hwnas.tasks.task.Metric"
        assert len(set(names)) == len(names), f"each name once, not {names}"
        assert all(name.isidentifier() for name in names), f"names become columns, so they are identifiers: {names}"
        assert self.task().name, "the task has a name"

    def test_a_score_has_every_metric_and_nothing_else(self) -> None:
        labels, outputs = self._examples()
        score = self._score([(outputs, labels)])
        assert set(score) == {metric.name for metric in self.task().metrics}, f"the score has {sorted(score)}"
        assert all(isinstance(value, float) for value in score.values()), f"metrics are floats: {score}"
        assert all(math.isfinite(value) for value in score.values()), f"metrics are finite: {score}"

    def test_a_score_does_not_depend_on_how_the_split_is_batched(self) -> None:
        labels, outputs = self._half_right()
        whole = self._score([(outputs, labels)])
        for sizes in BATCHINGS:
            parts = zip(torch.split(outputs, sizes), torch.split(labels, sizes), strict=True)
            self._require_equal(self._score(list(parts)), whole, f"in batches of {sizes}")

    def test_a_score_does_not_depend_on_the_order_of_examples(self) -> None:
        labels, outputs = self._half_right()
        whole = self._score([(outputs, labels)])
        self._require_equal(self._score([(outputs.flip(0), labels.flip(0))]), whole, "in reverse order")

    def test_a_score_keeps_no_outputs(self) -> None:
        """The outputs of a whole split may not fit into memory."""
        labels, outputs = self._examples()
        with torch.inference_mode():
            self.task().score(_lent(outputs, labels))

    def test_a_perfect_prediction_scores_best_in_every_metric(self) -> None:
        labels, right = self._perfect()
        best = self._score([(right, labels)])
        rivals = {
            "random outputs": self._examples()[1],
            "outputs of which half are random": self._half_right()[1],
            "the outputs of other examples": right.roll(1, 0),
        }
        for words, outputs in rivals.items():
            score = self._score([(outputs, labels)])
            for metric in self.task().metrics:
                mine, theirs = (metric.minimised(values[metric.name]) for values in (best, score))
                assert mine < theirs, f"{metric.name} prefers {words}: {score[metric.name]}, not {best[metric.name]}"

    # ---- the law of guessing

    def test_no_constant_outputs_score_better_than_the_guess_and_right_ones_do(self) -> None:
        """Only of tasks that say what guessing is (`hwnas.tasks.task.Guessing`)."""
        task, first = self.task(), self.task().metrics[0]
        if not isinstance(task, Guessing):
            return
        labels, right = self._perfect()
        guess = task.guess(labels, tuple(right.shape[1:]))
        assert guess.shape == right.shape[1:], f"the guess has shape {tuple(guess.shape)}, not {tuple(right.shape[1:])}"
        assert torch.equal(guess, task.guess(labels.flip(0), tuple(right.shape[1:]))), "the guess depends on the order"
        constants = [*right, *self._examples()[1], torch.zeros_like(guess)]
        mine, perfect, *others = (
            first.minimised(self._score([(outputs, labels)])[first.name])
            for outputs in (guess.expand_as(right), right, *(constant.expand_as(right) for constant in constants))
        )
        assert mine <= min(others) + TOLERANCE * abs(mine), f"constant outputs score {min(others)}, the guess {mine}"
        assert perfect < mine, f"right outputs score {perfect}, the guess {mine}"

    # ---- laws of the loss

    def test_the_loss_is_a_finite_scalar_with_a_gradient_for_every_example(self) -> None:
        labels, outputs = self._examples()
        for smoothing in (0.0, 0.1):
            leaf = outputs.clone().requires_grad_()
            loss = self.task().loss(leaf, labels, smoothing=smoothing)
            gradient = _gradient(loss, leaf)
            per_example = gradient.abs().flatten(1).sum(1)
            assert (per_example > 0).all(), f"with smoothing {smoothing} an example has no gradient: {per_example}"

    def test_the_loss_is_averaged_over_predictions(self) -> None:
        labels, outputs = self._examples()
        once, twice = (
            self.task().loss(outputs, labels),
            self.task().loss(outputs.repeat_interleave(2, 0), _twice(labels)),
        )
        assert _close(float(once), float(twice)), f"the loss is {once} of a batch, and {twice} of every example twice"

    def test_a_perfect_prediction_has_the_least_loss(self) -> None:
        labels, right = self._perfect()
        least = float(self.task().loss(right, labels))
        for outputs in (self._examples()[1], self._half_right()[1], right.roll(1, 0)):
            loss = float(self.task().loss(outputs, labels))
            assert least < loss, f"the loss of a perfect prediction is {least}, of another {loss}"

    def test_training_by_the_loss_improves_the_metric_that_searches_minimise(self) -> None:
        labels, outputs = self._examples()
        trained = _descended(outputs, lambda leaf: self.task().loss(leaf, labels))
        first = self.task().metrics[0]
        before, after = (self._score([(each, labels)])[first.name] for each in (outputs, trained))
        assert first.minimised(after) < first.minimised(before), f"{first.name} went from {before} to {after}"

    def test_the_loss_and_the_score_draw_nothing_and_change_no_input(self) -> None:
        labels, outputs = self._examples()
        kept = labels.clone(), outputs.clone()
        results = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            losses = float(self.task().loss(outputs, labels)), float(self.task().imitation(outputs, outputs.flip(0)))
            results.append((losses, dict(self._score([(outputs, labels)]))))
        assert results[0] == results[1], f"the same outputs and labels gave {results[0]}, then {results[1]}"
        assert torch.equal(labels, kept[0]) and torch.equal(outputs, kept[1]), "outputs or labels were changed in place"

    # ---- laws of imitation

    def test_imitation_is_a_finite_scalar_with_a_gradient_averaged_over_predictions(self) -> None:
        (_, outputs), teacher = self._examples(), self._examples(seed=1)[1]
        leaf = outputs.clone().requires_grad_()
        loss = self.task().imitation(leaf, teacher)
        assert _gradient(loss, leaf).abs().max() > 0, "imitation of another's outputs has no gradient"
        twice = self.task().imitation(outputs.repeat_interleave(2, 0), _twice(teacher))
        assert _close(float(loss.detach()), float(twice)), (
            f"imitation is {loss} of a batch, and {twice} of every example twice"
        )

    def test_imitation_of_oneself_has_no_gradient_and_the_least_loss(self) -> None:
        teacher = self._examples()[1]
        leaf = teacher.clone().requires_grad_()
        loss = self.task().imitation(leaf, teacher)
        steepest = float(_gradient(loss, leaf).abs().max())
        assert steepest < 1e-6, f"imitation of oneself has a gradient of {steepest}"
        for other in (self._examples(seed=1)[1], teacher.roll(1, 0)):
            assert float(loss.detach()) < float(self.task().imitation(other, teacher)), (
                "another student imitates better"
            )

    def test_a_student_of_a_perfect_teacher_learns_the_task(self) -> None:
        labels, outputs = self._examples()
        teacher = self.perfect(labels)
        trained = _descended(outputs, lambda leaf: self.task().imitation(leaf, teacher))
        before, after = (float(self.task().loss(each, labels)) for each in (outputs, trained))
        assert after < before, f"the loss went from {before} to {after}"

    # ---- laws of output shapes

    def test_the_shape_of_its_outputs_is_accepted_and_others_are_refused(self) -> None:
        shape: Shape = tuple(self._perfect()[1].shape[1:])
        self.task().require_outputs(shape, self.classes)
        for wrong, classes in ((shape, self.classes + 1), ((*shape, 2), self.classes), ((), self.classes)):
            try:
                self.task().require_outputs(wrong, classes)
            except SpaceError:
                continue
            raise AssertionError(f"outputs of shape {wrong} are accepted for {classes} classes; raise SpaceError")

    # ---- examples

    def _perfect(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        labels = self.labels(COUNT, torch.Generator().manual_seed(seed))
        assert not torch.equal(labels, labels.roll(1, 0)), "`labels` gives equal labels; laws need different ones"
        return labels, self.perfect(labels)

    def _examples(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Labels and random outputs."""
        labels, right = self._perfect()
        return labels, torch.randn(right.shape, generator=torch.Generator().manual_seed(seed + 1))

    def _half_right(self) -> tuple[Tensor, Tensor]:
        """Labels, and outputs that are perfect for the first half of the examples and random for the others."""
        (labels, right), (_, outputs) = self._perfect(), self._examples()
        return labels, torch.cat([right[: COUNT // 2], outputs[COUNT // 2 :]])

    def _score(self, batches: Sequence[tuple[Tensor, Tensor]]) -> Mapping[str, float]:
        with torch.inference_mode():
            return self.task().score(iter(batches))

    def _require_equal(self, score: Mapping[str, float], whole: Mapping[str, float], words: str) -> None:
        for name, value in whole.items():
            assert _close(score[name], value), f"{name} is {score[name]} {words}, and {value} in one batch"


def _close(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE / 100)


def _twice(batch: Tensor) -> Tensor:
    return batch.repeat_interleave(2, 0)


def _gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    """Returns the gradient of a loss. Raises AssertionError unless both are finite and the loss is a scalar."""
    assert loss.shape == (), f"a loss is a scalar, not of shape {tuple(loss.shape)}"
    assert loss.requires_grad, "the loss does not depend on the outputs"
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert math.isfinite(float(loss.detach())) and gradient.isfinite().all(), (
        f"the loss {loss} or its gradient is not finite"
    )
    return gradient


def _descended(outputs: Tensor, loss: Callable[[Tensor], Tensor], steps: int = 50) -> Tensor:
    """Returns outputs after some steps of Adam along a loss."""
    leaf = outputs.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(leaf).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return leaf.detach()


def _lent(outputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields examples one by one. Raises AssertionError where outputs before the previous ones are still in memory."""
    lent: list[weakref.ref[np.ndarray]] = []
    for number in range(len(outputs)):
        kept = sum(array() is not None for array in lent[:-1])
        assert kept == 0, f"the score keeps the outputs of {kept} batches in memory; keep sums of each batch"
        yield _lent_array(outputs[number : number + 1], lent), labels[number : number + 1]


def _lent_array(outputs: Tensor, lent: "list[weakref.ref[np.ndarray]]") -> Tensor:
    """Returns a copy of outputs whose memory `lent` watches."""
    array = outputs.numpy().copy()
    lent.append(weakref.ref(array))
    return torch.from_numpy(array)
