"""Regularised evolution for several objectives: the best of a few random networks is mutated, the oldest network dies.

Shapes: N architectures, C choices, D objectives, S architectures in a tournament, P architectures alive.
"""

from collections.abc import Callable
from itertools import count
from typing import Annotated, ClassVar, Final, final

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import IntArray
from hwnas.core.space import SearchSpace
from hwnas.strategies.evaluated import Evaluated
from hwnas.strategies.neighbours import mutated
from hwnas.strategies.options import STRICT, Evaluations, Population
from hwnas.strategies.pareto import crowded_order
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import spread
from hwnas.strategies.workshop import Workshop

# Children in one call. The paper breeds them one by one, on many machines at a time.
BATCH: Final = 5


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Evolution:
    """Mutates winners of tournaments in a population whose oldest members die (Real et al. 2019, algorithm 1).

    The paper maximises accuracy alone. Here the better of two networks is that of lower non-dominated rank, then that with the
    larger crowding distance (Deb et al. 2002, section III-B). A network on the front dies like any other, and stays on the front.
    """

    name: ClassVar[str] = "evolution"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200
    population: Population = 20
    tournament: Annotated[
        int, Field(ge=1, description="Architectures of which the best becomes a parent; 1 draws parents at random.")
    ] = 5

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer.

        Whole batches are bred, so that more evaluations begin with the same architectures.
        """
        rng = np.random.default_rng(workshop.seed)
        evaluated = Evaluated(problem, self.evaluations)
        evaluated.add(spread(problem, self.population, rng))
        while evaluated.points and evaluated.room:
            alive_PC, points_PD = evaluated.youngest(self.population)
            children_NC = problem.feasible(
                self._breeder(problem.space, alive_PC, crowded_order(points_PD), rng),
                BATCH,
                rng,
                known=evaluated.points,
            )
            if not len(children_NC):
                break
            evaluated.add(children_NC)

    def _breeder(
        self, space: SearchSpace, alive_PC: IntArray, order_P: IntArray, rng: np.random.Generator
    ) -> Callable[[int], IntArray]:
        """Returns the draw of children.

        Children of the first draw differ from a parent in one choice. Each later draw, needed where few such children are new
        and feasible, changes one choice more.
        """
        choices = count(1)

        def children(number: int) -> IntArray:
            places_NS = rng.integers(len(alive_PC), size=(number, self.tournament))
            return mutated(
                space, alive_PC[places_NS[np.arange(number), order_P[places_NS].argmin(axis=1)]], next(choices), rng
            )

        return children
