"""Genetic search over option indices by pymoo: the only module that imports it.

Shapes: N architectures, C choices, D objectives, R reference directions.
"""

from collections.abc import Callable
from functools import partial
from math import comb
from typing import Any, Final, final

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.unsga3 import UNSGA3
from pymoo.core.evaluator import Evaluator
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.ux import UX
from pymoo.problems.static import StaticProblem
from pymoo.util.ref_dirs import get_reference_directions

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.strategies.problem import Problem

# Generations without one new feasible architecture after which the rest is drawn at random.
PATIENCE: Final = 10
# Stands for a metric that was not evaluated: pymoo sorts finite numbers only, and this one loses against every other.
NOT_EVALUATED: Final = 1e9

# The number of objectives, the size of the population, and pymoo's operators, to one of pymoo's algorithms.
Algorithm = Callable[..., Any]


def nsga2(objectives: int, size: int, **operators: Any) -> Any:
    """Returns NSGA-II (Deb et al. 2002)."""
    return NSGA2(pop_size=size, **operators)


def unsga3(objectives: int, size: int, **operators: Any) -> Any:
    """Returns U-NSGA-III (Seada and Deb 2016) with at most as many reference directions as architectures."""
    return UNSGA3(reference_directions(objectives, size), pop_size=size, **operators)


def reference_directions(objectives: int, most: int) -> FloatArray:
    """Returns evenly spread weights of the objectives (Das and Dennis 1998), at most so many; shape (R, D).

    >>> len(reference_directions(3, 32)), len(reference_directions(4, 32))
    (28, 20)
    """
    partitions = 1
    while comb(partitions + objectives, objectives - 1) <= most:
        partitions += 1
    return np.asarray(get_reference_directions("das-dennis", objectives, n_partitions=partitions))


def evolve(problem: Problem, algorithm: Algorithm, *, evaluations: int, population: int, seed: int) -> IntArray:
    """Evaluates the feasible offspring of each generation in one batch, then draws at random where offspring run out.

    Infeasible offspring are never evaluated: their violation alone ranks them (constrained domination). Returns the last
    population, which may have infeasible rows, or no rows where nothing was bred; shape (N, C).
    """
    rng = np.random.default_rng(seed)
    start_NC = _start(problem, population, rng)
    known: dict[bytes, FloatArray] = {}
    population_NC = start_NC[:0]
    if len(start_NC) == population and problem.space.size > evaluations:
        breeding = algorithm(len(problem.objectives), population, **_operators(problem, start_NC))
        _breed(problem, breeding, known, evaluations, seed)
        population_NC = breeding.pop.get("X").astype(np.int64)
    else:  # all that is feasible is evaluated anyway
        _evaluate_new(problem, start_NC[problem.violation(start_NC) <= 0], known, evaluations)
    missing = evaluations - len(known)
    if missing:
        rest_NC = problem.feasible(partial(problem.space.sample_rows, rng), missing, rng, known=known)
        _evaluate_new(problem, rest_NC, known, missing)
    return population_NC


def _operators(problem: Problem, start_NC: IntArray) -> dict[str, Any]:
    """Returns what all of pymoo's algorithms have in common here."""
    return {
        "sampling": start_NC,
        "crossover": UX(),
        "mutation": _Redraw(problem.space),
        "repair": _Normalise(problem.space),
        "eliminate_duplicates": True,
    }


def _breed(problem: Problem, breeding: Any, known: dict[bytes, FloatArray], evaluations: int, seed: int) -> None:
    """Breeds generations until so many architectures are known, or no new ones are feasible for a while."""
    last_C = np.array([len(choice.options) - 1 for choice in problem.space.choices])
    bounds = PymooProblem(n_var=len(last_C), n_obj=len(problem.objectives), n_ieq_constr=1, xl=0, xu=last_C, vtype=int)
    breeding.setup(bounds, termination=("n_gen", 10**9), seed=seed, verbose=False)
    idle = 0
    while len(known) < evaluations and idle < PATIENCE:
        offspring = breeding.ask()
        if offspring is None or len(offspring) == 0:
            break
        rows_NC = problem.space.normalise(offspring.get("X").astype(np.int64))
        violation_N = problem.violation(rows_NC)
        evaluated = _evaluate_new(problem, rows_NC[violation_N <= 0], known, evaluations - len(known))
        idle = 0 if evaluated else idle + 1
        static = StaticProblem(bounds, F=_told(problem, rows_NC, known), G=np.maximum(violation_N, 0.0)[:, None])
        Evaluator().eval(static, offspring)
        breeding.tell(infills=offspring)


def _evaluate_new(problem: Problem, rows_NC: IntArray, known: dict[bytes, FloatArray], most: int) -> int:
    """Evaluates at most so many rows that are not known, adds their points (D,) to the known ones, returns how many."""
    new = list({row_C.tobytes(): row_C for row_C in rows_NC if row_C.tobytes() not in known}.values())[:most]
    if new:
        new_NC = np.array(new)
        points_ND = problem.points(new_NC, problem.evaluate(new_NC))
        known.update(zip((row_C.tobytes() for row_C in new), points_ND, strict=True))
    return len(new)


def _told(problem: Problem, rows_NC: IntArray, known: dict[bytes, FloatArray]) -> FloatArray:
    """Returns the objectives as pymoo is told them; shape (N, D)."""
    cheap, metric_N = problem.cheap(rows_NC), np.full(len(rows_NC), NOT_EVALUATED)
    unknown_ND = np.stack([cheap.get(name, metric_N) for name in problem.objectives], axis=1)
    points = [known.get(row_C.tobytes(), unknown_D) for row_C, unknown_D in zip(rows_NC, unknown_ND, strict=True)]
    return np.asarray(np.nan_to_num(np.array(points), nan=NOT_EVALUATED, posinf=NOT_EVALUATED))


def _start(problem: Problem, count: int, rng: np.random.Generator) -> IntArray:
    """Returns the start of the problem, and feasible architectures spread over the whole range of sizes."""
    start_1C = np.asarray(problem.start_C, dtype=np.int64)[None]
    draw = partial(problem.space.spread_rows, rng)
    return np.concatenate([start_1C, problem.feasible(draw, count - 1, rng, known={start_1C.tobytes()})])


@final
class _Normalise(Repair):  # type: ignore[misc]
    """Makes equal networks equal rows, so that duplicates are recognised."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def _do(self, problem: PymooProblem, X: IntArray, **_: Any) -> IntArray:
        return self._space.normalise(X.astype(np.int64))


@final
class _Redraw(Mutation):  # type: ignore[misc]
    """Draws each choice anew with probability 1 / choices."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._sizes = np.array([len(choice.options) for choice in space.choices])

    def _do(
        self, problem: PymooProblem, X: IntArray, *_: Any, random_state: np.random.Generator, **__: Any
    ) -> IntArray:
        drawn = random_state.integers(0, self._sizes, size=X.shape)
        return np.where(random_state.uniform(size=X.shape) < 1 / X.shape[1], drawn, X)
