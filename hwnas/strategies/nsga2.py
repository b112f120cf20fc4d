"""NSGA-II, and U-NSGA-III for more than two objectives, over option indices. Loads pymoo when a search begins."""

from typing import ClassVar, final

from pydantic.dataclasses import dataclass

from hwnas.strategies.options import STRICT, Evaluations, Population
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Nsga2:
    """Breeds architectures from the best so far: NSGA-II (Deb et al. 2002), with more than two objectives U-NSGA-III.

    U-NSGA-III: Seada and Deb 2016. With three and four objectives it is level with NSGA-II and with AGE-MOEA-II, which
    needs numba (scripts/bench/search/many_objectives.py; docs/log.md).
    """

    name: ClassVar[str] = "nsga2"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200
    population: Population = 20

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer, one batch per generation."""
        from hwnas.strategies.genetic import evolve, usual_algorithm

        algorithm = usual_algorithm(len(problem.objectives))
        evolve(problem, algorithm, evaluations=self.evaluations, population=self.population, seed=workshop.seed)
