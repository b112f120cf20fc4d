"""Laws of boosted trees: they are factors, with all that factors are good for; and they are there only where they help."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pytest
import torch
import xgboost
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.factors import Factor, total
from hwnas.core.operations import keep, tie
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.predict.expected import ExpectedLatency
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.trees import (
    DEPTH,
    ENSEMBLE_SIZES,
    FEWEST_FOR_TREES,
    RegressionTrees,
    chosen_trees,
    fit_trees,
    tree_factors,
)

SPACES: Mapping[str, Callable[[], SearchSpace]] = {
    "depths switch off": lambda: hwnas.space("mobilenet", resolution=16, width=0.25, squeeze_excite="choice"),
    "tied and off": lambda: tie(hwnas.space("mobilenet", resolution=16, width=0.25), "stage2.*.kernel"),
    "one choice per layer": lambda: hwnas.space("fbnet", resolution=32, width=0.25),
    "one choice governs many": lambda: hwnas.space("vit"),
    "cells": lambda: hwnas.space("nasbench201", width=4, cells=1),
}
SEEDS = st.integers(0, 2**32 - 1)


def fitted_to_noise(space: SearchSpace, seed: int = 0, networks: int = 200, trees: int = 100) -> dict:
    """Trees that split on anything."""
    rng = np.random.default_rng(seed)
    return fit_trees(space.sample_rows(rng, networks), rng.normal(size=networks), rng.uniform(0.5, 2, networks), trees)


def their_prediction(booster: dict, rows: np.ndarray) -> np.ndarray:
    model = xgboost.Booster({"nthread": 1}, model_file=bytearray(json.dumps(booster).encode()))
    return model.predict(xgboost.DMatrix(rows.astype(np.float32), nthread=1))


def predictor_of(space: SearchSpace, seed: int = 0, trees: int = 100) -> LatencyPredictor:
    """The layers take about as long as trees add, or nothing of these would be seen."""
    layers = [
        Factor(each.name, each.scope, each.values / max(each.values.max(), 1.0)) for each in space.cost_factors("flops")
    ]
    return LatencyPredictor(
        choices=space.choices,
        additive=(*layers, *tree_factors(fitted_to_noise(space, seed, trees=trees), space.choices)),
        interval=(1.0, 1.0),
        statistics={"p10": 1.0},
        report={},
        conditions={},
        space=space.describe(),
    )


def every_draw(space: SearchSpace) -> np.ndarray:
    """Rows of every combination of options, before anything is switched off."""
    sizes = [len(choice.options) for choice in space.choices]
    return np.indices(sizes).reshape(len(sizes), -1).T


def drawn_probabilities(space: SearchSpace, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        choice.name: torch.rand(len(choice.options), generator=generator, dtype=torch.float64).mul(4).softmax(0)
        for choice in space.choices
    }


def one_hot(space: SearchSpace, row: np.ndarray) -> dict[str, torch.Tensor]:
    return {
        choice.name: torch.nn.functional.one_hot(torch.tensor(int(index)), len(choice.options)).double()
        for choice, index in zip(space.choices, row, strict=True)
    }


# ---- trees are factors


@pytest.mark.parametrize("name", SPACES)
def test_the_sum_of_the_factors_is_the_boosters_own_prediction(name: str) -> None:
    space = SPACES[name]()
    booster = fitted_to_noise(space)
    rows = space.sample_rows(np.random.default_rng(1), 2000)
    theirs = their_prediction(booster, rows)
    assert theirs.std() > 0.1
    assert total(tree_factors(booster, space.choices), rows, space.columns) == pytest.approx(theirs, abs=2e-5)


@given(st.data(), SEEDS, st.integers(1, 40))
@settings(max_examples=40)
def test_that_holds_on_every_row_of_any_space_seen_or_not(tied_spaces, data, seed: int, networks: int) -> None:
    space = data.draw(tied_spaces)
    booster = fitted_to_noise(space, seed, networks, trees=10)
    rows = every_draw(space)
    ours = total(tree_factors(booster, space.choices), rows, space.columns)
    assert ours == pytest.approx(their_prediction(booster, rows), abs=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_factors_are_small_and_none_is_within_another(name: str) -> None:
    space = SPACES[name]()
    factors = tree_factors(fitted_to_noise(space), space.choices)
    assert {len(factor.scope) for factor in factors} <= set(range(DEPTH + 1))
    for one, other in combinations(factors, 2):
        assert not set(one.scope) <= set(other.scope) and not set(other.scope) <= set(one.scope)
    for factor in factors:
        assert factor.values.shape == tuple(len(space.choice(name).options) for name in factor.scope)
        assert factor.name == f"trees: {' x '.join(factor.scope)}"


def test_no_trees_are_no_factors() -> None:
    space = SPACES["cells"]()
    assert tree_factors(fitted_to_noise(space, trees=0), space.choices) == ()


def test_the_same_inputs_give_the_same_trees() -> None:
    space = SPACES["cells"]()
    assert fitted_to_noise(space) == fitted_to_noise(space)


def test_the_unit_of_time_makes_no_difference() -> None:
    space = SPACES["cells"]()
    rng = np.random.default_rng(0)
    rows, residual, weight = space.sample_rows(rng, 200), rng.normal(size=200), rng.uniform(0.5, 2, 200)
    unit = 2.0**-20  # a power of two, so that sums stay exact
    ours, tiny = (
        total(tree_factors(fit_trees(rows, u * residual, weight / u**2, 50), space.choices), rows, space.columns)
        for u in (1.0, unit)
    )
    assert ours.std() > 0.1
    assert tiny / unit == pytest.approx(ours, rel=1e-5, abs=1e-6)


def test_heavy_networks_are_fitted_before_light_ones() -> None:
    space = SPACES["cells"]()
    rng = np.random.default_rng(0)
    rows, residual = space.sample_rows(rng, 200), rng.normal(size=200)
    weight = np.where(np.arange(200) < 100, 1.0, 100.0)
    left = np.abs(
        residual - total(tree_factors(fit_trees(rows, residual, weight, 50), space.choices), rows, space.columns)
    )
    assert left[100:].mean() < 0.8 * left[:100].mean()


def test_reading_trees_needs_no_xgboost_and_importing_loads_none(monkeypatch) -> None:
    space = SPACES["cells"]()
    booster = fitted_to_noise(space)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    assert tree_factors(booster, space.choices)
    loaded = (
        "import sys, hwnas.predict.predictor, hwnas.predict.trees, hwnas.predict.fit; print('xgboost' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "False\n"


def _leads_back(tree: dict) -> None:
    tree["left_children"][0] = 0


def _lacks_a_node(tree: dict) -> None:
    for values in tree.values():
        if isinstance(values, list) and values:
            values.pop()


def _splits_on_what_is_not_there(tree: dict) -> None:
    tree["split_indices"][0] = 99


def _is_not_finite(tree: dict) -> None:
    tree["split_conditions"][-1] = float("nan")


def _splits_before_the_first(tree: dict) -> None:
    tree["split_indices"][0] = -1


def _lacks_a_child(tree: dict) -> None:
    tree["right_children"][0] = -1


@pytest.mark.parametrize(
    "damage",
    [
        *(_leads_back, _lacks_a_node, _lacks_a_child, _splits_on_what_is_not_there, _splits_before_the_first),
        _is_not_finite,
    ],
)
def test_damaged_trees_are_a_value_error(damage) -> None:
    space = SPACES["cells"]()
    booster = fitted_to_noise(space, trees=2)
    damage(booster["learner"]["gradient_booster"]["model"]["trees"][1])
    with pytest.raises(ValueError, match=r"tree 1 is no tree over 6 choices|a tree's threshold is nan"):
        tree_factors(booster, space.choices)


# ---- what factors are good for, holds with trees


@pytest.mark.parametrize("name", SPACES)
def test_the_expectation_of_one_hot_probabilities_is_the_prediction(name: str) -> None:
    space = SPACES[name]()
    predictor = predictor_of(space)
    expected = ExpectedLatency(predictor)
    for row in space.sample_rows(np.random.default_rng(0), 10):
        found = float(expected.milliseconds(one_hot(space, row)))
        assert found == pytest.approx(float(predictor.predict_ms(row[None])[0]), rel=1e-9)


@pytest.mark.parametrize("name", SPACES)
def test_the_expectation_is_the_mean_over_drawn_and_normalised_architectures(name: str) -> None:
    space = SPACES[name]()
    predictor, probabilities = predictor_of(space), drawn_probabilities(space, 1)
    rng = np.random.default_rng(2)
    columns = [
        rng.choice(len(each), size=100_000, p=each / each.sum()) for each in map(np.asarray, probabilities.values())
    ]
    latency_ms = predictor.predict_ms(space.normalise(np.stack(columns, axis=1)))
    error = latency_ms.std() / np.sqrt(len(latency_ms))
    assert abs(float(ExpectedLatency(predictor).milliseconds(probabilities)) - latency_ms.mean()) < 4.5 * error


@given(st.data(), SEEDS)
@settings(max_examples=40)
def test_the_expectation_is_the_sum_over_all_draws_of_any_space(tied_spaces, data, seed: int) -> None:
    space = data.draw(tied_spaces)
    predictor, probabilities = predictor_of(space, seed, trees=10), drawn_probabilities(space, seed)
    rows = every_draw(space)
    share = np.ones(len(rows))
    for column, values in enumerate(probabilities.values()):
        share *= values.numpy()[rows[:, column]]
    mean_ms = float(share @ predictor.predict_ms(space.normalise(rows)))
    assert float(ExpectedLatency(predictor).milliseconds(probabilities)) == pytest.approx(mean_ms, rel=1e-9)


@pytest.mark.parametrize("at", ["inside", "a corner"])
@pytest.mark.parametrize("name", ["tied and off", "cells"])
def test_gradients_are_finite_differences_also_where_options_are_certain(name: str, at: str) -> None:
    space = SPACES[name]()
    expected = ExpectedLatency(predictor_of(space))
    corner = one_hot(space, space.sample_rows(np.random.default_rng(0), 1)[0])
    probabilities = drawn_probabilities(space, 3) if at == "inside" else corner
    names = list(probabilities)
    assert torch.autograd.gradcheck(
        lambda *values: expected.milliseconds(dict(zip(names, values, strict=True))),
        [probabilities[each].clone().requires_grad_() for each in names],
    )


@given(st.data(), SEEDS)
@settings(max_examples=20)
def test_the_exact_minimum_is_that_of_enumeration(tied_spaces, data, seed: int) -> None:
    space = data.draw(tied_spaces)
    factors = tree_factors(fitted_to_noise(space, seed, trees=10), space.choices)
    least = total(factors, space.normalise(every_draw(space)), space.columns).min()
    best = space.encode([minimise(space.choices, factors)])
    assert total(factors, best, space.columns)[0] == pytest.approx(least, abs=1e-6)


@given(st.data(), SEEDS)
@settings(max_examples=40)
def test_predictions_are_the_same_in_any_space_of_which_options_are_left_out(tied_spaces, data, seed: int) -> None:
    space = data.draw(tied_spaces)
    choice = data.draw(st.sampled_from([each for each in space.choices if not each.tied_to]))
    kept = data.draw(st.lists(st.sampled_from(choice.options), min_size=1, unique=True))
    try:
        smaller = keep(space, choice.name, kept)
    except SpaceError:
        reject()
    predictor = predictor_of(space, seed, trees=10)
    rows = smaller.sample_rows(np.random.default_rng(seed), 20)
    parents = space.encode([space.arch(smaller.decode(row)) for row in rows])
    assert predictor.for_space(smaller).predict_ms(rows) == pytest.approx(predictor.predict_ms(parents), rel=1e-9)


# ---- trees must prove themselves


def networks_with(interaction: float, networks: int, noise: float = 0.01, seed: int = 0):
    """(rows, residual, predicted): what an additive model leaves over where two choices interact."""
    space = SPACES["depths switch off"]()
    rng = np.random.default_rng(seed)
    rows, predicted_ms = space.sample_rows(rng, networks), rng.uniform(0.1, 1, networks)
    one, other = (rows[:, space.columns[f"stage{number}.block1.kernel"]] == 2 for number in (1, 3))
    relative = interaction * (one - 1 / 3) * (other - 1 / 3) + rng.normal(0, noise, networks)
    return rows, predicted_ms * relative, predicted_ms


@pytest.mark.parametrize("networks", [FEWEST_FOR_TREES, 300])
def test_noise_gets_no_trees(networks: int) -> None:
    switched_on = [chosen_trees(*networks_with(0.0, networks, seed=seed))[0] > 0 for seed in range(8)]
    assert sum(switched_on) <= 1


@pytest.mark.parametrize("networks", [200, 400])
def test_a_strong_interaction_gets_trees_and_loses_error_on_networks_they_never_saw(networks: int) -> None:
    rows, residual_ms, predicted_ms = networks_with(0.3, networks)
    trees, added_ms = chosen_trees(rows, residual_ms, predicted_ms)
    assert trees in ENSEMBLE_SIZES
    left = np.abs(residual_ms - added_ms) / predicted_ms
    assert left.mean() < 0.8 * (np.abs(residual_ms) / predicted_ms).mean()
    new_rows, new_residual_ms, new_predicted_ms = networks_with(0.3, 500, seed=1)
    choices = SPACES["depths switch off"]().choices
    columns = {choice.name: column for column, choice in enumerate(choices)}
    factors = tree_factors(fit_trees(rows, residual_ms, predicted_ms**-2, trees), choices)
    left_of_new = np.abs(new_residual_ms - total(factors, new_rows, columns)) / new_predicted_ms
    # So an error by cross-validation is one to believe.
    assert left_of_new.mean() == pytest.approx(left.mean(), rel=0.15)


def test_without_trees_nothing_is_added() -> None:
    trees, added_ms = chosen_trees(*networks_with(0.0, 100))
    assert trees == 0 and added_ms.tolist() == [0.0] * 100


def test_few_networks_get_no_trees_whatever_they_show() -> None:
    rows, _, predicted_ms = networks_with(0.0, FEWEST_FOR_TREES)
    residual_ms = 0.1 * predicted_ms * np.where(rows[:, 0] > 0, 1, -1)
    assert chosen_trees(rows, residual_ms, predicted_ms)[0] > 0
    assert chosen_trees(rows[1:], residual_ms[1:], predicted_ms[1:])[0] == 0


def test_what_is_added_to_a_network_does_not_depend_on_its_own_measurement(monkeypatch) -> None:
    monkeypatch.setattr("hwnas.predict.trees.ENSEMBLE_SIZES", (50,))  # the number of trees does depend on it
    rows, residual_ms, predicted_ms = networks_with(0.3, 200)
    _, added_ms = chosen_trees(rows, residual_ms, predicted_ms)
    for n in (0, 50, 199):
        other = residual_ms.copy()
        other[n] += 0.02 * predicted_ms[n]
        _, other_added_ms = chosen_trees(rows, other, predicted_ms)
        assert other_added_ms[n] == added_ms[n]
        assert not np.array_equal(other_added_ms, added_ms)


def test_the_choice_is_the_same_every_time() -> None:
    one, other = (chosen_trees(*networks_with(0.3, 100)) for _ in range(2))
    assert one[0] == other[0] and np.array_equal(one[1], other[1])


# ---- trees by themselves


def regression(unit: float = 1.0, networks: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, F) of 0 and 1, and a target with an interaction."""
    features = np.random.default_rng(0).integers(0, 2, (networks, 8)).astype(float)
    return features, unit * (5 + features @ np.arange(8) + 6 * features[:, 0] * features[:, 1])


