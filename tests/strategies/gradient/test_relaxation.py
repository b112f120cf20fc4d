"""Laws of the relaxation of a space: what is free is drawn, what is dropped is out, and state is all there is."""

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.operations import tie
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.strategies.gradient.relaxation import INITIAL_SCALE, Relaxation
from hwnas.strategies.gradient.samplers import SAMPLERS

names = st.sampled_from(sorted(SAMPLERS))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def relaxed(space: SearchSpace, name: str = "darts", seed: int = 0, scale: float = 1.0) -> Relaxation:
    """With logits that differ, of a standard deviation of `scale`."""
    relaxation = Relaxation(space, SAMPLERS[name], generator(seed))
    with torch.no_grad():
        relaxation.logits.mul_(scale / INITIAL_SCALE)
    return relaxation


def left(relaxation: Relaxation) -> Mapping[str, list[int]]:
    """The options of each choice that have a probability, of a sampler that gives all options left one."""
    return {name: p_K.nonzero().flatten().tolist() for name, p_K in relaxation.probabilities().items()}


def test_there_is_one_logit_for_every_option_that_is_free_all_nearly_equal(tiny_space: SearchSpace) -> None:
    space = tie(tiny_space, "stage2.*.kernel")
    assert {len(choice.options) > 1 for choice in space.choices} == {True, False}
    free = [choice for choice in space.choices if len(choice.options) > 1 and not choice.tied_to]
    relaxation = Relaxation(space, SAMPLERS["darts"], generator())
    assert [name for name, _ in relaxation.named_parameters()] == ["logits"]
    assert len(relaxation.logits) == sum(len(choice.options) for choice in free) == len(relaxation.alive)
    assert float(relaxation.logits.detach().std()) == pytest.approx(1e-3, rel=0.5)
    assert torch.equal(relaxation.logits, Relaxation(space, SAMPLERS["darts"], generator()).logits)


@given(data=st.data(), name=names, seed=st.integers(0, 2**32), share=st.floats(0.01, 1))
@settings(max_examples=60)
def test_of_every_choice_that_is_not_tied_options_are_drawn_and_probabilities_sum_to_one(
    tied_spaces: st.SearchStrategy[SearchSpace], data: st.DataObject, name: str, seed: int, share: float
) -> None:
    space = data.draw(tied_spaces)
    relaxation = relaxed(space, name, seed)
    sizes = {choice.name: len(choice.options) for choice in space.choices if not choice.tied_to}
    for _ in range(2):
        drawn, probabilities = relaxation.draw(1.0, generator(seed)), relaxation.probabilities()
        assert drawn.keys() == probabilities.keys() == sizes.keys()
        for each, size in sizes.items():
            assert probabilities[each].shape == (size,)
            assert float(probabilities[each].detach().sum()) == pytest.approx(1, abs=1e-5)
            assert set(drawn[each].options) <= set(range(size))
            assert float(drawn[each].weights.detach().sum()) == pytest.approx(1, abs=1e-5)
            if size == 1:
                assert drawn[each].options == (0,) and drawn[each].weights.tolist() == [1]
        relaxation.drop(share)


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_and_probabilities_are_the_samplers(name: str, tiny_space: SearchSpace) -> None:
    relaxation = relaxed(tiny_space, name)
    drawn, probabilities, source, start = (
        relaxation.draw(0.5, generator(1)),
        relaxation.probabilities(),
        generator(1),
        0,
    )
    for choice in tiny_space.choices:
        if len(choice.options) == 1:
            continue
        logits_K = relaxation.logits[start : start + len(choice.options)]
        start += len(choice.options)
        found = SAMPLERS[name].draw(logits_K, 0.5, source)
        assert drawn[choice.name].options == found.options
        assert torch.equal(drawn[choice.name].weights, found.weights)
        assert torch.equal(probabilities[choice.name], SAMPLERS[name].probabilities(logits_K))


@given(seed=st.integers(0, 2**32), shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=3))
@settings(max_examples=30)
def test_dropping_keeps_the_most_probable_rounded_up(tiny_space: SearchSpace, seed: int, shares: list[float]) -> None:
    relaxation = relaxed(tiny_space, "darts", seed)
    before = relaxation.probabilities()
    counts = {name: len(p_K) for name, p_K in before.items()}
    for share in shares:
        relaxation.drop(share)
        counts = {name: math.ceil(share * count) for name, count in counts.items()}
    for name, kept in left(relaxation).items():
        assert set(kept) == set(before[name].argsort(descending=True)[: counts[name]].tolist())


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_dropped_has_no_probability_no_gradient_and_is_never_drawn(name: str, tiny_space: SearchSpace) -> None:
    relaxation = relaxed(tiny_space, name, scale=0.1)
    relaxation.drop(0.5)
    assert not relaxation.alive.all()
    kept = left(relaxation)
    assert sum(map(len, kept.values())) == int(relaxation.alive.sum()) + 1  # and the choice of one option
    source = generator(2)
    for _ in range(20):
        drawn, probabilities = relaxation.draw(1.0, source), relaxation.probabilities()
        assert all(set(each.options) <= set(kept[choice]) for choice, each in drawn.items())
        values = [*probabilities.values(), *(each.weights for each in drawn.values())]
        slopes = [torch.rand(len(value), generator=source) for value in values]
        if name != "uniform":
            torch.autograd.backward(
                [value for value in values if value.requires_grad],
                [slope for value, slope in zip(values, slopes, strict=True) if value.requires_grad],
            )
    if name != "uniform":
        assert relaxation.logits.grad is not None
        assert (relaxation.logits.grad[~relaxation.alive] == 0).all() and relaxation.logits.grad.abs().sum() > 0


