"""Measurements of a device whose truth is known: an additive one, unlike the sum of isolated operators."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hwnas.core.costs import layer_factors
from hwnas.core.factors import total
from hwnas.core.space import SearchSpace
from hwnas.operators.conv import MBConv
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor

INTERCEPT_MS = 0.03
# What a thing costs in context, relative to its isolated time: shared wherever it stands.
KERNEL = {3: 0.9, 5: 1.1, 7: 1.3}
EXPANSION = {3: 1.0, 4: 0.95, 6: 0.8}
STAGE = {"stage1": 1.2, "stage2": 1.0, "stage3": 0.85, "stage4": 0.7}


@pytest.fixture(scope="session")
def isolated(tiny_space: SearchSpace) -> dict[str, float]:
    """Times that grow with FLOPs, times what is each operator's own."""
    rng = np.random.default_rng(3)
    return {
        key: (0.004 + 2e-8 * operator.cost().flops) * rng.uniform(0.8, 1.25)
        for key, operator in tiny_space.operators().items()
    }


@pytest.fixture(scope="session")
def true_ms(tiny_space: SearchSpace, isolated: dict[str, float]) -> Callable[[np.ndarray], np.ndarray]:
    """The noise-free latency of rows."""

    def times(rows: np.ndarray) -> np.ndarray:
        result = np.full(len(rows), INTERCEPT_MS)
        for n, row in enumerate(rows):
            arch = tiny_space.decode(row)
            for layer in tiny_space.layers:
                operator = layer.operator(arch)
                if operator is None:
                    continue
                context = STAGE.get(layer.name.partition(".")[0], 1.0)
                if isinstance(operator, MBConv):
                    context *= KERNEL[operator.kernel] * EXPANSION[operator.expansion]
                result[n] += context * isolated[operator.key]
        return result

    return times


@pytest.fixture(scope="session")
def measured(tiny_space: SearchSpace, isolated, true_ms) -> Callable[..., Measurements]:
    """Measurements of so many networks with so much relative noise."""

    def measure(networks: int, noise: float, seed: int = 5) -> Measurements:
        rng = np.random.default_rng(seed)
        rows = tiny_space.sample_rows(rng, networks)
        latency_ms = true_ms(rows) * rng.lognormal(0, noise, networks)
        return Measurements(
            isolated=isolated,
            rows_NC=rows,
            networks_N=latency_ms,
            other={"median": 1.05 * latency_ms, "p90": 1.2 * latency_ms},
            repeat_noise=noise,
            reference=0.5,
        )

    return measure


@pytest.fixture(scope="session")
def predictor(tiny_space: SearchSpace, measured) -> LatencyPredictor:
    return fit(tiny_space, measured(60, 0.01), {"device": "a device", "threads": 1})


@pytest.fixture(scope="session")
def interacting(tiny_space: SearchSpace, measured) -> Callable[[int], Measurements]:
    """Measurements of so many networks, where kernels in stages that do not meet cost together what no sum can be."""

    def measure(networks: int) -> Measurements:
        measurements = measured(networks, 0.01)
        one, other = (
            measurements.rows_NC[:, tiny_space.columns[f"stage{number}.block1.kernel"]] == 2 for number in (1, 3)
        )
        return replace(measurements, networks_N=measurements.networks_N * np.where(one & other, 1.3, 1.0))

    return measure


@pytest.fixture(scope="session")
def predictor_with_trees(tiny_space: SearchSpace, interacting) -> LatencyPredictor:
    return fit(tiny_space, interacting(200), {"device": "a device", "threads": 1})


@pytest.fixture(scope="session")
def isolated_sum_ms(tiny_space: SearchSpace, isolated) -> Callable[[np.ndarray], np.ndarray]:
    factors = layer_factors(tiny_space.layers, tiny_space.choices, lambda operator: isolated[operator.key])
    return lambda rows: total(factors, rows, tiny_space.columns)
