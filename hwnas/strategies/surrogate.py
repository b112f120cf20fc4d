"""The strategy `surrogate`: a model of the metrics, loss factors and a Gaussian process, chooses what to evaluate.

Shapes: N known architectures, M candidates, C choices, D objectives.
"""

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Annotated, ClassVar, Final, final

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as options

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.predict.process import Process, fit_process, known_process
from hwnas.strategies.candidates import Candidates
from hwnas.strategies.evaluated import Evaluated, finite, rows_of
from hwnas.strategies.improvement import Beliefs, expected_improvement
from hwnas.strategies.loss_factors import LossFactors
from hwnas.strategies.loss_features import LossFeatures
from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.pareto import hypervolume, non_dominated
from hwnas.strategies.problem import Problem
from hwnas.strategies.start import spread
from hwnas.strategies.threads import one_blas_thread
from hwnas.strategies.workshop import Workshop

# Architectures spread over the costs before the first model; half of them are of the coarse grid.
START: Final = 6
# One architecture per fit up to so many known ones; later a batch in proportion.
SINGLE: Final = 20
# Scales are fitted anew when so many times as many architectures are known.
GROWTH: Final = 1.1
# How far a draw's best architecture may be from the exact one, as a share of a sum of scaled losses, of 1 to 2: its neighbours
# are compared, too, and half of the time is saved.
GAP: Final = 0.1
# Networks that a model is fitted to.
MOST: Final = 1000
# The reference point is farther than the highest cost by this share of the range, or the front's slow end would add nothing.
BEYOND: Final = 0.1


