"""Genetic search over option indices by pymoo: the only module that imports it.

Shapes: N architectures, C choices, D objectives: M metrics and B costs; K known architectures, R reference directions or
architectures with the best metrics.
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
from hwnas.strategies.start import spread

# Generations without one new feasible architecture after which the rest is drawn at random.
PATIENCE: Final = 10
# Stands for a metric that was not evaluated: pymoo sorts finite numbers only, and this one loses against every other.
NOT_EVALUATED: Final = 1e9

# More generations and evaluations than any search has.
ENDLESS: Final = 10**9

# From a problem, new feasible rows and the known points to the rows to evaluate.
Worth = Callable[[Problem, IntArray, dict[bytes, FloatArray]], IntArray]
# The number of objectives, the size of the population, and pymoo's operators, to one of pymoo's algorithms.
Algorithm = Callable[..., Any]


def nsga2(objectives: int, size: int, **operators: Any) -> Any:
    """Returns NSGA-II (Deb et al. 2002)."""
    return NSGA2(pop_size=size, **operators)


def unsga3(objectives: int, size: int, **operators: Any) -> Any:
    """Returns U-NSGA-III (Seada and Deb 2016) with at most as many reference directions as architectures."""
    return UNSGA3(reference_directions(objectives, size), pop_size=size, **operators)


def usual_algorithm(objectives: int) -> Algorithm:
    """Returns NSGA-II for two objectives or fewer, U-NSGA-III for more."""
    return nsga2 if objectives <= 2 else unsga3


def reference_directions(objectives: int, most: int) -> FloatArray:
    """Returns evenly spread weights of the objectives (Das and Dennis 1998), at most so many; shape (R, D).

    >>> len(reference_directions(3, 32)), len(reference_directions(4, 32))
    (28, 20)
    """
    partitions = 1
    while comb(partitions + objectives, objectives - 1) <= most:
        partitions += 1
    return np.asarray(get_reference_directions("das-dennis", objectives, n_partitions=partitions))


def evolve(problem: Problem, algorithm: Algorithm, *, evaluations: int, population: int, seed: int) -> None:
    """Evaluates the feasible offspring of each generation in one batch, then draws at random where offspring run out.

    Infeasible offspring are never evaluated: their violation alone ranks them (constrained domination). Every second of the
    offspring that only a record can save is not evaluated either: see `_worth_evaluating`.
    """
    rng = np.random.default_rng(seed)
    start_NC = spread(problem, population, rng)
    known: dict[bytes, FloatArray] = {}
    if len(start_NC) == population and problem.space.size > evaluations:
        breeding = algorithm(len(problem.objectives), population, **_operators(problem, start_NC))
        _breed(problem, breeding, known, evaluations, seed)
    else:  # all that is feasible is evaluated anyway
        _evaluate_new(problem, start_NC, known, evaluations)
    missing = evaluations - len(known)
    if missing:
        rest_NC = problem.feasible(partial(problem.space.sample_rows, rng), missing, rng, known=known)
        _evaluate_new(problem, rest_NC, known, missing)


def last_population(
    problem: Problem,
    algorithm: Algorithm,
    *,
    generations: int,
    population: int,
    seed: int,
    start_NC: IntArray | None = None,
) -> IntArray:
    """Returns the population after so many generations, for problems whose evaluation is free; shape (N, C).

    The first population is `start_NC`, by default rows spread over the costs.
    Every feasible offspring is evaluated. Breeding ends early where `PATIENCE` generations bring no new feasible
    architecture. The population may have infeasible rows; where few rows are feasible, it is these.
    """
    if start_NC is None:
        start_NC = spread(problem, population, np.random.default_rng(seed))
    known: dict[bytes, FloatArray] = {}
    if len(start_NC) < population:
        _evaluate_new(problem, start_NC, known, population)
        return start_NC
    breeding = algorithm(len(problem.objectives), population, **_operators(problem, start_NC))
    _breed(problem, breeding, known, ENDLESS, seed, generations=generations, worth=_all)
    return np.asarray(breeding.pop.get("X").astype(np.int64))


def _operators(problem: Problem, start_NC: IntArray) -> dict[str, Any]:
    """Returns what all of pymoo's algorithms have in common here."""
    return {
        "sampling": start_NC,
        "crossover": UX(),
        "mutation": _Redraw(problem.space),
        "repair": _Normalise(problem.space),
        "eliminate_duplicates": True,
    }


