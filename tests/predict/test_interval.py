"""Laws of intervals: they cover what they are meant to, coverage is counted honestly, a few disturbances move no end far."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.predict.interval import Scale, coverage_across_folds, cross_validation_interval, upper_ends
from hwnas.predict.measurements import NORMAL_95, Measurements
from hwnas.predict.report import folds

RATIOS = st.lists(st.floats(0.01, 100), min_size=2, max_size=50).map(np.array)


def plain(count: int, session: float = 0.0) -> Scale:
    """Errors as they are."""
    return Scale(networks_N=np.ones(count), session=session)


@given(RATIOS, st.floats(0.5, 0.99))
def test_without_sessions_an_interval_contains_the_prediction_and_ends_at_what_was_seen(ratio_N, coverage) -> None:
    low, high = cross_validation_interval(ratio_N, plain(len(ratio_N)), coverage)
    assert low <= 1.0 <= high
    for end in (low, high):
        assert np.isclose(end, [1.0, *ratio_N], rtol=1e-9).any()


@pytest.mark.parametrize("count", [19, 39, 60, 100])
def test_an_interval_covers_what_it_is_meant_to_on_average(count) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(3_000):
        low, high = cross_validation_interval(rng.uniform(0.5, 1.5, count), plain(count), 0.9)
        covered.append(high - low)  # the share of the uniform distribution it was drawn from
    assert np.mean(covered) >= 0.9 - 3 * np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) < 0.96


@given(RATIOS, st.floats(0, 0.1), st.floats(0, 0.1))
def test_the_more_sessions_differ_the_wider_is_the_interval(ratio_N, less, more) -> None:
    narrow, wide = (
        cross_validation_interval(ratio_N, plain(len(ratio_N), session)) for session in sorted((less, more))
    )
    assert wide[0] <= narrow[0] <= 1 <= narrow[1] <= wide[1]


def test_a_perfect_predictor_has_the_interval_of_two_sessions() -> None:
    low, high = cross_validation_interval(np.ones(30), plain(30, session=0.02))
    assert (low, high) == pytest.approx((np.exp(-NORMAL_95 * 0.02), np.exp(NORMAL_95 * 0.02)))


def test_half_widths_add_up_in_quadrature() -> None:
    ratio_N = np.exp(np.linspace(-0.04, 0.04, 101))
    _, within = cross_validation_interval(ratio_N, plain(101))
    _, across = cross_validation_interval(ratio_N, plain(101, session=0.01))
    assert np.log(across) ** 2 == pytest.approx(np.log(within) ** 2 + (NORMAL_95 * 0.01) ** 2)


def test_intervals_cover_networks_in_another_session() -> None:
    rng = np.random.default_rng(1)
    covered = {0.0: [], 0.02: []}
    for _ in range(400):
        ratio_N, another_N = rng.lognormal(0, 0.02, 60), rng.lognormal(rng.normal(0, 0.02), 0.02, 60)
        for session, shares in covered.items():
            low, high = cross_validation_interval(ratio_N, plain(60, session))
            shares.append(np.mean((low <= another_N) & (another_N <= high)))
    assert np.mean(covered[0.0]) < 0.82
    assert 0.88 < np.mean(covered[0.02]) < 0.95


def test_the_interval_is_for_networks_that_the_predictor_is_uncertain_about() -> None:
    """Half of the networks have twice the error of the others, and the predictor knows which."""
    rng = np.random.default_rng(2)
    uncertainty_N = np.tile([0.01, 0.02], 100)
    ratio_N, others_N = np.exp(rng.normal(0, uncertainty_N)), np.exp(rng.normal(0, 0.02, 20_000))
    before = cross_validation_interval(ratio_N, plain(200))
    after = cross_validation_interval(ratio_N, Scale.of_uncertainty(uncertainty_N, 0.0))
    inside = [np.mean((low <= others_N) & (others_N <= high)) for low, high in (before, after)]
    assert inside[0] < 0.87
    assert inside[1] == pytest.approx(0.9, abs=0.03)


# ---- further statistics


def measurements(p90_N: np.ndarray, p10_N: np.ndarray) -> Measurements:
    return Measurements(
        isolated={}, rows_NC=np.zeros((len(p10_N), 1), dtype=int), networks_N=p10_N, other={"p90": p90_N}
    )


def test_nineteen_in_twenty_stay_below_the_end_of_their_own_statistic() -> None:
    rng = np.random.default_rng(3)
    kept = []
    for _ in range(200):
        p10_N = rng.lognormal(0, 0.01, 120)
        p90_N = p10_N * (1 + rng.exponential(0.03, 120))
        ends = upper_ends(measurements(p90_N[:60], p10_N[:60]), np.ones(60), plain(60))
        kept.append(np.mean(p90_N[60:] <= ends["p90"]))
    assert np.mean(kept) == pytest.approx(0.95, abs=0.02)


def test_a_few_disturbed_networks_do_not_move_the_end_of_p90_far() -> None:
    rng = np.random.default_rng(4)
    p10_N = rng.lognormal(0, 0.005, 62)
    p90_N = 1.02 * p10_N * rng.lognormal(0, 0.005, 62)
    quiet = upper_ends(measurements(p90_N, p10_N), np.ones(62), plain(62))
    disturbed_N = np.where(np.arange(62) < 5, 1.4 * p90_N, p90_N)
    disturbed = upper_ends(measurements(disturbed_N, p10_N), np.ones(62), plain(62))
    assert quiet["p90"] < disturbed["p90"] < 1.03 * quiet["p90"]
    assert disturbed["p10"] == quiet["p10"]


@given(st.integers(2, 60), st.floats(0, 0.05), st.integers(0, 2**32 - 1))
def test_no_statistic_ends_below_the_predicted_one(count, session, seed) -> None:
    rng = np.random.default_rng(seed)
    p10_N = rng.lognormal(0, 0.1, count)
    ends = upper_ends(measurements(p10_N, p10_N), rng.lognormal(0, 0.1, count), plain(count, session))
    assert 1 <= ends["p10"] <= ends["p90"]


# ---- coverage


def test_coverage_is_of_intervals_that_never_saw_the_network() -> None:
    ratio_N = np.ones(40)
    train, rest = folds(40)[0]
    ratio_N[train] = np.linspace(0.9, 1.1, len(train))
    ratio_N[rest] = 2.0  # a whole fold far outside what the others tell
    assert coverage_across_folds(ratio_N, plain(40), folds(40)) <= 1 - len(rest) / 40


@given(RATIOS, st.floats(0.5, 0.99))
def test_coverage_is_a_share(ratio_N, coverage) -> None:
    count = len(ratio_N)
    found = coverage_across_folds(ratio_N, plain(count), folds(count), coverage)
    assert 0.0 <= found <= 1.0
    assert (found * count) == pytest.approx(round(found * count))


def test_coverage_is_what_is_meant_on_average() -> None:
    rng = np.random.default_rng(0)
    covered = [coverage_across_folds(rng.lognormal(0, 0.1, 60), plain(60), folds(60)) for _ in range(300)]
    assert np.mean(covered) >= 0.9 - 3 * np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) < 0.96
