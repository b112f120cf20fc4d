"""Every network that a run has evaluated, as rows like those of its front: what is known of each, measured or not."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.database import SEARCH, Evaluation, Latencies, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import DeviceLatency, FrontRow, read_front
from hwnas.runs.objectives import LATENCY, UNIT_OF_COLUMN, Objective, RunGoal, read_goal

# The cell of a row that has a statistic of the latency as measured.
_MEASURED: Final = {"p10": "measured_ms", "median": "measured_median_ms", "p90": "measured_p90_ms"}
# The statistic that a predicted cost other than latency is limited in.
_MEAN: Final = "mean"


@final
@dataclass(frozen=True, eq=False)
class EvaluatedNetworks:
    """The evaluated networks of a finished run. Reads its files alone: no Python of a space is run.

    `front` are the rows of front.csv by id. Raises RunError where a file is missing or damaged.
    """

    run: RunFolder
    front: Mapping[str, FrontRow]
    goal: RunGoal
    searched: Mapping[str, Evaluation]

    @classmethod
    def of(cls, run: RunFolder) -> "EvaluatedNetworks":
        """Reads the front and the evaluations of a run."""
        run.read()  # a folder that is no run says so before it misses a front
        front = {row.arch_id: row for row in read_front(run.front)}
        with closing(RunDatabase.existing(run.database)) as database:
            return cls(run, front, read_goal(run), database.evaluations(SEARCH))

    @cached_property
    def rows(self) -> dict[str, FrontRow]:
        """The rows of all evaluated networks by id: those of the front, then the others in the order of their evaluation.

        A row of the front has the metrics after final training, another those of the search, no metric on the test split
        and no model. Networks whose costs are not known, of earlier versions, are left out.
        """
        with closing(RunDatabase.existing(self.run.database)) as database:
            costs, measured = database.costs(), database.measurements()
        others = {
            arch_id: self._row(arch_id, evaluation, costs[arch_id], measured)
            for arch_id, evaluation in self.searched.items()
            if arch_id not in self.front and all(name in costs.get(arch_id, {}) for name in self._needed)
        }
        return {**self.front, **others}

    def as_searched(self, arch_id: str) -> dict[str, float]:
        """Returns the metrics of a network with the weights of the search, by column, such as `loss_val`."""
        return {f"{name}_val": value for name, value in self.searched[arch_id].metrics.items()}

    def all_have(self, metric: str) -> bool:
        """Returns True where every network was evaluated by a metric; earlier versions evaluated fewer metrics."""
        return all(metric in evaluation.metrics for evaluation in self.searched.values())

    def judged(self, row: FrontRow, name: str, statistic: str) -> float:
        """Returns the number that a limit on a cost is held against.

        It is the statistic of a latency where it was measured; else, of predicted costs, the upper end of the interval; of
        other costs the cost. Raises UnknownNameError for a cost that the run's networks do not have.
        """
        objective = Objective(name)
        if objective.is_latency:
            latency = row.latency_of(name)
            measured_ms: float | None = getattr(latency, _MEASURED[statistic])
            if measured_ms is not None:
                return measured_ms
            return latency.predicted_ms * self._predictor(LATENCY, latency.device).upper_ratio(statistic)
        value = float(row.costs[objective.column(row)])
        device = self._devices[0]
        if not self.run.predictor_of(name, device).exists():
            return value
        return value * self._predictor(name, device).upper_ratio(_MEAN)

    @property
    def _example(self) -> FrontRow:
        return next(iter(self.front.values()))

    @property
    def _devices(self) -> list[str]:
        return [latency.device for latency in self._example.latencies]

    @property
    def latency_names(self) -> list[str]:
        """The names of the latencies on every device, the first device's first."""
        return [LATENCY, *(f"{LATENCY}@{device}" for device in self._devices[1:])]

    @cached_property
    def _columns(self) -> dict[str, str]:
        """The columns of the front's costs, by the cost's name."""
        ends = tuple(UNIT_OF_COLUMN)
        suffixes = {column: next((end for end in ends if column.endswith(end)), "") for column in self._example.costs}
        return {column.removesuffix(end): column for column, end in suffixes.items()}

    @property
    def _needed(self) -> list[str]:
        return [*self.latency_names, *self._columns]

    @cached_property
    def _loaded(self) -> dict[tuple[str, str], LatencyPredictor]:
        return {}

    def _predictor(self, name: str, device: str) -> LatencyPredictor:
        """Returns the predictor of a cost on a device; its file is read once."""
        if (name, device) not in self._loaded:
            self._loaded[name, device] = LatencyPredictor.load(self.run.predictor_of(name, device))
        return self._loaded[name, device]

    def _row(
        self,
        arch_id: str,
        evaluation: Evaluation,
        costs: Mapping[str, float],
        measured: Mapping[tuple[str, str], Latencies],
    ) -> FrontRow:
        return FrontRow(
            arch_id=arch_id,
            arch=evaluation.arch.key,
            stages=" > ".join(evaluation.stages),
            metrics=self.as_searched(arch_id),
            latencies=tuple(
                self._latency(device, costs[name], measured.get((arch_id, device)))
                for device, name in zip(self._devices, self.latency_names, strict=True)
            ),
            costs={column: costs[name] for name, column in self._columns.items()},
            onnx="",
        )

    def _latency(self, device: str, predicted_ms: float, measured: Latencies | None) -> DeviceLatency:
        low, high = self._predictor(LATENCY, device).interval
        return DeviceLatency(
            device=device,
            predicted_ms=predicted_ms,
            interval_low_ms=predicted_ms * low,
            interval_high_ms=predicted_ms * high,
            measured_ms=measured.p10_ms if measured else None,
            measured_median_ms=measured.median_ms if measured else None,
            measured_p90_ms=measured.p90_ms if measured else None,
            within_budget=True,
            budget_ms=None,
        )
