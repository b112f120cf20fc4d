"""All that is known of a front's point, in words. Knows no plotting library."""

from collections.abc import Sequence

from hwnas.report.axes import SHARE, WORDS, metric_text
from hwnas.runs.front import DeviceLatency, FrontRow
from hwnas.runs.objectives import UNIT_OF_COLUMN
from hwnas.tasks.task import Metric


def described(point: FrontRow, metrics: Sequence[Metric]) -> list[str]:
    """Returns all that is known of a point, line by line."""
    lines = [_metric_line(point, metric) for metric in metrics]
    for latency in point.latencies:
        lines += _latency_lines(latency, f" on {latency.device}" if len(point.latencies) > 1 else "")
    lines.append(", ".join(_cost_text(column, value) for column, value in point.costs.items()))
    verdict = "yes" if point.within_budget else "no"
    if point.within_noise:
        verdict += ", by less than the noise of a measurement"
    return [*(line for line in lines if line), f"within budget: {verdict}", point.stages]


def _latency_lines(latency: DeviceLatency, on: str) -> list[str]:
    interval = f"{latency.interval_low_ms:.4g} to {latency.interval_high_ms:.4g}"
    predicted = f"predicted{on}: {latency.predicted_ms:.4g} ms [{interval}]"
    if latency.measured_ms is None:
        return [predicted, f"not timed{on}"]
    return [
        predicted,
        f"measured{on}: p10 {latency.measured_ms:.4g}, median {latency.measured_median_ms:.4g}, "
        f"p90 {latency.measured_p90_ms:.4g} ms",
    ]


def _metric_line(point: FrontRow, metric: Metric) -> str:
    """Returns a metric on both splits, with the values before final training in brackets."""
    said = []
    for split, words in (("val", "validation"), ("test", "test")):
        value, before = (point.metrics.get(f"{metric.name}_{split}{end}") for end in ("", "_before"))
        if value is not None:
            was = "" if before is None else f" (before {metric_text(before, metric.unit, 2)})"
            said.append(f"{words} {metric_text(value, metric.unit, 2)}{was}")
    unit = f" {metric.unit}" if metric.unit not in ("", SHARE) else ""
    return f"{metric.name}: {', '.join(said)}{unit}" if said else ""


def _cost_text(column: str, value: float) -> str:
    end = next((end for end in UNIT_OF_COLUMN if column.endswith(end)), "")
    name = column.removesuffix(end)
    number = f"{int(value):,}" if float(value).is_integer() else f"{value:.4g}"
    return f"{WORDS.get(name, name)}: {number}{f' {UNIT_OF_COLUMN[end]}' if end else ''}"
