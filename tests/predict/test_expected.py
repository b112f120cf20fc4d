"""Laws of expected latency: exact over normalised architectures, whatever switches off and ties; and differentiable."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.factors import Factor
from hwnas.core.operations import tie
from hwnas.core.space import SearchSpace
from hwnas.errors import PredictorError
from hwnas.predict.expected import ExpectedLatency
from hwnas.predict.predictor import LatencyPredictor

SPACES: Mapping[str, Callable[[], SearchSpace]] = {
    "depths switch off": lambda: hwnas.space("mobilenet", resolution=16, width=0.25, squeeze_excite="choice"),
    "tied": lambda: tie(hwnas.space("mobilenet", resolution=16, width=0.25), "stage*.block1.kernel"),
    "tied and off": lambda: tie(hwnas.space("mobilenet", resolution=16, width=0.25), "stage2.*.kernel"),
    "one choice per layer": lambda: hwnas.space("fbnet", resolution=32, width=0.25),
    "one choice governs many": lambda: hwnas.space("vit"),
    "cells": lambda: hwnas.space("nasbench201", width=4, cells=1),
}


def predictor_of(space: SearchSpace, seed: int = 0) -> LatencyPredictor:
    """Any times for the layers, and one interaction of neighbouring layers."""
    rng = np.random.default_rng(seed)
    scopes = [layer.scope for layer in space.layers]
    scopes += [tuple(dict.fromkeys([*one, *other])) for one, other in pairwise(scopes[:3])]
    sizes = [[len(space.choice(name).options) for name in scope] for scope in scopes]
    factors = [Factor(str(i), scope, rng.uniform(0.1, 1, sizes[i])) for i, scope in enumerate(scopes)]
    return LatencyPredictor(
        choices=space.choices,
        additive=tuple(factors),
        interval=(1.0, 1.0),
        statistics={"p10": 1.0},
        report={},
        conditions={},
        space=space.describe(),
    )


def drawn_probabilities(space: SearchSpace, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        choice.name: torch.rand(len(choice.options), generator=generator, dtype=torch.float64).mul(4).softmax(0)
        for choice in space.choices
    }


@pytest.mark.parametrize("name", SPACES)
def test_the_expectation_of_one_hot_probabilities_is_the_prediction(name: str) -> None:
    space = SPACES[name]()
    predictor = predictor_of(space)
    expected = ExpectedLatency(predictor)
    rng = np.random.default_rng(0)
    for row in space.sample_rows(rng, 20):
        one_hot = {
            choice.name: torch.nn.functional.one_hot(torch.tensor(int(index)), len(choice.options)).double()
            for choice, index in zip(space.choices, row, strict=True)
        }
        assert float(expected.milliseconds(one_hot)) == pytest.approx(float(predictor.predict_ms(row[None])[0]))


@pytest.mark.parametrize("name", SPACES)
def test_the_expectation_is_the_mean_over_drawn_and_normalised_architectures(name: str) -> None:
    space = SPACES[name]()
    predictor, probabilities = predictor_of(space), drawn_probabilities(space, 1)
    rng = np.random.default_rng(2)
    columns = [
        rng.choice(len(each), size=100_000, p=each / each.sum()) for each in map(np.asarray, probabilities.values())
    ]
    cost_N = predictor.predict_ms(space.normalise(np.stack(columns, axis=1)))
    error = cost_N.std() / np.sqrt(len(cost_N))
    assert abs(float(ExpectedLatency(predictor).milliseconds(probabilities)) - cost_N.mean()) < 4.5 * error


@given(data=st.data(), seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_the_expectation_is_the_sum_over_all_draws_of_any_space(
    tied_spaces: st.SearchStrategy[SearchSpace], data: st.DataObject, seed: int
) -> None:
    space = data.draw(tied_spaces)
    predictor = predictor_of(space, seed)
    probabilities = drawn_probabilities(space, seed)
    sizes = [len(choice.options) for choice in space.choices]
    rows_NC = np.indices(sizes).reshape(len(sizes), -1).T
    share_N = np.ones(len(rows_NC))
    for column, values in enumerate(probabilities.values()):
        share_N *= values.numpy()[rows_NC[:, column]]
    mean_ms = float(share_N @ predictor.predict_ms(space.normalise(rows_NC)))
    assert float(ExpectedLatency(predictor).milliseconds(probabilities)) == pytest.approx(mean_ms)


@pytest.mark.parametrize(("name", "error"), [("depths switch off", 0.005), ("tied", 0.03)])
def test_ignoring_what_switches_off_or_is_tied_would_be_wrong(name: str, error: float) -> None:
    """What the laws above protect from: the plain product over a factor's own scope."""
    space = SPACES[name]()
    predictor, probabilities = predictor_of(space), drawn_probabilities(space, 1)
    plain = 0.0
    for factor in predictor.factors:
        values = torch.from_numpy(factor.values)
        for name in factor.scope:
            values = torch.tensordot(probabilities[name], values, dims=1)
        plain += float(values)
    assert abs(plain / float(ExpectedLatency(predictor).milliseconds(probabilities)) - 1) > error