def test_entropy_is_one_where_nothing_and_zero_where_all_is_decided(tiny_space: SearchSpace) -> None:
    assert relaxed(tiny_space, scale=0.0).entropy() == pytest.approx(1)
    assert relaxed(tiny_space, scale=1e6).entropy() == pytest.approx(0)
    assert relaxed(tiny_space, "uniform").entropy() == pytest.approx(1)
    halves = relaxed(tiny_space, scale=0.0)
    halves.drop(0.6)
    assert halves.entropy() == pytest.approx(1)
    halves.drop(0.01)
    assert halves.entropy() == 0


@given(data=st.data(), name=names, seed=st.integers(0, 2**32))
def test_entropy_falls_as_logits_part(
    spaces: st.SearchStrategy[SearchSpace], data: st.DataObject, name: str, seed: int
) -> None:
    space = data.draw(spaces)
    near, far = (relaxed(space, name, seed, scale).entropy() for scale in (0.1, 1.0))
    assert -1e-6 <= far <= near + 1e-6 <= 1 + 2e-6


@pytest.mark.parametrize("name", SAMPLERS)
def test_state_is_all_there_is(name: str, tiny_space: SearchSpace) -> None:
    trained, fresh = relaxed(tiny_space, name, seed=1), relaxed(tiny_space, name, seed=2)
    trained.drop(0.5)
    assert trained.state_dict().keys() == {"logits", "alive", "tilt"}
    fresh.load_state_dict(trained.state_dict())
    for (choice, one), other in zip(
        trained.draw(1.0, generator()).items(), fresh.draw(1.0, generator()).values(), strict=True
    ):
        assert one.options == other.options and torch.equal(one.weights, other.weights)
        assert torch.equal(trained.probabilities()[choice], fresh.probabilities()[choice])


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, math.nan])
def test_a_share_is_above_zero_and_at_most_one(share: float, tiny_space: SearchSpace) -> None:
    with pytest.raises(HwnasError, match=rf"cannot keep a share of {share} of the options; give one above 0"):
        relaxed(tiny_space).drop(share)


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_relaxations_learn_but_that_of_uniform_sampling(tiny_space: SearchSpace, name: str) -> None:
    relaxation = Relaxation(tiny_space, SAMPLERS[name], torch.Generator().manual_seed(0))
    assert relaxation.learns == (name != "uniform")


def test_preferences_are_the_probabilities_before_what_a_penalty_added(tiny_space: SearchSpace) -> None:
    relaxation = relaxed(tiny_space)
    before = {name: p_K.detach().clone() for name, p_K in relaxation.probabilities().items()}
    relaxation.lean(torch.randn(len(relaxation.logits), generator=generator(3)))
    leaning, preferred = relaxation.probabilities(), relaxation.preferences()
    assert all(torch.allclose(preferred[name], p_K, atol=1e-6) for name, p_K in before.items())
    assert any(not torch.allclose(leaning[name], p_K, atol=1e-2) for name, p_K in before.items())
    again = Relaxation(tiny_space, SAMPLERS["darts"], generator(5))
    again.load_state_dict(relaxation.state_dict())
    assert all(torch.equal(p_K, preferred[name]) for name, p_K in again.preferences().items())


def test_probabilities_of_a_pair_are_those_of_its_options_renormalised(tiny_space: SearchSpace) -> None:
    relaxation = relaxed(tiny_space, "gates")
    drawn, whole = relaxation.draw(1.0, generator(1)), relaxation.probabilities()
    for name, p_K in relaxation.pair_probabilities(drawn).items():
        options = list(drawn[name].options)
        assert torch.allclose(p_K[options], whole[name][options] / whole[name][options].sum())
        assert float(p_K.detach().sum()) == pytest.approx(1)


def test_where_the_active_option_leaves_its_layer_empty_no_logit_of_the_choice_moves() -> None:
    """ProxylessNAS's Zero; a convolution that stands in for a skip is no Zero, and other samplers move all logits."""
    space = hwnas.space("proxyless", resolution=16, width=0.25)
    relaxation, source = relaxed(space, "gates"), generator(1)
    empty = 0
    for _ in range(20):
        drawn = relaxation.draw(1.0, source)
        movable_L, start = relaxation.movable(drawn), 0
        for choice in space.choices:
            pair, movable_K = drawn[choice.name].options, movable_L[start : start + len(choice.options)]
            start += len(choice.options)
            active = choice.options[pair[int(drawn[choice.name].weights.argmax())]]
            empty += active == "skip"
            assert movable_K.nonzero().flatten().tolist() == ([] if active == "skip" else list(pair))
    assert empty > 0
    assert relaxed(space, "drnas").movable(drawn).all()
