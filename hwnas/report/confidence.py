"""Words that say whether a run's latencies can be trusted: conditions, errors of the prediction, noise, drift."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np

from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.front import DeviceLatency

# A median error of the front that is called small, and a large one, as shares.
SMALL: Final = 0.05
LARGE: Final = 0.15
# A difference between a session and the profiling that is called drift, as a share.
DRIFT: Final = 0.05
# The names of conditions in the order in which people read them.
_CONDITIONS: Final = ("hardware", "runtime", "provider", "threads", "precision", "batch")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """A device's conditions by name, a verdict in one sentence, and the reasons for it.

    `grade` is `good`, `fair`, `poor`, or `unknown` where nothing was measured.
    """

    device: str
    latency: str
    conditions: Mapping[str, str]
    grade: str
    verdict: str
    reasons: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Returns the words as JSON has them."""
        return asdict(self)


def confidence_in(
    latency: str,
    facts: Mapping[str, Any],
    predictor: LatencyPredictor | None,
    points: Sequence[DeviceLatency],
    sessions: Sequence[Mapping[str, Any]] = (),
) -> Confidence:
    """Returns how far a front's latencies on one device can be trusted.

    `facts` are those of the device in run.json, `points` the latencies of the front, `sessions` what run.json tells of the
    sessions that measured on the device.
    """
    conditions = {**facts, **facts.get("conditions", {})}
    grade, verdict = _verdict(points)
    return Confidence(
        device=facts["name"],
        latency=latency,
        conditions={name: str(conditions[name]) for name in _CONDITIONS if name in conditions},
        grade=grade,
        verdict=verdict,
        reasons=(*_measured(points, sessions), *_predicted(predictor)),
    )


def _verdict(points: Sequence[DeviceLatency]) -> tuple[str, str]:
    errors = [abs(point.error) for point in points if point.error is not None]
    if not errors:
        return "unknown", (
            "Latencies are predicted, and nothing was measured: measure the front on the device (`hwnas verify RUN`) before you "
            "rely on it."
        )
    inside = sum(point.in_interval for point in points if point.error is not None) / len(errors)
    error = float(np.median(errors))
    if error <= SMALL and inside >= 0.5:
        return "good", "Latencies were measured, and they are as predicted."
    if error <= LARGE:
        return "fair", (
            "Latencies were measured, and they differ from the prediction: compare networks by the measurement, and measure "
            "again (`hwnas verify RUN`)."
        )
    return "poor", (
        "Measurement and prediction contradict each other: the device was busy, or is not as it was profiled. Profile again "
        "before you rely on this front."
    )


def _measured(points: Sequence[DeviceLatency], sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    known = [point for point in points if point.error is not None]
    if not known:
        return ["Drift since the device was profiled: not known, because nothing was measured."]
    errors, inside = [abs(point.error or 0.0) for point in known], sum(point.in_interval for point in known)
    ratio = float(np.median([1 / (1 + (point.error or 0.0)) for point in known]))
    spread = float(
        np.median(
            [(point.measured_p90_ms or 0) / point.measured_median_ms - 1 for point in known if point.measured_median_ms]
        )
    )
    reasons = [
        f"Error of the prediction over the front: median {_percent(float(np.median(errors)))}, largest "
        f"{_percent(max(errors))}; {inside} of {len(known)} networks are in their interval.",
        f"Measured latencies are {_percent(ratio)} of predicted ones in the median"
        + ("." if abs(ratio - 1) <= DRIFT else ": the predictions of this front are off in one direction."),
        f"Noise of single calls: the 90th percentile is {_percent(spread)} above the median.",
    ]
    close = sum(point.within_noise for point in known)
    if close:
        reasons.append(f"{close} networks are within the budget by less than the noise of a measurement.")
    return reasons + _drift(sessions)


def _drift(sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the drift and the noise of the sessions that measured the front, where the run has recorded them."""
    ratios = [one["reference_ms"] / one["profiled_ms"] for one in sessions if one.get("profiled_ms")]
    if not ratios:
        return ["Drift between profiling and measurement: not recorded."]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    words = "the device has not drifted" if abs(worst - 1) <= DRIFT else "the device has drifted, and latencies with it"
    sessions_words = "in the session" if len(ratios) == 1 else f"in the worst of {len(ratios)} sessions"
    said = [f"The reference network took {_percent(worst)} of its time at profiling {sessions_words}: {words}."]
    networks, unconverged = (sum(one[name] for one in sessions) for name in ("networks", "unconverged"))
    busy = ": the device was busy." if unconverged else "."
    return [*said, f"{unconverged} of {networks} measurements did not converge{busy}"]


def _predicted(predictor: LatencyPredictor | None) -> list[str]:
    if predictor is None:
        return ["The predictor's file is missing, so its error on held-out networks is not known."]
    report, provenance = predictor.report, predictor.provenance
    held_out = report["held_out"]
    said = [
        f"The predictor was fitted to {report.get('networks', 'an unknown number of')} networks; on held-out ones it is off by "
        f"{_percent(held_out['mape'])} on average"
        + (f" and ranks them with Kendall's tau {held_out['kendall']:.2f}." if "kendall" in held_out else ".")
    ]
    if report.get("covered") is not None and report.get("interval_coverage"):
        said.append(
            f"Its intervals promise to hold {_percent(report['interval_coverage'])} of networks, and held "
            f"{_percent(report['covered'])} of those left out."
        )
    if report.get("repeat_noise"):
        said.append(f"Noise: two measurements of one network differ by {_percent(report['repeat_noise'])} on average.")
    if report.get("session_noise"):
        said.append(f"Two sessions differ by {_percent(report['session_noise'])} for all networks together.")
    if provenance.get("date"):
        command = provenance.get("command", "a command that is not recorded")
        said.append(f"Measurements of the predictor: {provenance['date']}, by {command}.")
    return said


def _percent(share: float) -> str:
    """Returns a share in percent, with a decimal where it is small.

    >>> _percent(0.0077), _percent(0.98)
    ('0.8 %', '98 %')
    """
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