def _breed(
    problem: Problem,
    breeding: Any,
    known: dict[bytes, FloatArray],
    evaluations: int,
    seed: int,
    *,
    generations: int = ENDLESS,
    worth: Worth | None = None,
) -> None:
    """Breeds generations until so many architectures are known, or no new ones are feasible for a while.

    `worth` chooses the new feasible offspring to evaluate; by default, `_worth_evaluating`.
    """
    worth = worth or _worth_evaluating
    last_C = np.array([len(choice.options) - 1 for choice in problem.space.choices])
    bounds = PymooProblem(n_var=len(last_C), n_obj=len(problem.objectives), n_ieq_constr=1, xl=0, xu=last_C, vtype=int)
    breeding.setup(bounds, termination=("n_gen", generations), seed=seed, verbose=False)
    idle = 0
    while len(known) < evaluations and idle < PATIENCE and breeding.has_next():
        offspring = breeding.ask()
        if offspring is None or len(offspring) == 0:
            break
        rows_NC = problem.space.normalise(offspring.get("X").astype(np.int64))
        violation_N = problem.violation(rows_NC)
        feasible_NC = worth(problem, _unknown(rows_NC[violation_N <= 0], known), known)
        evaluated = _evaluate_new(problem, feasible_NC, known, evaluations - len(known))
        idle = 0 if evaluated else idle + 1
        static = StaticProblem(bounds, F=_told(problem, rows_NC, known), G=np.maximum(violation_N, 0.0)[:, None])
        Evaluator().eval(static, offspring)
        breeding.tell(infills=offspring)


def _unknown(rows_NC: IntArray, known: dict[bytes, FloatArray]) -> IntArray:
    """Returns the rows that are not known, each once; shape (at most N, C)."""
    unknown = {row_C.tobytes(): row_C for row_C in rows_NC if row_C.tobytes() not in known}
    return np.array(list(unknown.values()), dtype=np.int64).reshape(-1, rows_NC.shape[1])


def _all(problem: Problem, rows_NC: IntArray, known: dict[bytes, FloatArray]) -> IntArray:
    """Returns all rows."""
    return rows_NC


def _worth_evaluating(problem: Problem, rows_NC: IntArray, known: dict[bytes, FloatArray]) -> IntArray:
    """Returns the rows without every second one of those that only a record can save; shape (at most N, C).

    A record is a metric better than that of every evaluated architecture. An architecture needs one to be on the front if an
    evaluated architecture has the best value so far of every metric among the objectives, and none of its costs is higher.
    No such architecture can be proven dominated, because records are possible: a search that evaluated none of them
    would end with the first good architecture as its most accurate one. On NAS-Bench-201 that loses four points of
    hypervolume in 200 evaluations; to leave out every second one loses nothing measurable (docs/log.md). Rows that are left out
    count as dominated. Without a cost or without a metric among the objectives, all rows are returned.
    """
    is_cost_D = np.array([name in problem.costs for name in problem.objectives])
    if is_cost_D.all() or not is_cost_D.any() or not known or not len(rows_NC):
        return rows_NC
    points_KD = np.nan_to_num(np.array(list(known.values())), nan=np.inf, posinf=np.inf, neginf=-np.inf)
    metrics_KM, costs_KB = points_KD[:, ~is_cost_D], points_KD[:, is_cost_D]
    best_costs_RB = costs_KB[(metrics_KM <= metrics_KM.min(axis=0)).all(axis=1)]
    costs_NB = np.stack(list(problem.cheap(rows_NC).values()), axis=1)
    needs_record_N = (best_costs_RB[None] <= costs_NB[:, None]).all(axis=2).any(axis=1)
    return np.asarray(rows_NC[~(needs_record_N & (np.cumsum(needs_record_N) % 2 == 0))])


def _evaluate_new(problem: Problem, rows_NC: IntArray, known: dict[bytes, FloatArray], most: int) -> int:
    """Evaluates at most so many rows that are not known, adds their points (D,) to the known ones, returns how many."""
    new_NC = _unknown(rows_NC, known)[:most]
    if len(new_NC):
        points_ND = problem.points(new_NC, problem.evaluate(new_NC))
        known.update(zip((row_C.tobytes() for row_C in new_NC), points_ND, strict=True))
    return len(new_NC)


def _told(problem: Problem, rows_NC: IntArray, known: dict[bytes, FloatArray]) -> FloatArray:
    """Returns the objectives as pymoo is told them; shape (N, D)."""
    cheap, metric_N = problem.cheap(rows_NC), np.full(len(rows_NC), NOT_EVALUATED)
    unknown_ND = np.stack([cheap.get(name, metric_N) for name in problem.objectives], axis=1)
    points = [known.get(row_C.tobytes(), unknown_D) for row_C, unknown_D in zip(rows_NC, unknown_ND, strict=True)]
    return np.asarray(np.nan_to_num(np.array(points), nan=NOT_EVALUATED, posinf=NOT_EVALUATED))


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
