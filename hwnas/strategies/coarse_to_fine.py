"""Coarse to fine: a grid in which choices of one kind are alike, then small changes of the best networks.

Shapes: N architectures, C choices, P parents, D objectives.
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Annotated, ClassVar, Final, final

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import IntArray
from hwnas.strategies.coarse import grid
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.neighbours import mutated
from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.pareto import non_dominated
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import first_rows
from hwnas.strategies.workshop import Workshop

# Children in one call.
BATCH: Final = 5


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class CoarseToFine:
    """Evaluates a coarse grid, then mutates the non-dominated networks (Yu et al. 2020, coarse-to-fine architecture selection).

    In the grid, choices of one kind have one option: one kernel for all stages, one depth, one width. The paper keeps the most
    accurate network under a budget and accepts a mutated one that is better. Here the non-dominated networks are the parents, and
    a child that none dominates becomes one, too.
    """

    name: ClassVar[str] = "coarse-to-fine"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200
    coarse: Annotated[
        int,
        Field(
            ge=1,
            description="Architectures that are evaluated before the first changes: those of a coarse grid, in which choices "
            "of one kind, such as all kernels, have one option.",
        ),
    ] = 25

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer.

        Whole batches are bred, so that more evaluations begin with the same architectures.
        """
        rng = np.random.default_rng(workshop.seed)
        evaluated = Evaluated(problem, self.evaluations)
        first_NC = _coarse(problem, self.coarse, rng)
        if not len(first_NC):
            first_NC = problem.feasible(partial(problem.space.sample_rows, rng), BATCH, rng)
        evaluated.add(first_NC)
        while evaluated.room and evaluated.points:
            draw = _children(evaluated, rng)
            children_NC = problem.feasible(draw, BATCH, rng, known=evaluated.points)
            if not len(children_NC):
                break
            evaluated.add(children_NC)


def _coarse(problem: Problem, most: int, rng: np.random.Generator) -> IntArray:
    """Returns the given rows, `problem.start_C` and feasible rows of the grid, each once; shape (at most `most`, C)."""
    start_NC = np.asarray(problem.start_C, dtype=np.int64)[None]
    return first_rows(problem, np.concatenate([start_NC, grid(problem.space, rng)]), most)


def _children(evaluated: Evaluated, rng: np.random.Generator) -> Callable[[int], IntArray]:
    """Returns the draw of children of non-dominated networks.

    Children of the first draw differ from a parent in one choice. Each later draw, needed where few such children are new and
    feasible, changes one choice more.
    """
    parents_PC = evaluated.rows[non_dominated(np.array(list(evaluated.points.values())))]
    choices = count(1)

    def children(number: int) -> IntArray:
        places_N = rng.integers(len(parents_PC), size=number)
        return mutated(evaluated.problem.space, parents_PC[places_N], next(choices), rng)

    return children
