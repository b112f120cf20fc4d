"""Evaluations of one run: what its database knows is answered from there, the rest is evaluated and kept.

A strategy that is run again with the same seed asks for the same architectures in the same order, so a resumed search is a
replay. Shapes: N architectures, C choices.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.reporter import Reporter, record
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost
from hwnas.errors import TrainingError
from hwnas.evaluate.evaluator import Evaluator
from hwnas.runs.database import SEARCH, Evaluation, RunDatabase
from hwnas.tasks.task import Metric
from hwnas.train.weights import save_weights


def expected_costs(
    space: SearchSpace, costs: Mapping[str, Cost], archs: Mapping[str, Arch]
) -> dict[str, dict[str, float]]:
    """Returns the costs of architectures as expected, by id and name, for `RunDatabase.add_costs`."""
    if not archs:
        return {}
    rows_NC = space.encode(archs.values())
    columns = {name: cost.values(rows_NC) for name, cost in costs.items()}
    return {
        arch_id: {name: float(values_N[number]) for name, values_N in columns.items()}
        for number, arch_id in enumerate(archs)
    }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """Answers a strategy's requests. `shared` makes the evaluator of strategies that train no weights of their own.

    `asked` collects the ids of the architectures that the present search has asked for. `earlier` are the evaluations of
    earlier requests of the run: a front may have them, too. `seen` collects the architectures whose metrics a strategy got,
    in any search of this process, `candidates` the ids of those among them that a front may have: probed ones are none.
    """

    space: SearchSpace
    database: RunDatabase
    shared: Callable[[], Evaluator]
    metrics: tuple[Metric, ...]
    reporter: Reporter
    known: dict[str, Evaluation]
    ticks: Iterator[int]
    costs: Mapping[str, Cost]
    weights: Callable[[str], Path]
    earlier: Mapping[str, Evaluation] = field(default_factory=dict)
    asked: dict[str, None] = field(default_factory=dict)
    seen: dict[str, Arch] = field(default_factory=dict)
    candidates: set[str] = field(default_factory=set)

    def __call__(self, rows_NC: IntArray, evaluator: Evaluator | None = None) -> Mapping[str, FloatArray]:
        """Returns every metric of each architecture by name, (N,). Raises TrainingError for what is not a number."""
        arch_ids = [self.space.decode(row).id for row in rows_NC]
        for _ in filter(self.seen.__contains__, arch_ids):
            next(self.ticks, None)
        metrics = self.probe(rows_NC, evaluator)
        self.asked.update(dict.fromkeys(arch_ids))
        self.candidates.update(arch_ids)
        return metrics

    def earlier_rows(self) -> IntArray:
        """Returns what this run has evaluated before, in the same order however often it was resumed; shape (N, C)."""
        known = {arch_id: evaluation.arch for arch_id, evaluation in self.earlier.items()}
        return self.space.encode((known | self.seen).values())

    def probed(self, before: Iterable[str]) -> list[str]:
        """Returns the ids of the architectures that no search asked for but to learn from them; `before` are earlier ones."""
        return sorted({*before, *(self.seen.keys() - self.earlier.keys())} - self.candidates)

    def probe(self, rows_NC: IntArray, evaluator: Evaluator | None = None) -> Mapping[str, FloatArray]:
        """Returns the same metrics of architectures that are not candidates for the front."""
        archs = [self.space.decode(row) for row in rows_NC]
        new = {arch.id: arch for arch in archs if arch.id not in self.known}
        if new:
            self._evaluate(list(new.values()), evaluator)
        for arch in archs:
            if arch.id not in new and arch.id not in self.seen:
                next(self.ticks, None)
            self.seen[arch.id] = arch
        found = [self.known[arch.id].metrics for arch in archs]
        # Earlier versions evaluated fewer metrics: those that an objective of their runs names are there.
        return {metric.name: np.array([values.get(metric.name, np.nan) for values in found]) for metric in self.metrics}

    def _evaluate(self, archs: list[Arch], evaluator: Evaluator | None) -> None:
        """Keeps every evaluation as it comes; with an evaluator of the strategy's own, the weights, too."""
        judge = evaluator or self.shared()
        results: Iterable[Mapping[str, float]] = judge.evaluate(archs)
        for arch, metrics in zip(archs, results, strict=True):
            first = self.metrics[0].name
            if not np.isfinite(metrics[first]):
                raise TrainingError(
                    f"network {arch.id} has {first} {metrics[first]}; start again with a lower --learning-rate"
                )
            evaluation = Evaluation(arch, tuple(judge.stages), dict(metrics))
            if evaluator is not None:
                self._keep_weights(arch, evaluator)
            self.database.add_evaluations(SEARCH, [evaluation])
            costs = expected_costs(self.space, self.costs, {arch.id: arch})
            self.database.add_costs(costs)
            self.known[arch.id] = evaluation
            numbers = {**metrics, **costs[arch.id]}
            record(self.reporter, len(self.known), {f"evaluated/{name}": value for name, value in numbers.items()})
            next(self.ticks, None)

    def _keep_weights(self, arch: Arch, evaluator: Evaluator) -> None:
        """Saves the network that was evaluated, unless the strategy did (`Workshop.weights`): it is what is handed out."""
        path, networks = self.weights(arch.id), getattr(evaluator, "networks", None)
        if path.exists():
            return
        if networks is None:
            raise TrainingError(
                f"the strategy's evaluator has no networks, and left no weights in {path}; save them there, or evaluate with "
                "a NetworkEvaluator"
            )
        path.parent.mkdir(exist_ok=True)
        facts = {"hwnas.space": self.space.fingerprint, "hwnas.arch": arch.key}
        save_weights(networks.network(arch), path, facts)
