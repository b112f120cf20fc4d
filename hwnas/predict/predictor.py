"""The predictor of latency or energy: factors, held-out error, and an interval. Files are JSON.

Shapes: N architectures, C choices.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final
from zlib import crc32

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Choice, Option
from hwnas.core.choices import Choices
from hwnas.core.condition import holds
from hwnas.core.costs import layer_factors
from hwnas.core.factors import Factor, absorbed, total
from hwnas.core.files import json_of, replace_file
from hwnas.core.html import html_table
from hwnas.core.space import SearchSpace
from hwnas.core.structure import unread
from hwnas.errors import ArchError, PredictorError, SpaceError
from hwnas.predict.measurements import LATENCY, NORMAL_95, SESSION_NOISE, STATISTIC_OF, UNIT_OF
from hwnas.predict.trees import TREES, tree_factors

SCHEMA: Final = 2
# Rows of option indices (N, C), or one architecture or several, each as a mapping or as JSON, as in the column `arch` of a front.
Archs = IntArray | Mapping[str, Option] | str | Sequence[Mapping[str, Option] | str]


@final
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class LatencyPredictor:
    """Predicts a cost of architectures, given as rows of option indices: latency (10th percentile, ms) or energy (mean, mJ).

    `cost` says which. The prediction is the sum of the `additive` factors and, where trees proved themselves on held-out
    networks, of a `booster` in XGBoost's own JSON over `choices`.

    `interval` holds the factors from a prediction to the ends of its interval, which is made to cover 90 % (fewer where few
    networks were measured: `report["interval_coverage"]`; `predict/interval.py`). `uppers` holds, by statistic, the factors to
    the upper end of its interval; files of earlier builds have none, and then it is the product of `interval` and
    `statistics`. `statistics` holds, by name, the factors from a prediction to each statistic that three in four networks
    stay below. `report` holds the errors on held-out networks; its `reference_ms`
    belongs to this very space's largest network. `provenance` names the measurements. `identity` names the operator of each
    cell of the factors, where it is known.
    """

    choices: tuple[Choice, ...]
    additive: tuple[Factor, ...]
    interval: tuple[float, float]
    statistics: Mapping[str, float]
    report: Mapping[str, Any]
    conditions: Mapping[str, Any]
    space: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    identity: tuple[Factor, ...] = ()
    booster: Mapping[str, Any] | None = None
    cost: str = LATENCY
    uppers: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        low, high = (100 * (end - 1) for end in self.interval)
        error = 100 * float(self.report["held_out"]["mape"])
        return (
            f"<LatencyPredictor of {self.cost} ({self.unit}) of {self.space.get('reference') or 'a space'} on "
            f"{self.conditions.get('hardware', 'a device')}: held-out error {error:.1f} %, interval {low:+.1f} to {high:+.1f} %>"
        )

    def _repr_html_(self) -> str:
        """Returns the conditions as a table, for notebooks."""
        return html_table(repr(self), ("condition", "value"), list(self.conditions.items()))

    @property
    def unit(self) -> str:
        """`ms` or `mJ`."""
        return UNIT_OF[self.cost]

    @cached_property
    def trees(self) -> tuple[Factor, ...]:
        """The booster's trees as factors."""
        return () if self.booster is None else tree_factors(self.booster, self.choices)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The factors whose sum is the prediction."""
        return (*self.additive, *self.trees)

    @cached_property
    def _few(self) -> list[Factor]:
        """The same sum in as few factors as possible."""
        return absorbed(self.factors)

    @cached_property
    def columns(self) -> Mapping[str, int]:
        return {choice.name: column for column, choice in enumerate(self.choices)}

    def require(self, cost: str, where: str = "the predictor") -> "LatencyPredictor":
        """Returns the predictor itself. Raises PredictorError where it predicts another cost."""
        if self.cost != cost:
            raise PredictorError(
                f"{where}: predicts {self.cost}, not {cost}; `hwnas fit --cost {cost}` makes one that does"
            )
        return self

    def predict(self, archs: Archs) -> FloatArray:
        """Returns the predicted cost of each architecture, in `unit`; shape (N,).

        `archs` are rows of option indices (N, C), or architectures: one, or several. Raises ArchError for one that cannot be.
        """
        return total(self._few, self.rows(archs), self.columns)

    def predict_ms(self, archs: Archs) -> FloatArray:
        """Returns the predicted p10 latency of each architecture; shape (N,). Raises PredictorError for another cost."""
        return self.require(LATENCY).predict(archs)

    def rows(self, archs: Archs) -> IntArray:
        """Returns the rows of architectures; shape (N, C). Rows stay as they are. Raises ArchError."""
        several = [archs] if isinstance(archs, Mapping | str) else archs
        if isinstance(several, np.ndarray) or not any(isinstance(one, Mapping | str) for one in several):
            return np.asarray(several)
        known = Choices(self.choices)
        return known.encode([known.arch(_options(one)) for one in several])

    def upper(self, rows_NC: IntArray, statistic: str) -> FloatArray:
        """Returns the upper end of a statistic's interval, in `unit`: the number that limits hold for; shape (N,).

        Latencies have the statistics `p10`, `median` and `p90`, energies the `mean`. Raises PredictorError for others.
        """
        return self.predict(rows_NC) * self.upper_ratio(statistic)

    def upper_ratio(self, statistic: str) -> float:
        """Returns the factor from a prediction to the upper end of a statistic's interval. Raises PredictorError."""
        if statistic not in self.statistics:
            raise PredictorError(
                f"the predictor of {self.cost} has no statistic {statistic!r}; ask for {', '.join(self.statistics)}"
            )
        return self.uppers.get(statistic, self.interval[1] * self.statistics[statistic])

    @property
    def half_width(self) -> float:
        """Half of the 90 % interval of one measurement, relative to it: how far another session may be from it.

        The report's `repeat_noise` is the mean distance of two measurements, which is 2 / sqrt(pi) standard deviations of one
        where these are normal.
        """
        noise = self.report.get("repeat_noise") or SESSION_NOISE
        return NORMAL_95 * math.sqrt(math.pi) / 2 * float(noise)

    def within_noise(self, measured_ms: float, bound_ms: float) -> bool:
        """True where a measurement cannot tell if a network is within a bound: they are less than the half width apart."""
        return abs(measured_ms - bound_ms) < self.half_width * measured_ms

    def breakdown(self, row_C: IntArray) -> dict[str, float]:
        """Returns the summands of one architecture's prediction by layer, in `unit`; all trees are one entry."""
        rows = np.asarray(row_C)[None]
        parts: dict[str, float] = {}
        for factor in self.factors:
            part = TREES if factor.name.startswith(f"{TREES}: ") else factor.name
            parts[part] = parts.get(part, 0.0) + float(factor.at(rows, self.columns)[0])
        return parts

    def breakdown_ms(self, row_C: IntArray) -> dict[str, float]:
        """Returns the `breakdown` of a latency. Raises PredictorError for another cost."""
        return self.require(LATENCY).breakdown(row_C)

    def for_space(self, space: SearchSpace) -> "LatencyPredictor":
        """Returns the same predictor over a space's own choices, matched by choice names and option values.

        The space may lack options, and may have further choices that no layer reads. Raises PredictorError where it has another
        choice or option that the predictor does not know.
        """
        ours = {choice.name: choice for choice in self.choices}
        own = identity_factors(space) if self.identity else ()
        carried = self.carried_to(space)
        _require_same(own, [_restricted(factor, ours, space) for factor in self.identity], space)
        return replace(carried, identity=own)

    def carried_to(self, space: SearchSpace) -> "LatencyPredictor":
        """Returns the same sum over a space's own choices as `for_space` does, whatever operators the space has.

        Raises PredictorError where the space has another choice or option that the predictor does not know.
        """
        known = {choice.name: choice.options for choice in self.choices}
        further = set(unread(space)) - known.keys()
        for choice in space.choices:
            if choice.name in further:
                continue
            strange = [option for option in choice.options if option not in known.get(choice.name, ())]
            if strange:
                raise PredictorError(
                    f"the predictor knows nothing of {choice.name} = {strange[0]!r}; fit one for this space"
                )
        return LatencyPredictor(
            choices=space.choices,
            additive=tuple(self.carried(factor, space) for factor in self.factors),
            interval=self.interval,
            statistics=self.statistics,
            uppers=self.uppers,
            report=self.report if self.space == space.describe() else {**self.report, "reference_ms": None},
            conditions=self.conditions,
            provenance=self.provenance,
            space=space.describe(),
            cost=self.cost,
        )

    def carried(self, factor: Factor, space: SearchSpace) -> Factor:
        """Returns a factor over the predictor's choices as one over a space's choices. Raises PredictorError."""
        ours = {choice.name: choice for choice in self.choices}
        return _restricted(_off_as_first(factor, ours, space), ours, space)

    def save(self, path: str | Path) -> None:
        """Writes the file whole or not at all."""
        content = {
            "schema": SCHEMA,
            "cost": self.cost,
            "space": dict(self.space),
            "conditions": dict(self.conditions),
            "provenance": dict(self.provenance),
            "report": dict(self.report),
            "interval": self.interval,
            "statistics": dict(self.statistics),
            "uppers": dict(self.uppers),
            "choices": [asdict(choice) for choice in self.choices],
            "factors": [_factor_json(factor) for factor in self.additive],
            "booster": self.booster,
            "identity": [_factor_json(factor) for factor in self.identity],
        }
        replace_file(Path(path), json.dumps(content))

    @classmethod
    def load(cls, path: str | Path) -> "LatencyPredictor":
        """Raises PredictorError where the file is missing, damaged, or of another schema."""
        try:
            content = json_of(Path(path).read_bytes())
        except FileNotFoundError as error:
            raise PredictorError(
                f"{path}: cannot be read ({error.strerror}); `hwnas fit --out {path}` makes it"
            ) from None
        except IsADirectoryError:
            raise PredictorError(
                f"{path}: is a folder; give the file of a predictor, such as {Path(path) / 'predictor.json'}"
            ) from None
        except OSError as error:
            raise PredictorError(
                f"{path}: cannot be read ({error.strerror}); give a predictor that you may read"
            ) from None
        except ValueError:
            raise PredictorError(f"{path}: not a predictor's JSON, or damaged; fit it again") from None
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else None
            raise PredictorError(f"{path}: schema {found!r}, this version reads {SCHEMA}; update hwnas or fit again")
        try:
            return _from_json(content)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError, SpaceError) as error:
            said = " ".join(str(error).split())
            raise PredictorError(f"{path}: damaged ({type(error).__name__}: {said}); fit it again") from None


