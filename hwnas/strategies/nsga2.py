"""NSGA-II (Deb et al. 2002) over option indices, by pymoo: the only module that imports it."""

from typing import Any, Final, final

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.ux import UX
from pymoo.problems.static import StaticProblem

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.strategies.problem import Problem

POPULATION: Final = 32
# Generations without one new feasible architecture after which chance looks for what is left.
PATIENCE: Final = 50


def nsga2(problem: Problem, *, evaluations: int, seed: int) -> None:
    """Infeasible offspring are never evaluated: their limits alone rank them (constrained domination)."""
    rng = np.random.default_rng(seed)
    space = problem.space
    sizes = np.array([len(choice.options) for choice in space.choices])
    bounds = PymooProblem(n_var=len(sizes), n_obj=2, n_ieq_constr=1, xl=0, xu=sizes - 1, vtype=int)
    algorithm = NSGA2(
        pop_size=min(POPULATION, max(4, evaluations // 2)),
        sampling=_start(problem, min(POPULATION, max(4, evaluations // 2)), rng),
        crossover=UX(),
        mutation=_Redraw(sizes),
        repair=_Normalise(space),
        eliminate_duplicates=True,
    )
    algorithm.setup(bounds, termination=("n_gen", 10**9), seed=seed, verbose=False)
    losses: dict[bytes, float] = {}
    idle = 0
    while len(losses) < evaluations and idle < PATIENCE:
        population = algorithm.ask()
        if population is None or len(population) == 0:
            break
        rows_NC = space.normalise(population.get("X").astype(np.int64))
        violation_N = problem.violation(rows_NC)
        before = len(losses)
        for row in rows_NC[violation_N <= 0]:
            if row.tobytes() not in losses and len(losses) < evaluations:
                losses[row.tobytes()] = float(problem.loss(row[None])[0])
        idle = 0 if len(losses) > before else idle + 1
        loss_N = np.array([losses.get(row.tobytes(), np.inf) for row in rows_NC])
        _tell(algorithm, bounds, population, loss_N, problem.latency_ms(rows_NC), violation_N)
    if len(losses) < evaluations:
        left = problem.feasible(lambda count: space.sample_rows(rng, count), evaluations, rng)
        for row in [row for row in left if row.tobytes() not in losses][: evaluations - len(losses)]:
            problem.loss(row[None])


def _tell(
    algorithm: Any,
    bounds: PymooProblem,
    population: Any,
    loss_N: FloatArray,
    latency_N: FloatArray,
    violation_N: FloatArray,
) -> None:
    worst = 1e9  # pymoo's sorting needs finite numbers; what was not evaluated loses against everything
    objectives = np.stack([np.where(np.isfinite(loss_N), loss_N, worst), latency_N], axis=1)
    static = StaticProblem(bounds, F=objectives, G=np.maximum(violation_N, 0.0)[:, None])
    Evaluator().eval(static, population)
    algorithm.tell(infills=population)


def _start(problem: Problem, count: int, rng: np.random.Generator) -> IntArray:
    """The fastest architecture, and feasible ones spread over the whole range of sizes."""
    rows = problem.feasible(lambda n: problem.space.spread_rows(rng, n), count - 1, rng)
    return np.concatenate([problem.fastest_C[None], rows])


@final
class _Normalise(Repair):  # type: ignore[misc]
    """Equal networks become equal rows, so that duplicates are seen as such."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def _do(self, problem: PymooProblem, X: IntArray, **_: Any) -> IntArray:
        return self._space.normalise(X.astype(np.int64))


@final
class _Redraw(Mutation):  # type: ignore[misc]
    """Each choice is drawn anew with probability 1 / choices."""

    def __init__(self, sizes: IntArray) -> None:
        super().__init__()
        self._sizes = sizes

    def _do(
        self, problem: PymooProblem, X: IntArray, *_: Any, random_state: np.random.Generator, **__: Any
    ) -> IntArray:
        drawn = random_state.integers(0, self._sizes, size=X.shape)
        return np.where(random_state.uniform(size=X.shape) < 1 / X.shape[1], drawn, X)
