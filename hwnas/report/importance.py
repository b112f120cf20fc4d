"""The importance of choices: what each option is worth in a metric, with its uncertainty, and in milliseconds.

Shapes: N architectures, C choices, K options of a choice, P features.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from scipy.sparse import csr_array

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Choice, Option
from hwnas.core.condition import holds
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.predict.predictor import LatencyPredictor
from hwnas.report.metric_fit import MetricFit

# Random networks that an option is put into. All options of a choice are put into the same ones, so few are enough.
BACKGROUNDS: Final = 128


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The worth of one option: the mean of random networks with it, minus the mean over all options of its choice.

    `metric` is in the metric's own unit and sign, `deviation` its posterior standard deviation. `latencies_ms` are by the
    latency's name, `latency` or `latency@DEVICE`, as predicted. Of a choice that is not always on, only networks in which it
    is on count.
    """

    choice: str
    option: Option
    metric: float
    deviation: float
    latencies_ms: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """The effects of all options; choices with the widest range of effects on the metric come first.

    `explained` is the share of the variance of left-out networks that the fit predicts (`MetricFit.explained`), `networks`
    the number of networks of the fit.
    """

    title: str
    metric: str
    highest: bool
    networks: int
    explained: float
    effects: tuple[Effect, ...]

    @property
    def by_choice(self) -> dict[str, list[Effect]]:
        """The effects of each choice's options, in the order of the options."""
        result: dict[str, list[Effect]] = {}
        for effect in self.effects:
            result.setdefault(effect.choice, []).append(effect)
        return result

    @property
    def reliability(self) -> str:
        """Says in words how far the effects can be relied on."""
        fit = f"an additive fit to {self.networks} evaluated networks"
        if self.explained <= 0:
            return f"{fit} that explains nothing of networks left out of it: read no effect"
        return f"{fit} that explains {100 * self.explained:.0f} % of the variance of networks left out of it"

    def rows(self) -> list[dict[str, Any]]:
        """Returns the effects as rows of importance.csv."""
        return [
            {
                "choice": effect.choice,
                "option": effect.option,
                self.metric: effect.metric,
                f"{self.metric}_deviation": effect.deviation,
                **{_column(name): value for name, value in effect.latencies_ms.items()},
            }
            for effect in self.effects
        ]

    def csv(self) -> str:
        """Returns the content of importance.csv; options are written as JSON."""
        text, rows = io.StringIO(), self.rows()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "option": json.dumps(row["option"])} for row in rows)
        return text.getvalue()


def importance_of(
    title: str, fit: MetricFit, predictors: Mapping[str, LatencyPredictor], rng: np.random.Generator
) -> Importance:
    """Returns the effects of all options of the choices that the fit knows.

    An option's effect is a partial dependence (Friedman 2001, section 8.2): the option is put into random networks, all else
    as it was drawn. The deviations are exact, because an effect is linear in the weights of the fit. `predictors` are by the
    latency's name.
    """
    space = fit.space
    sizes = [len(choice.options) for choice in space.choices]
    drawn_NC = rng.integers(0, sizes, size=(BACKGROUNDS, len(sizes)))
    decided = {name for factor in fit.factors.model.basis.expected for name in factor.scope}
    effects: list[list[Effect]] = []
    for choice in space.choices:
        rows = _rows_by_option(space, choice, drawn_NC)
        if choice.name in decided and len(choice.options) > 1 and not choice.tied_to and len(rows[0]):
            effects.append(list(_effects(choice, rows, fit, predictors)))
    effects.sort(key=lambda options: -float(np.ptp([effect.metric for effect in options])))
    return Importance(
        title=title,
        metric=fit.metric.name,
        highest=fit.metric.highest,
        networks=len(fit.rows_NC),
        explained=fit.explained,
        effects=tuple(effect for options in effects for effect in options),
    )


def _rows_by_option(space: SearchSpace, choice: Choice, drawn_NC: IntArray) -> list[IntArray]:
    """Returns the drawn networks with each option of a choice put into them: those in which the choice is on.

    Raw draws are needed, not normalised rows: where an option switches other choices on, theirs are drawn, too, and where two
    choices switch each other off, as edges of a cell do, each is on by what was drawn of the other.
    """
    column, by_option = space.columns[choice.name], []
    kept_N = np.ones(len(drawn_NC), dtype=bool)
    for option in range(len(choice.options)):
        changed_NC = drawn_NC.copy()
        changed_NC[:, column] = option
        rows_NC = space.choices.normalise(changed_NC)
        drawn = {other.name: changed_NC[:, space.columns[other.tied_to or other.name]] for other in space.choices}
        kept_N &= holds(choice.when, drawn, space.by_name) & space.choices.meets_requirements(rows_NC)
        by_option.append(rows_NC)
    return [rows_NC[kept_N] for rows_NC in by_option]


def _effects(
    choice: Choice, rows: list[IntArray], fit: MetricFit, predictors: Mapping[str, LatencyPredictor]
) -> Iterator[Effect]:
    """Yields the effect of every option of a choice."""
    model, columns, unit = fit.factors.model, fit.space.columns, fit.factors.unit
    assert model.posterior is not None  # networks were evaluated
    design_KP = np.array([np.asarray(model.basis.design(rows_NC, columns).mean(axis=0)).ravel() for rows_NC in rows])
    expected_K = np.array([total(model.basis.expected, rows_NC, columns).mean() for rows_NC in rows])
    contrast_KP = _around_mean(design_KP)
    metric_K = fit.metric.minimised(unit) * (contrast_KP @ model.posterior.mean_P + _around_mean(expected_K))
    variance_K = np.diag(model.posterior.covariance(csr_array(contrast_KP)))
    latencies_K = {
        name: _around_mean(np.array([predictor.predict(rows_NC).mean() for rows_NC in rows]))
        for name, predictor in predictors.items()
    }
    for number, option in enumerate(choice.options):
        yield Effect(
            choice=choice.name,
            option=option,
            metric=float(metric_K[number]),
            deviation=unit * float(np.sqrt(max(variance_K[number], 0.0))),
            latencies_ms={name: float(value_K[number]) for name, value_K in latencies_K.items()},
        )


def _around_mean(values_K: FloatArray) -> FloatArray:
    return np.asarray(values_K - values_K.mean(axis=0))


def _column(latency: str) -> str:
    """Returns the column of a latency: `latency_ms`, or `latency_ms@DEVICE`."""
    name, at, device = latency.partition("@")
    return f"{name}_ms{at}{device}"