def identity_factors(space: SearchSpace) -> tuple[Factor, ...]:
    """Returns one factor per layer with a number that identifies the operator of each cell; 0 where nothing stands."""
    return layer_factors(space.layers, space.choices, lambda operator: float(crc32(operator.key.encode())))


def _require_same(own: Sequence[Factor], known: Sequence[Factor], space: SearchSpace) -> None:
    """Raises PredictorError where a layer's operators are not those the predictor was fitted to."""
    layers = {factor.name: factor for factor in known}
    for factor in own:
        other = layers.pop(factor.name, None)
        if other is None or other.scope != factor.scope or not np.array_equal(other.values, factor.values):
            raise PredictorError(
                f"the predictor was fitted to other operators than {factor.name} of {space.name} {dict(space.options)} has; "
                f"fit one for this space"
            )
    for name, factor in layers.items():
        if factor.values.any():
            raise PredictorError(f"the predictor was fitted to a space with a layer {name}; fit one for this space")


def _off_as_first(factor: Factor, ours: Mapping[str, Choice], space: SearchSpace) -> Factor:
    """Returns the factor with the switches of its choices in its scope, where a row of the space does not imply them.

    Rows have index 0 where a choice is off, and trees recognise switched-off choices by that index. The space may begin
    with another option, which the trees would mistake for the one they know.
    """
    for name in factor.scope:
        choice = ours[name]
        if not choice.when or name not in space.by_name or space.choice(name).options[0] == choice.options[0]:
            continue
        switches = [switch for clause in choice.when for switch, _ in clause]
        scope = tuple(dict.fromkeys((*factor.scope, *switches)))
        sizes = [len(ours[each].options) for each in scope]
        more = (1,) * (len(scope) - len(factor.scope))
        values = np.broadcast_to(factor.values.reshape(factor.values.shape + more), sizes)
        on = holds(choice.when, dict(zip(scope, np.indices(sizes), strict=True)), ours)
        factor = Factor(factor.name, scope, np.where(on, values, values.take([0], scope.index(name))))
    return factor


