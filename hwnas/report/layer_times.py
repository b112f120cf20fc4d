"""The latency of every network layer by layer, as the predictors of a run tell it. Reads no space: its Python need not run.

Shapes: N networks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from hwnas.core.arrays import FloatArray
from hwnas.core.choice import Option
from hwnas.core.factors import Factor
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.trees import TREES

Networks = Sequence[Mapping[str, Option]]
# A prediction whose layers do not add up to it within this share is not told layer by layer.
ADDS_UP = 1e-6


@final
@dataclass(frozen=True, slots=True)
class Alternative:
    """An operator of a layer: the options that decide it, in words, and its milliseconds by the latency's name."""

    words: str
    latencies_ms: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True)
class LayerTimes:
    """The alternatives of one part of a prediction that networks have, and the number of each network's; shape (N,).

    `is_place` is True for a layer, a place in a network; other parts are a constant, trees, and corrections of pairs of layers.
    """

    name: str
    is_place: bool
    alternatives: tuple[Alternative, ...]
    numbers_N: tuple[int, ...]

    def describe(self) -> dict[str, Any]:
        """Returns the layer as JSON has it."""
        alternatives = [asdict(one) for one in self.alternatives]
        return {"name": self.name, "is_place": self.is_place, "alternatives": alternatives, "numbers": self.numbers_N}


def layer_times(predictors: Mapping[str, LatencyPredictor], networks: Networks) -> tuple[LayerTimes, ...]:
    """Returns the layers of networks, given predictors by the latency's name, in the order of the first predictor's factors.

    Factors of one name are added up, and so are all trees. A part is left out where it takes no time in any network.
    """
    parts: dict[str, dict[str, FloatArray]] = {}
    for latency, predictor in predictors.items():
        rows_NC = _rows(predictor, networks)
        for factor in predictor.factors:
            name = TREES if factor.name.startswith(f"{TREES}: ") else factor.name
            by_latency = parts.setdefault(name, {})
            by_latency[latency] = by_latency.get(latency, 0.0) + factor.at(rows_NC, predictor.columns)
    layers = ((name, np.stack(_filled(times, predictors, len(networks)), axis=1)) for name, times in parts.items())
    scopes = _scopes(next(iter(predictors.values())).additive) if predictors else {}
    places = {factor.name for predictor in predictors.values() for factor in predictor.identity}
    return tuple(
        LayerTimes(name, name in places, *_told(name, scopes.get(name, ()), list(predictors), times_NL, networks))
        for name, times_NL in layers
        if times_NL.any()
    )


def adds_up(layers: Sequence[LayerTimes], latency: str, predicted_N: FloatArray) -> bool:
    """Returns True where the layers of every network add up to its predicted latency."""
    sums_N = np.zeros(len(predicted_N))
    for layer in layers:
        sums_N += np.array([one.latencies_ms[latency] for one in layer.alternatives])[list(layer.numbers_N)]
    return bool(layers) and bool((np.abs(sums_N - predicted_N) <= ADDS_UP * np.abs(predicted_N)).all())


def _rows(predictor: LatencyPredictor, networks: Networks) -> np.ndarray[Any, Any]:
    """Returns networks as rows of the predictor's options. A choice that networks lack has index 0: it makes no difference."""
    indices: list[dict[Option | None, int]] = [
        {option: number for number, option in enumerate(choice.options)} for choice in predictor.choices
    ]
    rows = [
        [index.get(network.get(choice.name), 0) for choice, index in zip(predictor.choices, indices, strict=True)]
        for network in networks
    ]
    return np.array(rows, dtype=np.int64).reshape(len(networks), len(predictor.choices))


def _filled(times: Mapping[str, FloatArray], latencies: Mapping[str, Any], count: int) -> list[FloatArray]:
    return [times.get(latency, np.zeros(count)) for latency in latencies]


def _scopes(factors: Sequence[Factor]) -> dict[str, tuple[str, ...]]:
    scopes: dict[str, tuple[str, ...]] = {}
    for factor in factors:
        scopes[factor.name] = tuple(dict.fromkeys((*scopes.get(factor.name, ()), *factor.scope)))
    return scopes


def _told(
    name: str, scope: Sequence[str], latencies: Sequence[str], times_NL: FloatArray, networks: Networks
) -> tuple[tuple[Alternative, ...], tuple[int, ...]]:
    """Returns the alternatives of a part, and the number of each network's; one that takes no time has no words."""
    numbers: dict[tuple[str, tuple[float, ...]], int] = {}
    words: dict[tuple[Option | None, ...], str] = {}  # thousands of networks have few operators
    numbers_N = []
    for network, times_L in zip(networks, times_NL.tolist(), strict=True):
        options = tuple(network.get(one) for one in scope)
        if options not in words:
            words[options] = _words(name, scope, network)
        said = words[options] if any(times_L) else ""
        numbers_N.append(numbers.setdefault((said, tuple(times_L)), len(numbers)))
    alternatives = tuple(Alternative(said, dict(zip(latencies, times_L, strict=True))) for said, times_L in numbers)
    return alternatives, tuple(numbers_N)


def _words(layer: str, scope: Sequence[str], network: Mapping[str, Option]) -> str:
    """Returns the options that decide a layer in words, the layer's own first, without the part of names that they share.

    >>> _words("stage1.block2", ["stage1.width", "stage1.block2.kernel"], {"stage1.width": 16, "stage1.block2.kernel": 5})
    'kernel 5, width 16'
    """
    own = [name for name in scope if name.startswith(f"{layer}.")]
    known = [name for name in (*own, *(name for name in scope if name not in own)) if name in network]
    return ", ".join(f"{_short(name, layer)} {_option(network[name])}" for name in known)


def _short(name: str, layer: str) -> str:
    """Returns a choice's name without the part that the layer's name has, too."""
    parts, own = name.split("."), layer.split(".")
    while len(parts) > 1 and own and parts[0] == own[0]:
        parts, own = parts[1:], own[1:]
    return " ".join(parts)


def _option(option: Option) -> str:
    return option if isinstance(option, str) else json.dumps(option)
