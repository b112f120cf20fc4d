"""Regularised evolution (Real et al. 2019, algorithm 1) as a strategy of one's own:

    hwnas search --space mobilenet --data digits --strategy scripts/examples/regularised_evolution.py:RegularisedEvolution ...

The example shows how to write a strategy (docs/extending.md). To search by regularised evolution, use the built-in
`--strategy evolution`, which breeds whole batches and ranks networks by domination.

The oldest architecture dies in every cycle, whatever it is worth. The paper maximises accuracy alone; here each tournament
draws its own weights of the objectives, so that the population spreads along the front. An architecture is evaluated once.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.space import SearchSpace
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop


@dataclass(frozen=True, kw_only=True)
class RegularisedEvolution:
    """Mutates the winner of a tournament in a population whose oldest member dies."""

    name: ClassVar[str] = "regularised-evolution"
    trains_weights: ClassVar[bool] = False

    evaluations: Annotated[int, Field(ge=1, description="Architectures evaluated on the validation split.")] = 200
    population: Annotated[int, Field(ge=2, description="Architectures alive at once.")] = 50
    tournament: Annotated[int, Field(ge=1, description="Architectures of which the best is mutated.")] = 10

    def search(self, problem: Problem, workshop: Workshop) -> None:
        rng, points = np.random.default_rng(workshop.seed), dict[bytes, np.ndarray]()

        def evaluated(draw: Callable[[int], np.ndarray], count: int) -> np.ndarray:
            """Returns new feasible rows, at most so many, after their evaluation."""
            rows_NC = problem.feasible(draw, count, rng, known=points)
            if len(rows_NC):
                points.update(zip(map(bytes, rows_NC), problem.points(rows_NC, problem.evaluate(rows_NC)), strict=True))
            return rows_NC

        anyone = partial(problem.space.sample_rows, rng)
        alive = deque(evaluated(anyone, min(self.population, self.evaluations)))
        while alive and len(points) < self.evaluations:
            mutants = partial(self._mutants, problem.space, self._winner(alive, points, rng), rng)
            children_NC = evaluated(mutants, 1)
            if len(children_NC) == 0:
                children_NC = evaluated(anyone, 1)
            if len(children_NC) == 0:
                return  # every feasible architecture is evaluated
            alive.extend(children_NC)
            alive.popleft()

    def _winner(self, alive: deque, points: dict, rng: np.random.Generator) -> np.ndarray:
        """Returns the best of some architectures by a weighted sum of objectives, normalised over the population."""
        points_ND = np.array([points[bytes(row_C)] for row_C in alive])
        scaled_ND = (points_ND - points_ND.min(0)) / np.maximum(np.ptp(points_ND, axis=0), 1e-12)
        score_N = scaled_ND @ rng.dirichlet(np.ones(points_ND.shape[1]))
        return alive[
            min(rng.choice(len(alive), min(self.tournament, len(alive)), replace=False), key=score_N.__getitem__)
        ]

    def _mutants(self, space: SearchSpace, parent_C: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
        """Returns copies of the parent with one choice at another option each."""
        sizes_C = np.array([len(choice.options) for choice in space.choices])
        column_N = rng.integers(len(sizes_C), size=count)
        rows_NC = np.repeat(parent_C[None], count, axis=0)
        shift_N = rng.integers(1, np.maximum(sizes_C[column_N], 2))
        rows_NC[np.arange(count), column_N] = (parent_C[column_N] + shift_N) % sizes_C[column_N]
        return space.normalise(rows_NC)
