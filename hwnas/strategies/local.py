"""Pareto local search: neighbours of the non-dominated networks are evaluated until these have no other ones.

Shapes: N architectures, C choices.
"""

from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from functools import partial
from typing import Annotated, ClassVar, Final, final

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.arrays import IntArray
from hwnas.strategies.evaluated import Evaluated, rows_of
from hwnas.strategies.neighbours import neighbours
from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.pareto import crowded_order, non_dominated
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import spread
from hwnas.strategies.workshop import Workshop

# Neighbours in one call.
BATCH: Final = 5


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class LocalSearch:
    """Evaluates neighbours, which differ in one choice, of non-dominated networks (Paquete et al. 2004), and restarts.

    With one objective, local search is a strong baseline (White et al. 2021). Both papers evaluate all neighbours of a network
    before they move on. Here networks of the front take turns, with one random neighbour each, so that few evaluations do
    (anytime Pareto local search: Dubois-Lacoste et al. 2015).
    """

    name: ClassVar[str] = "local"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200
    starts: Annotated[
        int,
        Field(ge=1, description="Architectures that local search begins with, and begins anew with where it is stuck."),
    ] = 20

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer.

        A local search ends where every neighbour of its non-dominated networks is evaluated. The next one begins with random
        networks and knows of the earlier ones only the points. Whole batches are drawn, so that more evaluations begin
        with the same architectures.
        """
        rng = np.random.default_rng(workshop.seed)
        evaluated = Evaluated(problem, self.evaluations)
        start_NC, draw = spread(problem, self.starts, rng), partial(problem.space.sample_rows, rng)
        while len(start_NC):
            Region(evaluated, rng).explore(start_NC)
            start_NC = problem.feasible(draw, self.starts if evaluated.room else 0, rng, known=evaluated.points)


@final
@plain_dataclass(eq=False)
class Region:
    """The networks that one local search has reached, and each one's neighbours that are still to be looked at; rows as bytes.

    `seen` has what was reached and what is about to be evaluated.
    """

    evaluated: Evaluated
    rng: np.random.Generator
    reached: list[bytes] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    unseen: dict[bytes, list[bytes]] = field(default_factory=dict)

    def explore(self, start_NC: IntArray) -> None:
        """Evaluates the start, then batches of neighbours, until none is left or there is no room."""
        batch = [row_C.tobytes() for row_C in start_NC]
        self.seen.update(batch)
        while batch and self.evaluated.room:
            self.reached += batch[: self.evaluated.room]
            self.evaluated.add(rows_of(batch))
            batch = self._batch()

    def _batch(self) -> list[bytes]:
        """Returns the next neighbours to evaluate, at most BATCH.

        Networks of the front take turns. A neighbour that an earlier local search evaluated is reached at once.
        """
        batch: list[bytes] = []
        turns = self._front()
        while turns and len(batch) < BATCH:
            row = turns.pop(0)
            neighbour = self._neighbour(row)
            if neighbour is not None and neighbour in self.evaluated.points:
                self.reached.append(neighbour)
                turns = self._front()
            elif neighbour is not None:
                batch.append(neighbour)
                turns.append(row)
        return batch

    def _front(self) -> list[bytes]:
        """Returns the non-dominated networks among those reached, the least crowded first."""
        points_ND = np.array([self.evaluated.points[row] for row in self.reached])
        front_N = np.flatnonzero(non_dominated(points_ND))
        return [self.reached[place] for place in front_N[crowded_order(points_ND[front_N]).argsort()]]

    def _neighbour(self, row: bytes) -> bytes | None:
        """Returns a random feasible neighbour that was not seen, and marks it as seen; None where there is none."""
        if row not in self.unseen:
            problem = self.evaluated.problem
            rows_NC = neighbours(problem.space, np.frombuffer(row, dtype=np.int64))
            rows_NC = self.rng.permutation(rows_NC[problem.violation(rows_NC) <= 0])
            self.unseen[row] = [row_C.tobytes() for row_C in rows_NC]
        while self.unseen[row]:
            neighbour = self.unseen[row].pop()
            if neighbour not in self.seen:
                self.seen.add(neighbour)
                return neighbour
        return None
