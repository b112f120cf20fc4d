"""Random search: the baseline that every strategy has to beat (Li and Talwalkar 2019)."""

from functools import partial
from typing import ClassVar, Final, final

import numpy as np
from pydantic.dataclasses import dataclass

from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop

# Architectures in one call: few enough that progress shows.
BATCH: Final = 32


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomSearch:
    """Evaluates feasible architectures that are drawn with every option equally likely."""

    name: ClassVar[str] = "random"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer."""
        rng = np.random.default_rng(workshop.seed)
        rows_NC = problem.feasible(partial(problem.space.sample_rows, rng), self.evaluations, rng)
        for start in range(0, len(rows_NC), BATCH):
            problem.evaluate(rows_NC[start : start + BATCH])
