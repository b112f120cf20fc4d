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
        """Evaluates `evaluations` different architectures, or all where there are fewer.

        Whole batches are drawn, so that more evaluations begin with the same architectures.
        """
        rng, known = np.random.default_rng(workshop.seed), set[bytes]()
        draw = partial(problem.space.sample_rows, rng)
        while len(known) < self.evaluations:
            rows_NC = problem.feasible(draw, BATCH, rng, known=known)[: self.evaluations - len(known)]
            if not len(rows_NC):
                break
            problem.evaluate(rows_NC)
            known.update(row_C.tobytes() for row_C in rows_NC)
