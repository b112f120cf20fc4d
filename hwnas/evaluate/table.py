"""The evaluator of published tables: every architecture's metrics are known. Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from hwnas.core.arch import Arch
from hwnas.errors import DataError
from hwnas.tasks.task import Metric


@final
@dataclass(frozen=True, slots=True, eq=False)
class TableEvaluator:
    """Looks up metrics. `look_up` returns at least `metrics` of an architecture, by name; `name` is that of the table."""

    metrics: tuple[Metric, ...]
    look_up: Callable[[Arch], Mapping[str, float]]
    name: str = "table"

    @property
    def stages(self) -> tuple[str, ...]:
        """The name of the table alone."""
        return (self.name,)

    def evaluate(self, archs: Sequence[Arch]) -> list[Mapping[str, float]]:
        """Returns the metrics of each architecture by name. Raises DataError where the table lacks one."""
        return [self._metrics(arch) for arch in archs]

    def _metrics(self, arch: Arch) -> Mapping[str, float]:
        row = self.look_up(arch)
        lacking = [metric.name for metric in self.metrics if metric.name not in row]
        if lacking:
            raise DataError(
                f"the table {self.name!r} has no {', '.join(lacking)} of {arch.key}; it has {', '.join(row)}"
            )
        return {metric.name: float(row[metric.name]) for metric in self.metrics}
