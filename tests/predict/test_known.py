"""Laws of a predictor that other devices' predictors say what to expect of."""

from dataclasses import replace

import numpy as np
import pytest

import hwnas
from hwnas.core.costs import layer_factors
from hwnas.core.factors import total
from hwnas.errors import PredictorError
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor


@pytest.fixture(scope="module")
def device(tiny_space):
    """Latencies of a device, in ms: which operators are better than they look is much the same on all devices."""
    draw = np.random.default_rng(0)
    common = {key: draw.lognormal(0, 0.3) for key in tiny_space.operators()}

    def make(seed: int):
        rng = np.random.default_rng(seed)
        per_flop, per_byte, fixed = rng.uniform(0.5, 2.0, 3)
        own = {key: factor * rng.lognormal(0, 0.03) for key, factor in common.items()}
        factors = layer_factors(
            tiny_space.layers,
            tiny_space.choices,
            lambda operator: (
                own[operator.key]
                * (fixed * 0.01 + per_flop * 2e-8 * operator.cost().flops + per_byte * 1e-7 * operator.input_bytes)
            ),
        )
        return lambda rows: total(factors, rows, tiny_space.columns)

    return make


@pytest.fixture(scope="module")
def networks_of(tiny_space):
    def make(times, count: int, seed: int, noise: float = 0.01) -> Measurements:
        rng = np.random.default_rng(seed)
        rows = tiny_space.sample_rows(rng, count)
        return Measurements(
            isolated={}, rows_NC=rows, networks_N=times(rows) * rng.lognormal(0, noise, count), repeat_noise=noise
        )

    return make


@pytest.fixture(scope="module")
def known(tiny_space, device, networks_of) -> list[LatencyPredictor]:
    return [fit(tiny_space, networks_of(device(seed), 80, seed), {"device": str(seed)}) for seed in range(5)]


def error(predictor: LatencyPredictor, space, times) -> float:
    rows = space.sample_rows(np.random.default_rng(99), 200)
    return float(np.abs(predictor.predict_ms(rows) / times(rows) - 1).mean())


def test_ten_networks_and_known_devices_beat_ten_networks(tiny_space, device, networks_of, known) -> None:
    errors = []
    for seed in (11, 12, 13):
        times = device(seed)
        few = networks_of(times, 10, seed)
        errors.append([error(fit(tiny_space, few, {}, known=others), tiny_space, times) for others in (known, ())])
    with_known, alone = np.mean(errors, axis=0)
    assert with_known < 0.8 * alone


def test_five_networks_tell_how_much_slower_a_known_device_is(tiny_space, device, networks_of, known) -> None:
    def times(rows):
        return 3.0 * device(2)(rows)

    few = networks_of(times, 5, 7, noise=0.002)
    nearest = min(known, key=lambda predictor: error(predictor, tiny_space, times))
    assert error(fit(tiny_space, few, {}, known=known), tiny_space, times) < 0.1
    assert error(nearest, tiny_space, times) > 0.3


def test_it_is_a_predictor_like_any_other(tiny_space, device, networks_of, known, tmp_path) -> None:
    predictor = fit(tiny_space, networks_of(device(11), 12, 1), {}, known=known)
    predictor.save(tmp_path / "p.json")
    rows = tiny_space.sample_rows(np.random.default_rng(99), 20)
    assert LatencyPredictor.load(tmp_path / "p.json").predict_ms(rows) == pytest.approx(predictor.predict_ms(rows))
    assert sum(predictor.breakdown_ms(rows[0]).values()) == pytest.approx(predictor.predict_ms(rows[:1])[0])
    assert predictor.report["known_devices"] == len(known)


def test_isolated_times_are_used_where_they_are_known(tiny_space, device, networks_of, known) -> None:
    times = device(11)
    few = networks_of(times, 8, 3)
    isolated = {key: 0.01 + 2e-8 * operator.cost().flops for key, operator in tiny_space.operators().items()}
    with_isolated = fit(tiny_space, replace(few, isolated=isolated), {}, known=known)
    assert error(with_isolated, tiny_space, times) < 0.1
    assert "isolated_sum" in with_isolated.report["baselines"]


def test_one_known_device_is_enough(tiny_space, device, networks_of, known) -> None:
    times = device(11)
    assert error(fit(tiny_space, networks_of(times, 10, 3), {}, known=known[:1]), tiny_space, times) < 0.1


def test_a_predictor_of_another_space_is_refused(networks_of, device, tiny_space, known) -> None:
    other = hwnas.space("conv_macro", resolution=16)
    rows = other.sample_rows(np.random.default_rng(0), 8)
    measurements = Measurements(isolated={}, rows_NC=rows, networks_N=np.linspace(1, 2, 8))
    with pytest.raises(PredictorError, match="knows nothing of"):
        fit(other, measurements, {}, known=known)


def test_four_networks_are_too_few_even_so(tiny_space, device, networks_of, known) -> None:
    with pytest.raises(PredictorError, match="a fit needs 5"):
        fit(tiny_space, networks_of(device(11), 4, 3), {}, known=known)