@final
@options(frozen=True, kw_only=True, config=STRICT)
class Surrogate:
    """Evaluates the architectures that a model expects to add most to the front (expected hypervolume improvement).

    The model is that of latencies, a sum of factors, corrected by a Gaussian process over the network's structure. The
    first architectures are spread over the costs that are objectives.
    """

    name: ClassVar[str] = "surrogate"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 100
    until_converged: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Ends the search early where the next evaluation is expected to add less than this share of the front's "
            "hypervolume, such as 0.001; 0 uses all evaluations.",
        ),
    ] = 0.0

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer.

        Architectures that the run has evaluated before, under other limits, teach the models and are not evaluated again.
        """
        rng, evaluated = np.random.default_rng(workshop.seed), Evaluated(problem, self.evaluations)
        search = _Search(evaluated, Candidates(problem, rng), _earlier(problem))
        rows_NC = spread(problem, START, rng, coarse=START // 2)
        rows_NC = rows_NC[[row_C.tobytes() not in search.earlier for row_C in rows_NC]]
        if not len(rows_NC) and search.earlier:
            rows_NC = search.chosen(1)
        while len(rows_NC):
            evaluated.add(rows_NC)
            rows_NC = search.chosen(max(1, len(evaluated.points) // SINGLE)) if evaluated.room else rows_NC[:0]
            if self.until_converged and len(rows_NC) and search.promise < self.until_converged:
                workshop.reporter.note(
                    f"converged after {len(evaluated.points)} evaluations: the next is expected to add {search.promise:.2g} of "
                    f"the front's hypervolume (--until-converged {self.until_converged}; 0 uses all evaluations)"
                )
                break


def _earlier(problem: Problem) -> dict[bytes, FloatArray]:
    """Returns the points (D,) of rows that the run has evaluated before; none where to ask for them again is not free.

    Feasible ones are asked for, so that they may be on the front; the others only teach the models.
    """
    rows_NC = problem.earlier_NC
    if problem.probe is None or rows_NC is None or not len(rows_NC):
        return {}
    within_N = problem.violation(rows_NC) <= 0
    known: dict[bytes, FloatArray] = {}
    for part_NC, ask in ((rows_NC[within_N], problem.evaluate), (rows_NC[~within_N], problem.probe)):
        points_ND = problem.points(part_NC, ask(part_NC)) if len(part_NC) else part_NC
        known.update(zip((row_C.tobytes() for row_C in part_NC), points_ND, strict=True))
    # Runs of earlier versions lack some metrics.
    return {row: point_D for row, point_D in known.items() if np.isfinite(point_D).all()}


@final
@dataclass(eq=False)
class _Search:
    """The evaluated architectures, the candidates, and a model of each objective that is a metric.

    `promise` is the gain that the last choice was expected to make, as a share of the front's hypervolume.
    """

    evaluated: Evaluated
    candidates: Candidates
    earlier: dict[bytes, FloatArray]
    models: dict[str, "_Model"] = field(default_factory=dict)
    promise: float = 1.0

    @property
    def problem(self) -> Problem:
        return self.evaluated.problem

    @one_blas_thread
    def chosen(self, count: int) -> IntArray:
        """Returns at most `count` architectures that together are expected to improve the front most; shape (N, C).

        After each one the front is taken to have the architecture's expected point.
        """
        known = {**self.earlier, **self.evaluated.points}
        rows_NC, points_ND = rows_of(list(known)), finite(np.array(list(known.values())))
        within_N = self.problem.violation(rows_NC) <= 0
        scale = _Scale.of(points_ND, self._sample_costs, self._is_cost)
        scaled_ND = scale.apply(points_ND)
        for column, name in enumerate(self.problem.objectives):
            if not self._is_cost[column]:
                self._model(name).learn(rows_NC, scaled_ND[:, column])
        front_N = np.flatnonzero(within_N)[non_dominated(points_ND[within_N])]
        front_ND, starts_NC = scaled_ND[front_N], rows_NC[front_N]
        if self.candidates.listed is None:
            starts_NC = np.concatenate([starts_NC, self._optima()])

        def gain(rows_NC: IntArray) -> FloatArray:
            return expected_improvement(front_ND, scale.reference_D, self._beliefs(rows_NC, scale))

        found_NC = self.candidates.unknown(known, starts_NC, gain)
        if not len(found_NC):
            space, rng = self.problem.space, self.candidates.rng
            found_NC = self.problem.feasible(partial(space.sample_rows, rng), count, rng, known=known)
        beliefs = self._beliefs(found_NC, scale) if len(found_NC) else None
        volume, chosen = hypervolume(front_ND, scale.reference_D), list[int]()
        while beliefs is not None and len(chosen) < min(count, len(found_NC)):
            gain_M = expected_improvement(front_ND, scale.reference_D, beliefs)
            gain_M[chosen] = -np.inf
            chosen.append(int(gain_M.argmax()))
            if len(chosen) == 1 and volume > 0:
                self.promise = float(gain_M[chosen[0]]) / volume
            front_ND = np.vstack([front_ND, beliefs.mean_MD[chosen[-1]]])
        return found_NC[chosen]

    @cached_property
    def features(self) -> LossFeatures:
        return LossFeatures(self.problem.space, self.candidates.sample)

    @cached_property
    def _sample_costs(self) -> FloatArray:
        return self._costs(self.candidates.sample)

    @cached_property
    def _is_cost(self) -> BoolArray:
        return np.array([name in self.problem.costs for name in self.problem.objectives])

    def _model(self, name: str) -> "_Model":
        if name not in self.models:
            self.models[name] = _Model(self.features)
        return self.models[name]

    def _costs(self, rows_NC: IntArray) -> FloatArray:
        """Returns the costs among the objectives, 0 for others; shape (N, D)."""
        cheap, zero_N = self.problem.cheap(rows_NC), np.zeros(len(rows_NC))
        return np.stack([cheap.get(name, zero_N) for name in self.problem.objectives], axis=1)

    def _beliefs(self, rows_NC: IntArray, scale: "_Scale") -> Beliefs:
        mean_MD, deviation_MD = scale.apply_costs(self._costs(rows_NC)), np.zeros((len(rows_NC), len(self._is_cost)))
        for column, name in enumerate(self.problem.objectives):
            if name in self.models:
                mean_MD[:, column], deviation_MD[:, column] = self.models[name].predict(rows_NC)
        return Beliefs(mean_MD, deviation_MD)

    def _optima(self) -> IntArray:
        """Returns the best architecture of a draw of each model's factors, up to `GAP`, under a random bound of every cost."""
        found = []
        for model in self.models.values():
            assert model.factors is not None  # `chosen` has taught all models
            drawn = model.factors.drawn(self.candidates.rng)
            row_C = self.candidates.best(drawn, self.candidates.bounds(), gap=GAP)
            found += [] if row_C is None else [row_C]
        return np.array(found, dtype=np.int64).reshape(-1, len(self.problem.space.choices))


