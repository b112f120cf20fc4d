"""The best of all networks that a run has evaluated, within limits that are asked for after the search."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from hwnas.core.requests import checked
from hwnas.errors import BudgetError, HwnasError, UnknownNameError
from hwnas.pipeline.goal import GoalRequest
from hwnas.report.described import described
from hwnas.runs.evaluated import EvaluatedNetworks
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, named, options_of
from hwnas.runs.objectives import Objective, known_names
from hwnas.strategies.pareto import non_dominated

BEST: Final = "best"
KNEE: Final = "knee"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A network that was chosen: `name` says as what, `limits` within which limits, in words.

    `on_front` is False for a network that has neither a model nor final training; `front_id` is then the id of the best
    network of the front within the limits, None where the front has none.
    """

    run: Path
    name: str
    limits: tuple[str, ...]
    row: FrontRow
    options: Mapping[str, Any]
    on_front: bool
    front_id: str | None

    @property
    def measured(self) -> bool:
        """True where the latency was measured on a device."""
        return any(latency.measured_ms is not None for latency in self.row.latencies)

    @property
    def export(self) -> str:
        """The command that writes the network's ONNX file."""
        return shlex.join(["hwnas", "export", str(self.run), "--arch", self.row.arch_id])

    def describe(self) -> dict[str, Any]:
        """Returns all that is known of the network; fit for JSON."""
        chosen = {"name": self.name, "limits": list(self.limits), "on_front": self.on_front, "measured": self.measured}
        return {
            **chosen,
            "front_id": self.front_id,
            "options": dict(self.options),
            "export": self.export,
            **self.row.cells,
        }

    def lines(self, networks: EvaluatedNetworks) -> list[str]:
        """Returns what people read, line by line."""
        within = f" within {', '.join(self.limits)}" if self.limits else ""
        lines = [f"{self.name}{within}: {self.row.arch_id}"]
        if not self.on_front:
            front = (
                "none of the front is within"
                if self.front_id is None
                else f"the {self.name} of the front is {self.front_id}"
            )
            lines.append(f"not on the front, so it has the weights of the search and no model yet; {front}")
        if not self.measured:
            lines.append("not measured: the limits are held against the upper ends of predicted intervals")
        known = described(self.row, networks.goal.metrics)
        lines += [line for line in known if not line.startswith(("within budget", "not timed"))]
        lines.append(f"options: {', '.join(f'{name} {option}' for name, option in self.options.items())}")
        return [lines[0], *(f"  {line}" for line in lines[1:]), f"  {self.export}"]


