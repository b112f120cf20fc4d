"""The report card of a run: the ten criteria of a survey of automated deep learning, each with what the run's files tell.

The criteria are those of Dong, Kedziora, Musial and Gabrys, "Automated Deep Learning: Neural Architecture Search Is Not the
End" (2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np

from hwnas.report.axes import metric_text
from hwnas.report.front import FrontPlot
from hwnas.runs.objectives import Objective, named

NOT_MEASURED: Final = "not measured"


@final
@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion, and what is known; `known` is False where nothing was measured."""

    name: str
    words: str
    known: bool = True

    def describe(self) -> dict[str, Any]:
        """Returns the criterion as JSON has it."""
        return asdict(self)


def report_card(plot: FrontPlot, facts: Mapping[str, Any], evaluated: int, importance: str) -> tuple[Criterion, ...]:
    """Returns the ten criteria. `facts` are those of run.json, `importance` says how far effects of options can be relied on."""
    request = facts.get("request", {})
    strategy = request.get("strategy", {}).get("name", "an unknown strategy")
    return (
        Criterion("novelty", f"{NOT_MEASURED}; the strategy is {strategy}", known=False),
        Criterion("solution quality", _quality(plot, facts)),
        _efficiency(facts, evaluated),
        Criterion(
            "stability",
            f"{NOT_MEASURED}: one seed ({request.get('seed', 'unknown')}); run again with others",
            known=False,
        ),
        Criterion(
            "interpretability",
            importance or f"{NOT_MEASURED}: too few networks for the effects of options",
            bool(importance),
        ),
        Criterion(
            "reproducibility",
            "command, seed, versions and a digest of the data are recorded below; a second run was not compared",
        ),
        _engineering(plot),
        _scalability(facts),
        _generalisation(plot),
        _energy(plot),
    )


def _quality(plot: FrontPlot, facts: Mapping[str, Any]) -> str:
    best = named(plot.attained, plot.goal.objectives)["best"]
    metric = plot.goal.quality
    words = f"the best of {len(plot.points)} networks has {plot.tested(best)}"
    guess = facts.get("guessing", {}).get(metric.name)
    return words if guess is None else f"{words}; guessing has {metric_text(guess, metric.unit)}"


def _efficiency(facts: Mapping[str, Any], evaluated: int) -> Criterion:
    stages = facts.get("stages", {})
    seconds = sum(stage["seconds"] for stage in stages.values())
    if not seconds:
        return Criterion("efficiency", NOT_MEASURED, known=False)
    longest = max(stages, key=lambda name: float(stages[name]["seconds"]))
    words = f"{duration(seconds)} for {evaluated} evaluations, of which {longest} took {duration(stages[longest]['seconds'])}"
    return Criterion("efficiency", words)


def _engineering(plot: FrontPlot) -> Criterion:
    timed = sum(plot.timed(index) for index in range(len(plot.devices)))
    models = f"{len(plot.points)} ONNX models, measured on {timed} of {len(plot.devices)} devices"
    return Criterion("engineering quality", f"{models}; `hwnas verify RUN --claims` checks them")


def _scalability(facts: Mapping[str, Any]) -> Criterion:
    peaks = [stage["peak_mib"] for stage in facts.get("stages", {}).values() if stage.get("peak_mib")]
    if not peaks:
        return Criterion("scalability", NOT_MEASURED, known=False)
    return Criterion(
        "scalability", f"the search took {max(peaks):,.0f} MiB of memory; larger data or spaces were not tried"
    )


def _generalisation(plot: FrontPlot) -> Criterion:
    name = plot.goal.quality.name
    gaps = [
        point.metrics[f"{name}_test"] - point.metrics[f"{name}_val"]
        for point in plot.points
        if f"{name}_test" in point.metrics and f"{name}_val" in point.metrics
    ]
    if not gaps:
        return Criterion("generalisability", NOT_MEASURED, known=False)
    gap = _difference(gaps, plot)
    return Criterion(
        "generalisability", f"test minus validation {name}: {gap} in the median; other data were not tried"
    )


def _difference(gaps: Sequence[float], plot: FrontPlot) -> str:
    gap, unit = float(np.median(gaps)), plot.goal.quality.unit
    return f"{100 * gap:+.1f} percentage points" if unit == "share" else f"{gap:+.4g}"


def _energy(plot: FrontPlot) -> Criterion:
    energy = Objective("energy")
    if "energy_mj" not in plot.points[0].costs:
        return Criterion(
            "eco-friendliness",
            f"{NOT_MEASURED}, neither for the search nor for its networks",
            known=False,
        )
    values = [energy.value(point) for point in plot.points]
    return Criterion(
        "eco-friendliness",
        f"networks of the front take {min(values):.3g} to {max(values):.3g} mJ per call, predicted; the search was not measured",
    )


def duration(seconds: float) -> str:
    """Returns a time in words.

    >>> duration(4.2), duration(330), duration(7300)
    ('4 s', '5.5 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
