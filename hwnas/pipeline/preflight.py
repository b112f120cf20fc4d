"""Preflight: the budgets of a search in milliseconds, and the proof that all limits can be met, before any long work."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, final

from hwnas.core.arch import Arch
from hwnas.core.factors import Factor
from hwnas.core.optimum import minimise
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost, Limit
from hwnas.costs.limits import possible
from hwnas.costs.predicted import PredictedCost
from hwnas.errors import BudgetError
from hwnas.pipeline.goal import Budget, GoalRequest
from hwnas.pipeline.precisions import saved_ms, slower_words
from hwnas.pipeline.sources import Need, Predictors
from hwnas.pipeline.target import Target
from hwnas.predict.measurements import LATENCY
from hwnas.predict.related import estimated_words
from hwnas.tasks.task import Metric

# The name of the first device's latency; further devices' names follow an @.
AT = "@"


def latency_names(targets: Sequence[Target]) -> tuple[str, ...]:
    """Returns the names of the latencies on every device, as objectives and limits call them."""
    return (LATENCY, *(f"{LATENCY}{AT}{target.name}" for target in targets[1:]))


def needs_of(names: Sequence[str], targets: Sequence[Target], predicted: Sequence[str]) -> tuple[Need, ...]:
    """Returns the predicted costs among `names`, which the first device has, and the latency on every device."""
    latencies = [
        Need(name=name, kind=LATENCY, target=target)
        for name, target in zip(latency_names(targets), targets, strict=True)
    ]
    others = dict.fromkeys(name for name in names if name in predicted and name != LATENCY)
    return (*latencies, *(Need(name=name, kind=name, target=targets[0]) for name in others))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The objectives, limits and budgets of a search, resolved and proven possible.

    `limits` hold always; each of `budgets_ms` is one more limit per device (milliseconds of the budget's statistic, by the
    name of the latency), and a search of its own. Without budgets there is one search.
    """

    objectives: tuple[str, ...]
    metrics: tuple[Metric, ...]
    costs: Mapping[str, Cost]
    limits: tuple[Limit, ...]
    budgets_ms: tuple[Mapping[str, float], ...]
    budget_on: str

    @property
    def first_metric(self) -> Metric:
        """The first metric among the objectives; where none is an objective, the task's first."""
        return next(
            (metric for name in self.objectives for metric in self.metrics if metric.name == name), self.metrics[0]
        )

    def limits_under(self, budget_ms: Mapping[str, float]) -> tuple[Limit, ...]:
        """Returns the limits of a search under a budget."""
        return (*self.limits, *(Limit(self.costs[name], bound_ms) for name, bound_ms in budget_ms.items()))

    def describe(self) -> dict[str, Any]:
        """Returns what run.json stores of a goal; fit for JSON."""
        return {
            "objectives": list(self.objectives),
            "metrics": [asdict(metric) for metric in self.metrics],
            "limits": [str(limit) for limit in self.limits],
            "budget_on": self.budget_on,
            "budgets_ms": [dict(budget_ms) for budget_ms in self.budgets_ms],
        }


def fastest(space: SearchSpace, cost: PredictedCost, limits: Sequence[Limit]) -> Arch:
    """Returns the architecture of the least latency within limits, as far as the integer program can hold them.

    Raises BudgetError where there is none.
    """
    programs = [program for limit in limits if (program := limit.program()) is not None]
    return minimise(space.choices, cost.factors, programs)


def fastest_ms(space: SearchSpace, cost: PredictedCost, limits: Sequence[Limit]) -> float:
    """Returns the upper end of the interval of the fastest architecture's latency."""
    return float(cost.upper(space.encode([fastest(space, cost, limits)]))[0])


def slowest_ms(space: SearchSpace, cost: PredictedCost) -> float:
    """Returns the upper end of the interval of the slowest architecture's latency."""
    negated = [Factor(factor.name, factor.scope, -factor.values) for factor in cost.factors]
    return float(cost.upper(space.encode([minimise(space.choices, negated)]))[0])