def best_of_run(path: Path, options: Mapping[str, Any]) -> tuple[list[Found], EvaluatedNetworks]:
    """Returns the best network within each budget of `options`, or the knee where these have none.

    `options` are those of a goal that people write: budgets, limits, objectives. The others are the run's own. Raises
    BudgetError, with the least there is, where no evaluated network is within the limits; HwnasError for a share as a budget.
    """
    networks = EvaluatedNetworks.of(RunFolder(path))
    goal: GoalRequest = checked(GoalRequest, {**networks.run.read()["request"]["goal"], **options})
    first, *others = (one.name for one in networks.goal.objectives)
    objectives = tuple(map(networks.goal.objective, goal.objectives_of(first, others)))
    _require_known(networks, [one.name for one in objectives])
    choosing = _Choosing(networks=networks, goal=goal, objectives=objectives)
    if "latency_budget" not in options:
        return [choosing.found(KNEE, None, is_free=not options)], networks
    return [choosing.found(BEST, budget_ms) for budget_ms in choosing.budgets_ms()], networks


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Choosing:
    """The choice among the evaluated networks of a run, by a goal and its objectives."""

    networks: EvaluatedNetworks
    goal: GoalRequest
    objectives: tuple[Objective, ...]

    def budgets_ms(self) -> list[dict[str, float]]:
        """Returns the budgets that were asked for, each by the name of the latency. Raises HwnasError for a share."""
        names = self._names_by_device()
        asked = self.goal.budgets_of(tuple(names)) or [{}]
        if any(budget.milliseconds is None for by_device in asked for budget in by_device.values()):
            raise HwnasError(
                f"--latency-budget {self.goal.latency_budget}: a share would need the largest network's latency; give "
                "milliseconds, as 0.3ms"
            )
        return [{names[device]: budget.resolve(0.0) for device, budget in by_device.items()} for by_device in asked]

    def found(self, name: str, budget_ms: Mapping[str, float] | None, *, is_free: bool = False) -> Found:
        """Returns the best network, or the knee, within a budget and the limits; of the front alone where the choice is free.

        Networks are compared by the metrics of the search, which all of them have. Where the front has the best one, the
        networks of the front are compared with one another by their final metrics.
        """
        front = self.networks.front
        within = list(front.values()) if is_free else self._within(budget_ms)
        if not within:
            raise BudgetError(self._nothing(budget_ms))
        on_front = [row for row in within if row.arch_id in front]
        row = self._named(name, on_front) if on_front else None
        best = self._named(name, [self._as_searched(row) for row in within])
        is_on_front = is_free or best.arch_id in front
        chosen = row if row is not None and is_on_front else self.networks.rows[best.arch_id]
        return Found(
            run=self.networks.run.path,
            name=name,
            limits=() if is_free else tuple(self._words(budget_ms)),
            row=chosen,
            options=options_of(chosen, self.networks.run.path),
            on_front=is_on_front,
            front_id=None if row is None else row.arch_id,
        )

    def _named(self, name: str, rows: Sequence[FrontRow]) -> FrontRow:
        points = np.array([[objective.minimised(row) for objective in self.objectives] for row in rows])
        kept = [row for row, stays in zip(rows, non_dominated(points), strict=True) if stays]
        return named(kept, self.objectives)[name]

    def _as_searched(self, row: FrontRow) -> FrontRow:
        return replace(row, metrics=self.networks.as_searched(row.arch_id))

    def _within(self, budget_ms: Mapping[str, float] | None) -> list[FrontRow]:
        """Returns the networks within the limits, and a budget; without one, within any of the run's own."""
        rows = list(self.networks.rows.values())
        for cost, bound in self.goal.bounds():
            _require_known(self.networks, [cost])
            rows = [row for row in rows if self._judged(row, cost) <= bound]
        budgets = [budget_ms] if budget_ms is not None else self._own_budgets_ms() or [{}]
        return [row for row in rows if any(self._meets(row, budget) for budget in budgets)]

    def _meets(self, row: FrontRow, budget_ms: Mapping[str, float]) -> bool:
        return all(self._judged(row, name) <= bound_ms for name, bound_ms in budget_ms.items())

    def _judged(self, row: FrontRow, cost: str) -> float:
        return self.networks.judged(row, cost, self.goal.budget_on)

    def _own_budgets_ms(self) -> list[Mapping[str, float]]:
        facts: Mapping[str, Any] = self.networks.run.read("goal")["goal"]
        return list(facts.get("budgets_ms", ()))

    def _names_by_device(self) -> dict[str, str]:
        row = next(iter(self.networks.front.values()))
        return dict(zip((latency.device for latency in row.latencies), self.networks.latency_names, strict=True))

    def _words(self, budget_ms: Mapping[str, float] | None) -> list[str]:
        limits = [f"{cost} <= {bound:.6g}" for cost, bound in self.goal.bounds()]
        budgets = (budget_ms or {}).items()
        return [*(f"{name} <= {bound_ms:.6g} ms ({self.goal.budget_on})" for name, bound_ms in budgets), *limits]

    def _nothing(self, budget_ms: Mapping[str, float] | None) -> str:
        """Returns the message where no evaluated network is within the limits, with the least of each cost."""
        rows = self.networks.rows.values()
        costs = [*(budget_ms or {}), *(cost for cost, _ in self.goal.bounds())]
        least = [f"{cost} {min(self._judged(row, cost) for row in rows):.4g}" for cost in dict.fromkeys(costs)]
        words = ", ".join(self._words(budget_ms)) or "the run's budgets"
        told = f"; the least of each: {', '.join(least)}" if least else ""
        return (
            f"{self.networks.run.path}: none of {len(rows)} evaluated networks is within {words}{told}; `hwnas search "
            f"--resume --out {self.networks.run.path}` with these limits looks for one"
        )


def _require_known(networks: EvaluatedNetworks, names: Sequence[str]) -> None:
    """Raises UnknownNameError for a metric or cost that some of the run's networks do not have."""
    metrics = [metric for metric in networks.goal.metrics if networks.all_have(metric.name)]
    known = known_names(next(iter(networks.front.values())), metrics)
    for name in names:
        if name not in known:
            raise UnknownNameError(f"metric or cost of {networks.run.path}", name, known)