def _restricted(factor: Factor, ours: Mapping[str, Choice], space: SearchSpace) -> Factor:
    """Returns the factor over the space's options. A choice that the space lacks must make no difference to the rest."""
    values = factor.values
    for axis, name in enumerate(factor.scope):
        if name in space.by_name:
            values = values.take([ours[name].options.index(option) for option in space.choice(name).options], axis)
    lost = [axis for axis, name in enumerate(factor.scope) if name not in space.by_name]
    for axis in reversed(lost):
        if np.ptp(values, axis).any():
            raise PredictorError(
                f"the predictor depends on {factor.scope[axis]}, which this space has not; fit one for this space"
            )
        values = np.take(values, [0], axis).squeeze(axis)
    return Factor(factor.name, tuple(name for name in factor.scope if name in space.by_name), values)


def _options(arch: Mapping[str, Option] | str) -> Mapping[str, Option]:
    """Returns an architecture's options. Raises ArchError for a text that is no JSON object."""
    if isinstance(arch, Mapping):
        return arch
    try:
        options = json_of(arch)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise ArchError(f"{arch!r} is no architecture; give a mapping of option by choice, or the same as JSON")
    return options


def _from_json(content: Mapping[str, Any]) -> LatencyPredictor:
    choices = []
    for choice in content["choices"]:
        when = tuple(tuple((name, tuple(options)) for name, options in clause) for clause in choice["when"])
        choices.append(Choice(choice["name"], tuple(choice["options"]), when, choice.get("tied_to", "")))
    sizes = {choice.name: len(choice.options) for choice in choices}
    low, high = map(float, content["interval"])
    if not 0 < low <= 1 <= high < math.inf:
        raise ValueError(f"interval {low} to {high}")
    cost = content.get("cost", LATENCY)  # older files have none
    statistics = {name: float(ratio) for name, ratio in content["statistics"].items()}
    uppers = {name: float(ratio) for name, ratio in content.get("uppers", {}).items()}  # older files have none
    if not all(1 <= ratio < math.inf for ratio in uppers.values()):
        raise ValueError(f"upper ends {uppers}")
    if STATISTIC_OF[cost] not in statistics:
        raise ValueError(f"no {STATISTIC_OF[cost]} of {cost}")
    _ = float(content["report"]["held_out"]["mape"])  # what predictors of other devices rely on
    loaded = LatencyPredictor(
        choices=tuple(choices),
        additive=tuple(_factor(factor, sizes) for factor in content["factors"]),
        identity=tuple(_factor(factor, sizes) for factor in content["identity"]),
        interval=(low, high),
        statistics=statistics,
        uppers=uppers,
        report=dict(content["report"]),
        conditions=dict(content["conditions"]),
        provenance=dict(content["provenance"]),
        space=dict(content["space"]),
        booster=content["booster"],
        cost=cost,
    )
    _ = loaded.trees  # raises where the booster is damaged
    return loaded


def _factor_json(factor: Factor) -> dict[str, Any]:
    return {"name": factor.name, "scope": factor.scope, "values": factor.values.tolist()}


def _factor(content: Mapping[str, Any], sizes: Mapping[str, int]) -> Factor:
    values = np.array(content["values"], dtype=float)
    if values.shape != tuple(sizes[name] for name in content["scope"]):
        raise ValueError(f"factor {content['name']} has shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"factor {content['name']} is not finite")
    return Factor(content["name"], tuple(content["scope"]), values)