@final
@dataclass(eq=False)
class _Model:
    """A metric as a sum of factors, and a Gaussian process that has the sum as its trend."""

    features: LossFeatures
    factors: LossFactors | None = None
    process: Process | None = None
    centre: float = 0.0
    fitted: int = 0

    def learn(self, rows_NC: IntArray, target_N: FloatArray) -> None:
        """Fits the factors, and the process with the factors' leave-one-out predictions as its trend.

        Of more than `MOST` networks, as many are drawn: both fits are cubic in their number.
        """
        if len(rows_NC) > MOST:
            kept_N = np.sort(np.random.default_rng(0).permutation(len(rows_NC))[:MOST])
            rows_NC, target_N = rows_NC[kept_N], target_N[kept_N]
        self.factors = LossFactors.fit(self.features.space, rows_NC, target_N)
        self.centre = float(target_N.mean())
        trend_N = self.factors.held_out(target_N) - self.centre
        inputs = self.features.inputs(rows_NC, trend_N)
        if self.process is None or len(rows_NC) >= GROWTH * self.fitted:
            start_P = None if self.process is None else self.process.logs_P
            self.process, self.fitted = fit_process(inputs, target_N - self.centre, start_P), len(rows_NC)
        else:
            self.process = known_process(inputs, target_N - self.centre, self.process.logs_P)

    def predict(self, rows_NC: IntArray) -> tuple[FloatArray, FloatArray]:
        """Returns the mean and standard deviation of the targets of other architectures; shape (M,) each."""
        assert self.factors is not None and self.process is not None  # `learn` came first
        inputs = self.features.inputs(rows_NC, self.factors.predict(rows_NC) - self.centre)
        mean_M, deviation_M = self.process.predict(inputs)
        return mean_M + self.centre, deviation_M


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """Objectives in comparable units: costs from 0 to 1 over a sample; metrics as log(1 + (value - least) / typical).

    The logarithm keeps apart what is near the best, and lets the worst count little. `typical_D` is the median's distance
    from the least value.
    """

    least_D: FloatArray
    typical_D: FloatArray
    is_cost_D: BoolArray
    reference_D: FloatArray

    @classmethod
    def of(cls, points_ND: FloatArray, costs_RD: FloatArray, is_cost_D: BoolArray) -> "_Scale":
        least_D = np.where(is_cost_D, costs_RD.min(axis=0), points_ND.min(axis=0))
        typical_D = np.where(is_cost_D, np.ptp(costs_RD, axis=0), np.median(points_ND, axis=0) - least_D)
        typical_D = np.where(typical_D > 0, typical_D, np.maximum(np.ptp(points_ND, axis=0), 1e-12))
        one = cls(least_D, typical_D, is_cost_D, np.ones(len(least_D)))
        worst_D = np.where(is_cost_D, 1.0 + BEYOND, one.apply(points_ND).max(axis=0))
        return cls(least_D, typical_D, is_cost_D, worst_D + 1e-9)

    def apply(self, points_ND: FloatArray) -> FloatArray:
        scaled_ND = self.apply_costs(points_ND)
        return np.where(self.is_cost_D, scaled_ND, np.log1p(np.maximum(scaled_ND, 0.0)))

    def apply_costs(self, points_ND: FloatArray) -> FloatArray:
        return np.asarray((points_ND - self.least_D) / self.typical_D)
