"""The loop that every strategy shares: search, measure, replace what misses a budget, search again under a tighter bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final, final

import numpy as np

from hwnas.errors import BudgetError, HwnasError
from hwnas.pipeline.deploy import Deployment, candidates, measure
from hwnas.pipeline.evaluations import Evaluations
from hwnas.pipeline.preflight import fastest
from hwnas.pipeline.warm_start import GivenRows
from hwnas.runs.database import SEARCH, Evaluation
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.workshop import Workshop

# Searches for one budget, each under a tighter bound.
ATTEMPTS: Final = 8
# More than the tolerance of the integer program, so that a network that was over is not found again.
TIGHTER: Final = 1e-5
# How far the integer program may exceed a limit, relative to it.
TOLERANCE: Final = 1e-5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """Finds architectures that are within a budget when measured, on every device that is here."""

    deployment: Deployment
    strategy: Strategy
    workshop: Workshop
    evaluations: Evaluations
    given: GivenRows | None = None

    def settle(self, budget_ms: Mapping[str, float]) -> list[Evaluation]:
        """Returns the measured candidates of a budget, none of them over it; an empty budget limits nothing.

        Raises BudgetError where none stayed within the budget when measured.
        """
        self.evaluations.asked.clear()
        bounds_ms, tried = dict(budget_ms), list[dict[str, Any]]()
        for _ in range(ATTEMPTS):
            earlier = dict(self.evaluations.asked)
            self.evaluations.asked.clear()
            try:
                with self.deployment.run.stage("search"):
                    self.strategy.search(self._begun(self._problem(budget_ms, bounds_ms)), self.workshop)
            except BudgetError:
                if not tried:
                    raise
                break  # nothing is predicted to be within so tight a bound
            finally:
                new = list(self.evaluations.asked)
                self.evaluations.asked.update(earlier)
            self._require_kept(new, bounds_ms)
            within = self._measured(budget_ms)
            if within:
                return within
            if not budget_ms:
                limits = ", ".join(map(str, self.deployment.goal.limits)) or "the space's requirements"
                raise BudgetError(f"no network within {limits} was found; allow more, or evaluate more networks")
            tried.append({"bounds_ms": bounds_ms, **self._misses(budget_ms)})
            self._record(budget_ms, tried)
            bounds_ms = self._tightened(budget_ms, bounds_ms)
            self.deployment.reporter.note(
                f"no network stayed within {_words(budget_ms)} when measured: searching again for at most {_words(bounds_ms)}"
            )
        least = min((miss["judged_ms"] for attempt in tried for miss in attempt["missed"]), default=inf)
        earlier = self.deployment.run.read().get("earlier_measurements", 0)
        # So that a resumed run measures anew.
        self.deployment.database.forget_measurements(self.evaluations.asked, after=earlier)
        raise BudgetError(
            f"no network stayed within {_words(budget_ms)} when measured; the fastest took {least:.4g} ms "
            f"({self.deployment.goal.budget_on}); if the device is busy, --resume measures again when it is not; else allow more"
        )

    def _require_kept(self, arch_ids: Sequence[str], bounds_ms: Mapping[str, float]) -> None:
        """Raises HwnasError where the strategy evaluated an architecture that is over a limit."""
        archs = [self.evaluations.known[arch_id].arch for arch_id in arch_ids]
        rows_NC = self.deployment.space.encode(archs)
        for limit in self.deployment.goal.limits_under(bounds_ms):
            if len(archs) and limit.over(rows_NC).max() > TOLERANCE:
                raise HwnasError(
                    f"--strategy {self.strategy.name} cannot hold the limit {limit}; leave one of the two out"
                )

    def _problem(self, budget_ms: Mapping[str, float], bounds_ms: Mapping[str, float]) -> Problem:
        """Raises BudgetError where the integer program finds nothing within the bounds."""
        job, goal = self.deployment, self.deployment.goal
        limits = goal.limits_under(bounds_ms)
        _, first = next(iter(job.latencies.values()))
        return Problem(
            space=job.space,
            objectives=goal.objectives,
            metrics=goal.metrics,
            costs=goal.costs,
            evaluate=self.evaluations,
            probe=self.evaluations.probe,
            earlier_NC=self.evaluations.earlier_rows(),
            limits=limits,
            asked=goal.limits_under(budget_ms),
            start_C=job.space.encode([fastest(job.space, first, limits)])[0],
        )

    def _begun(self, problem: Problem) -> Problem:
        """Evaluates what the search was given, as far as it is within the limits. Returns the problem that knows of it."""
        if self.given is None:
            return problem
        given_NC = self.given.within(problem)
        if len(given_NC):
            self.evaluations(given_NC)
        return replace(problem, given_NC=given_NC, earlier_NC=self.evaluations.earlier_rows())

    def _measured(self, budget_ms: Mapping[str, float]) -> list[Evaluation]:
        """Measures what is on the predicted front, and what takes the place of what misses the budget."""
        job = self.deployment
        asked = self._earlier(budget_ms) | {
            arch_id: self.evaluations.known[arch_id] for arch_id in self.evaluations.asked
        }
        while True:
            front = candidates(job, asked, budget_ms)
            tests, measured = job.database.tests(SEARCH), job.database.measurements()
            if all(each.arch.id in tests and job.is_measured(each.arch, measured) for each in front):
                return front
            with job.run.stage("measure"):
                measure(job, front)

    def _earlier(self, budget_ms: Mapping[str, float]) -> dict[str, Evaluation]:
        """Returns the evaluations of earlier requests that meet the limits and are predicted to meet the budget."""
        job = self.deployment
        probed = set(job.run.read().get("probed", ()))
        earlier = {arch_id: one for arch_id, one in self.evaluations.earlier.items() if arch_id not in probed}
        rows_NC = job.space.encode([evaluation.arch for evaluation in earlier.values()])
        within_N = np.ones(len(earlier), dtype=bool)
        for limit in job.goal.limits_under(budget_ms):
            within_N &= limit.over(rows_NC) <= 0
        return {arch_id: one for (arch_id, one), within in zip(earlier.items(), within_N, strict=True) if within}

    def _misses(self, budget_ms: Mapping[str, float]) -> dict[str, Any]:
        """The architectures that were measured and are over a budget, for run.json."""
        job, measured = self.deployment, self.deployment.database.measurements()
        archs = [self.evaluations.known[arch_id].arch for arch_id in self.evaluations.asked]
        missed = [
            {"arch_id": arch.id, "latency": name, "judged_ms": judged_ms, "upper_ms": self._upper_ms(name, arch.id)}
            for name, bound_ms in budget_ms.items()
            for arch in archs
            if (arch.id, job.latencies[name][0].name) in measured
            and (judged_ms := job.judged_ms(name, arch, measured)) > bound_ms
        ]
        return {"missed": missed}

    def _upper_ms(self, name: str, arch_id: str) -> float:
        _, cost = self.deployment.latencies[name]
        arch = self.evaluations.known[arch_id].arch
        return float(cost.upper(self.deployment.space.encode([arch]))[0])

    def _tightened(self, budget_ms: Mapping[str, float], bounds_ms: Mapping[str, float]) -> dict[str, float]:
        """The bounds that would have been needed: a budget, over how far the worst network was over its prediction."""
        missed = self._misses(budget_ms)["missed"]
        tighter = dict(bounds_ms)
        for name in budget_ms:
            ratios = [miss["judged_ms"] / miss["upper_ms"] for miss in missed if miss["latency"] == name]
            if ratios:
                tighter[name] = min(bounds_ms[name], (1 - TIGHTER) * budget_ms[name] / max(ratios))
        return tighter

    def _record(self, budget_ms: Mapping[str, float], tried: list[dict[str, Any]]) -> None:
        """Keeps every tightened search in run.json."""
        facts = self.deployment.run.read()
        facts.setdefault("tightened", {})[_words(budget_ms)] = tried
        self.deployment.run.write(facts)


def _words(bounds_ms: Mapping[str, float]) -> str:
    """The bounds in words; of several devices with their names."""
    if len(bounds_ms) == 1:
        return f"{next(iter(bounds_ms.values())):.4g} ms"
    return " and ".join(f"{name} {bound_ms:.4g} ms" for name, bound_ms in bounds_ms.items())