@pytest.mark.parametrize("name", ["tied and off", "one choice governs many"])
def test_gradients_are_finite_differences(name: str) -> None:
    space = SPACES[name]()
    expected = ExpectedLatency(predictor_of(space))
    probabilities = drawn_probabilities(space, 3)
    names = list(probabilities)
    assert torch.autograd.gradcheck(
        lambda *values: expected.milliseconds(dict(zip(names, values, strict=True))),
        [probabilities[each].clone().requires_grad_() for each in names],
    )


@given(st.integers(0, 2**32))
@settings(max_examples=15)
def test_the_expectation_lies_between_the_fastest_and_the_slowest(seed: int) -> None:
    space = SPACES["tied"]()
    predictor = predictor_of(space, seed)
    slowest = sum(float(factor.values.max()) for factor in predictor.factors)
    fastest = sum(float(factor.values.min()) for factor in predictor.factors)
    assert fastest <= float(ExpectedLatency(predictor).milliseconds(drawn_probabilities(space, seed))) <= slowest


def test_types_do_not_disturb_one_another() -> None:
    space = SPACES["cells"]()
    expected, probabilities = ExpectedLatency(predictor_of(space)), drawn_probabilities(space, 0)
    exact = expected.milliseconds(probabilities)
    halves = expected.milliseconds({name: values.float() for name, values in probabilities.items()})
    assert halves.dtype == torch.float32 and float(halves) == pytest.approx(float(exact), rel=1e-5)
    assert torch.equal(expected.milliseconds(probabilities), exact)


def test_a_choice_that_latency_depends_on_must_be_given_in_its_length() -> None:
    space = SPACES["tied"]()
    expected, probabilities = ExpectedLatency(predictor_of(space)), drawn_probabilities(space, 0)
    tied = {name: values for name, values in probabilities.items() if not space.choice(name).tied_to}
    assert torch.equal(expected.milliseconds(tied), expected.milliseconds(probabilities))
    with pytest.raises(PredictorError, match=r"the cost depends on stage1\.depth, of which no probabilities are given"):
        expected.milliseconds({name: values for name, values in tied.items() if name != "stage1.depth"})
    with pytest.raises(PredictorError, match=r"stage1\.depth has 3 options; its probabilities have shape \(2,\)"):
        expected.milliseconds(tied | {"stage1.depth": torch.ones(2)})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SPACES)
def test_on_a_gpu_it_is_the_same(name: str) -> None:
    space = SPACES[name]()
    expected, drawn = ExpectedLatency(predictor_of(space)), drawn_probabilities(space, 1)
    found = {}
    for device in ("cpu", "cuda"):
        probabilities = {name: values.detach().to(device).requires_grad_() for name, values in drawn.items()}
        value = expected.milliseconds(probabilities)
        value.backward()
        assert value.device.type == device
        gradients = [values.grad.cpu() for values in probabilities.values() if values.grad is not None]
        found[device] = torch.cat([value.detach().cpu()[None], *gradients])
    assert found["cuda"].numpy() == pytest.approx(found["cpu"].numpy(), rel=1e-9, abs=1e-12)
