"""Problems with a known truth for the strategies' suite: they record what is evaluated and refuse what must not be.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Choice, Condition, only_if
from hwnas.core.choices import Choices
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.strategies.problem import Problem
from hwnas.tasks.task import Metric

METRICS: Final = (Metric(name="loss", unit="nats"), Metric(name="accuracy", unit="share", highest=True))
Numbers = Callable[[IntArray], FloatArray]


def choices_of(sizes: Iterable[int], *, conditional: bool = False, requires: Condition = ()) -> SearchSpace:
    """Returns a space without layers whose choices c0, c1, ... have so many options.

    With `conditional`, all choices but the first are on only where the first is not at its first option.
    """
    choices: list[Choice] = []
    for number, size in enumerate(sizes):
        switched = conditional and number > 0 and len(choices[0].options) > 1
        when = only_if({"c0": choices[0].options[1:]}) if switched else ()
        choices.append(Choice(f"c{number}", tuple(range(size)), when))
    return SearchSpace("synthetic", Choices(choices), Chain(()), (1,), 1, requires=requires)


@dataclass(kw_only=True)
class Recorder:
    """A space with its true losses and costs, and the rows that were evaluated so far."""

    space: SearchSpace
    loss: Numbers
    costs: Mapping[str, Numbers]
    start_C: IntArray
    bounds: Mapping[str, float] = field(default_factory=dict)
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def problem(self, objectives: Sequence[str] = ("loss", "latency")) -> Problem:
        """Returns the problem; its `evaluate` fails for rows that are infeasible, not normalised, or evaluated before."""
        costs = {name: FunctionCost(name, "", function) for name, function in self.costs.items()}
        return Problem(
            space=self.space,
            objectives=tuple(objectives),
            metrics=METRICS,
            costs=costs,
            evaluate=self.evaluate,
            limits=tuple(Limit(costs[name], bound) for name, bound in self.bounds.items()),
            start_C=self.start_C,
        )

    def evaluate(self, rows_NC: IntArray, _evaluator: Any = None) -> Mapping[str, FloatArray]:
        """Returns loss and accuracy, after checking the contract of `Problem.evaluate`."""
        assert rows_NC.ndim == 2, f"evaluate rows (N, C), not shape {rows_NC.shape}"
        assert np.array_equal(self.space.normalise(rows_NC), rows_NC), "evaluate normalised rows"
        assert self.space.meets_requirements(rows_NC).all(), "evaluate rows that meet the space's requirements"
        for name, bound in self.bounds.items():
            assert (self.costs[name](rows_NC) <= bound).all(), f"evaluate rows within the limit of {name}"
        for row_C in rows_NC.tolist():
            assert tuple(row_C) not in self.asked, f"evaluate {row_C} once"
            self.asked.append(tuple(row_C))
        loss_N = self.loss(rows_NC)
        return {"loss": loss_N, "accuracy": -loss_N}


def steps(space: SearchSpace, *, seed: int = 0, bounds: Mapping[str, float] | None = None) -> Recorder:
    """Returns a problem in which every step of an option costs something and, for the most part, gains loss.

    The start is the first option of every choice, whose latency is 1.
    """
    rng = np.random.default_rng(seed)
    latency_C, size_C, energy_C, gain_C = rng.uniform(0.2, 1, (4, len(space.choices)))
    return Recorder(
        space=space,
        loss=lambda rows_NC: np.asarray(10 - np.sqrt(rows_NC) @ gain_C),
        costs={
            "latency": lambda rows_NC: np.asarray(1 + rows_NC @ latency_C),
            "size": lambda rows_NC: np.asarray(rows_NC @ size_C),
            "energy": lambda rows_NC: np.asarray(2 + rows_NC @ energy_C),
        },
        start_C=np.zeros(len(space.choices), dtype=np.int64),
        bounds=bounds or {},
    )


def uneven(space: SearchSpace) -> Recorder:
    """Returns a problem in which a few choices gain most of the loss, and a few others cost most of the latency.

    Both run from 0 to 1 over the space, so that hypervolumes up to (1, 1) compare strategies.
    """
    rng = np.random.default_rng(7)
    last_C = np.array([len(choice.options) - 1 for choice in space.choices])
    latency_C, gain_C = rng.lognormal(0, 1.5, (2, len(space.choices)))
    latency_C, gain_C = latency_C / (latency_C @ last_C), gain_C / (gain_C @ last_C)
    return Recorder(
        space=space,
        loss=lambda rows_NC: np.asarray(1 - np.asarray(rows_NC) @ gain_C),
        costs={"latency": lambda rows_NC: np.asarray(np.asarray(rows_NC) @ latency_C)},
        start_C=np.zeros(len(space.choices), dtype=np.int64),
    )