def require_met(
    space: SearchSpace,
    latencies: Mapping[str, PredictedCost],
    budget_ms: Mapping[str, float],
    limits: Sequence[Limit],
    statistic: str,
) -> None:
    """Raises BudgetError where no architecture within the limits is predicted to meet a budget on every device."""
    for name, bound_ms in budget_ms.items():
        least_ms = fastest_ms(space, latencies[name], limits)
        if bound_ms < least_ms:
            device = f" on {name.partition(AT)[2]}" if AT in name else ""
            raise BudgetError(
                f"the budget of {bound_ms:.4g} ms cannot be met{device}: the fastest architecture of {space.name} takes up to "
                f"{least_ms:.4g} ms ({statistic}, upper end of the interval); allow that much, or use a smaller space"
            )
    if len(budget_ms) > 1:
        possible(space, [*limits, *(Limit(latencies[name], bound_ms) for name, bound_ms in budget_ms.items())])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """Resolves the goal of a request: once, then from what run.json knows."""

    space: SearchSpace
    request: GoalRequest
    targets: Sequence[Target]
    predictors: Predictors
    latencies: Mapping[str, PredictedCost]
    costs: Mapping[str, Cost]
    metrics: tuple[Metric, ...]
    reporter: Reporter

    def goal(self, known: Mapping[str, Any]) -> Goal:
        """Returns the goal; budgets that `known` (a run's facts) has are not resolved again.

        Raises BudgetError with the least that can be met, where a budget or a limit cannot.
        """
        limits = tuple(Limit(self.costs[name], bound) for name, bound in self.request.bounds())
        possible(self.space, limits)
        budgets_ms = known.get("goal", {}).get("budgets_ms") or self._resolved()
        names = tuple(self.latencies)
        budgets_ms = sorted(budgets_ms, key=lambda budget_ms: [budget_ms.get(name, inf) for name in names])
        for budget_ms in budgets_ms:
            require_met(self.space, self.latencies, budget_ms, limits, self.request.budget_on)
        goal = Goal(
            objectives=self.request.objectives_of(self.metrics[0].name, names),
            metrics=self.metrics,
            costs=self.costs,
            limits=limits,
            budgets_ms=tuple(budgets_ms),
            budget_on=self.request.budget_on,
        )
        self._note(goal)
        return goal

    def _resolved(self) -> list[dict[str, float]]:
        """The budgets in milliseconds, by the name of the latency."""
        names = dict(zip((target.name for target in self.targets), self.latencies, strict=True))
        largest_ms: dict[str, float] = {}

        def resolved_ms(device: str, budget: Budget) -> float:
            if budget.share is not None and device not in largest_ms:
                cost = self.latencies[names[device]]
                need = next(need for need in self.predictors.sources.needs if need.name == cost.name)
                largest_ms[device] = self.predictors.largest_ms(need, cost.predictor, self.request.budget_on)
            return budget.resolve(largest_ms.get(device, 0.0))

        return [
            {names[device]: resolved_ms(device, budget) for device, budget in by_device.items()}
            for by_device in self.request.budgets_of(tuple(names))
        ]

    def _target(self, name: str) -> Target:
        return dict(zip(self.latencies, self.targets, strict=True))[name]

    def _note(self, goal: Goal) -> None:
        """One line for each device: what latencies the space can have there, and that the budget can be met."""
        if self.request.latency_budget is not None and not goal.budgets_ms:
            self.reporter.note(
                f"--latency-budget {self.request.latency_budget} limits nothing: a share is of the largest network"
            )
        for name, cost in self.latencies.items():
            report = cost.predictor.report
            error = report.get("held_out", {}).get("mape", float("nan"))
            of = f" of {report['source']}, none of this space" if report.get("cold") else ""
            if report.get("estimated_operators"):
                of = of or " of the operators that were measured"
                self.reporter.note(f"{estimated_words(cost.predictor)} ({self._target(name).name})")
            bounds_ms = [budget_ms[name] for budget_ms in goal.budgets_ms if name in budget_ms]
            budget = "; no budget"
            if bounds_ms:
                budget = f"; the budget of {' and of '.join(f'{bound:.4g} ms' for bound in bounds_ms)} can be met"
            self.reporter.note(
                f"latency of {self.space.name} {self._target(name).place} ({goal.budget_on}): "
                f"{fastest_ms(self.space, cost, goal.limits):.4g} to {slowest_ms(self.space, cost):.4g} ms, predicted within "
                f"{100 * error:.1f} % on held-out networks{of}{budget}"
            )
            least_ms = min(bounds_ms, default=inf)
            if bounds_ms and least_ms >= slowest_ms(self.space, cost):
                self.reporter.note(
                    f"the budget of {least_ms:.4g} ms limits nothing: no network of {self.space.name} takes as long"
                )
            for precision, saved in saved_ms(self.space, cost).items():
                if words := slower_words(precision, saved, self._target(name).place):
                    self.reporter.note(words)