@pytest.mark.parametrize("unit", [2.0**-20, 1.0, 2.0**20])
def test_trees_predict_networks_that_they_were_not_fitted_to_in_any_unit(unit: float) -> None:
    features, target = regression(unit)
    predicted = RegressionTrees.fit(features[:200], target[:200], 0).predict(features[200:])
    assert np.corrcoef(predicted, target[200:])[0, 1] > 0.97
    assert np.abs(predicted - target[200:]).mean() < 2 * unit


def test_shap_values_sum_to_predictions_and_interactions_to_shap_values() -> None:
    features, target = regression()
    trees = RegressionTrees.fit(features, target, 0)
    contributions, interactions = trees.contributions(features), trees.interactions(features)
    assert np.ptp(contributions.sum(axis=1) - trees.predict(features) / target.std()) < 1e-4
    assert interactions.sum(axis=2) == pytest.approx(contributions, abs=1e-4)
    both = np.abs(interactions).mean(axis=0)
    np.fill_diagonal(both, 0)
    assert np.unravel_index(both.argmax(), both.shape) in [(0, 1), (1, 0)]


def test_equal_targets_are_predicted_and_few_networks_are_enough() -> None:
    features, _ = regression()
    assert RegressionTrees.fit(features, np.full(300, 7.0), 0).predict(features) == pytest.approx(7)
    assert np.isfinite(RegressionTrees.fit(features[:1], np.array([3.0]), 0).predict(features)).all()


def test_the_seed_decides_the_trees() -> None:
    features, target = regression()
    first, again, other = (RegressionTrees.fit(features, target, seed).predict(features) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
