"""Tests of every selector on real supernets, and of each on one whose loss is known.

Shapes: N architectures, C choices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray
from hwnas.core.choice import Choice
from hwnas.core.factors import Factor, total
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.errors import BudgetError, TrainingError, UnknownNameError
from hwnas.strategies.gradient.candidates import CANDIDATES
from hwnas.strategies.gradient.selection import Selection, Selector
from hwnas.strategies.gradient.selectors import SELECTORS, selector
from hwnas.tasks.registry import load_task

SEEDS = st.integers(0, 2**32 - 1)
SPACES = {
    "nasbench201": {"resolution": 8, "width": 4, "cells": 1},
    "gpt": {"length": 4, "vocabulary": 11, "embeddings": (4, 8), "layers": (1, 2), "heads": (1, 2), "head_size": 4},
}
every_selector = pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS.keys())
every_space = pytest.mark.parametrize("name", SPACES)


def free_choices(space: SearchSpace) -> list[Choice]:
    return [choice for choice in space.choices if not choice.tied_to]


def is_on(choice: Choice, arch: Arch) -> bool:
    return not choice.when or any(all(arch[name] in options for name, options in clause) for clause in choice.when)


# ---- real supernets


def real(name: str, seed: int = 0) -> Selection:
    """Random weights, random probabilities; tuning is one step of SGD. Half of the parameters are allowed."""
    space = hwnas.space(name, **SPACES[name])
    torch.manual_seed(seed)
    supernet = hwnas.Supernet(space).train()
    rng = np.random.default_rng(seed)
    if space.vocabulary is None:
        x, labels = torch.randn(8, *space.input_shape), torch.arange(8) % space.classes
    else:
        x, labels = torch.randint(space.vocabulary, (2, 8, *space.input_shape))
    smallest, largest = (space.cost("params", arch) for arch in (space.smallest(), space.largest()))

    def loss(probabilities: Mapping[str, Tensor]) -> Tensor:
        return F.cross_entropy(supernet(x, probabilities).flatten(0, -2), labels.flatten())

    def tune(probabilities: Mapping[str, Tensor]) -> None:
        weights = list(supernet.parameters())
        gradients = torch.autograd.grad(loss(probabilities), weights, allow_unused=True)
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                weight.data -= 0.01 * gradient

    return Selection(
        space=space,
        probabilities={c.name: rng.dirichlet(np.ones(len(c.options))) for c in free_choices(space)},
        limits=[(space.cost_factors("params"), (smallest + largest) / 2)],
        supernet=supernet,
        task=load_task("classification" if space.vocabulary is None else "language"),
        validation=lambda probabilities: float(loss(probabilities).detach()),
        tune=tune,
        batch=(x, labels),
        seed=seed,
        evaluations=60,
    )


@every_selector
@every_space
def test_what_is_selected_is_within_the_limits_and_meets_the_requirements(select: Selector, name: str) -> None:
    selection = real(name)
    arch = select(selection)
    row_1C = selection.space.encode([arch])
    assert selection.space.decode(row_1C[0]) == arch
    assert selection.space.meets_requirements(row_1C).all()
    ((factors, bound),) = selection.limits
    assert total(factors, row_1C, selection.space.columns)[0] <= bound


@every_selector
@every_space
def test_the_same_selection_gives_the_same_architecture(select: Selector, name: str) -> None:
    assert select(real(name, seed=3)) == select(real(name, seed=3))


@every_selector
@every_space
def test_a_limit_that_only_the_smallest_meets_selects_that(select: Selector, name: str) -> None:
    selection = real(name)
    space, factors = selection.space, selection.space.cost_factors("params")
    least = replace(selection, limits=[(factors, space.cost("params", space.smallest()))])
    assert space.cost("params", select(least)) == space.cost("params", space.smallest())


@every_selector
def test_a_limit_that_nothing_meets_is_an_error_before_anything_is_evaluated(select: Selector) -> None:
    selection = real("nasbench201")

    def refuse(probabilities: Mapping[str, Tensor]) -> float:
        raise AssertionError

    impossible = [(selection.space.cost_factors("params"), 1.0)]
    with pytest.raises(BudgetError):
        select(replace(selection, limits=impossible, validation=refuse, tune=refuse))


@every_selector
@every_space
def test_where_the_search_has_decided_every_choice_that_is_selected(select: Selector, name: str) -> None:
    selection = real(name)
    space, rng = selection.space, np.random.default_rng(1)
    certain = {name: np.eye(len(each))[rng.integers(len(each))] for name, each in selection.probabilities.items()}
    row = [int(certain[choice.name].argmax()) for choice in space.choices]
    if not space.meets_requirements(space.normalise(np.array([row]))).all():
        raise AssertionError("another seed is needed")
    assert select(replace(selection, probabilities=certain, limits=())) == space.decode(row)


@every_selector
def test_the_random_state_of_others_is_not_used(select: Selector) -> None:
    def selected(global_seed: int) -> Arch:
        selection = real("nasbench201")
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)
        return select(selection)

    assert selected(1) == selected(2)


@pytest.mark.parametrize("name", ["zero-shot", "zero-shot-networks"])
def test_running_statistics_make_no_difference_to_a_proxy(name) -> None:
    expected = SELECTORS[name](real("nasbench201"))
    selection = real("nasbench201")
    for key, buffer in selection.supernet.named_buffers():
        if key.endswith("running_var"):
            buffer.uniform_(0.01, 100)
    selection.supernet.eval()
    assert SELECTORS[name](selection) == expected


def test_an_unknown_selector_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="unknown selector 'argmax'; known: evolution, factors, magnitude"):
        selector("argmax")
    assert selector("magnitude") is SELECTORS["magnitude"]


# ---- a supernet whose loss is known


@dataclass
class Known:
    """The loss is minus the sum of the options' gains, each times its probability; what is asked is remembered.

    As a network, the share of all gains that an architecture has is how curved it is: the more, the better proxies are.
    """

    space: SearchSpace
    gains: Mapping[str, FloatArray]
    judged: list[dict[str, Tensor]] = field(default_factory=list)
    tuned: list[dict[str, Tensor]] = field(default_factory=list)
    extracted: list[Arch] = field(default_factory=list)

    def gain(self, probabilities: Mapping[str, Tensor]) -> float:
        return sum(float(probabilities[name].double() @ torch.from_numpy(each)) for name, each in self.gains.items())

    def validation(self, probabilities: Mapping[str, Tensor]) -> float:
        self.judged.append(dict(probabilities))
        return -self.gain(probabilities)

    def gain_of(self, arch: Arch) -> float:
        return sum(
            self.gains[c.name][c.options.index(arch[c.name])] for c in free_choices(self.space) if is_on(c, arch)
        )

    def selection(self, limits: tuple = (), seed: int = 0) -> Selection:
        hadamard = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
        tokens = self.space.vocabulary is not None
        return Selection(
            space=self.space,
            probabilities={name: np.full(len(each), 1 / len(each)) for name, each in self.gains.items()},
            limits=limits,
            supernet=KnownSupernet(self),
            task=load_task("classification"),
            validation=self.validation,
            tune=lambda probabilities: self.tuned.append(dict(probabilities)),
            batch=(torch.tensor([0, 1, 2]) if tokens else hadamard, torch.tensor([0, 1, 1])),
            seed=seed,
            evaluations=60,
        )


class KnownSupernet(nn.Module):
    def __init__(self, known: Known) -> None:
        super().__init__()
        self.known = known
        self.weight = nn.Parameter(torch.zeros(2))
        self.most = sum(each.max() for each in known.gains.values())

    def forward(self, x: Tensor, probabilities: Mapping[str, Tensor]) -> Tensor:
        return self.curved(x, self.known.gain(probabilities) / self.most)

    def curved(self, x: Tensor, share: float) -> Tensor:
        if not x.is_floating_point():
            return share * self.weight.expand(len(x), 2)
        return (1 - share) * (x @ torch.tensor([1.0, 2, 3, 4])[:, None]) + share * x**2 / 2

    def uncalibrated(self, arch: Arch) -> nn.Module:
        self.known.extracted.append(arch)
        return Curved(self, self.known.gain_of(arch) / self.most)


class Curved(nn.Module):
    def __init__(self, supernet: KnownSupernet, share: float) -> None:
        super().__init__()
        self.supernet, self.share = supernet, share

    def forward(self, x: Tensor) -> Tensor:
        return self.supernet.curved(x, self.share)


def gains_of(space: SearchSpace, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Whole numbers; no two of a choice's are equal."""
    return {c.name: 1.0 + rng.permutation(30)[: len(c.options)] for c in free_choices(space)}


def costs(space: SearchSpace, rng: np.random.Generator) -> list[Factor]:
    """Whole numbers of single choices, whatever switches those off."""
    return [Factor(c.name, (c.name,), rng.integers(0, 40, len(c.options)).astype(float)) for c in space.choices]


def cube(seed: int, choices: int = 4, vocabulary: int | None = None) -> Known:
    """Choices of three options that are always on: 81 architectures."""
    options = (Choice(f"choice{number}", (0, 1, 2)) for number in range(choices))
    space = SearchSpace("cube", tuple(options), Chain(()), (4,), 4, vocabulary=vocabulary)
    return Known(space, gains_of(space, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", ["perturbation", "zero-shot-networks"])
@pytest.mark.parametrize("vocabulary", [None, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_architecture_within_a_limit_is_found(every_row, name, vocabulary, seed) -> None:
    known = cube(seed, vocabulary=vocabulary)
    rows_NC = every_row(known.space)
    limited = costs(known.space, np.random.default_rng(seed))
    sums_N = total(limited, rows_NC, known.space.columns)
    bound = float(np.quantile(sums_N, 0.3, method="nearest"))
    arch = SELECTORS[name](known.selection(limits=((limited, bound),)))
    allowed = [known.space.decode(row_C) for row_C in rows_NC[sums_N <= bound]]
    assert known.gain_of(arch) == max(map(known.gain_of, allowed)) and arch in allowed


@pytest.mark.parametrize("name", ["perturbation", "perturbation-tuned", "zero-shot", "zero-shot-networks"])
@pytest.mark.parametrize("vocabulary", [None, 3])
def test_without_limits_every_choice_has_the_option_that_matters_most(name, vocabulary) -> None:
    known = cube(7, vocabulary=vocabulary)
    arch = SELECTORS[name](known.selection())
    assert dict(arch) == {name: int(gain.argmax()) for name, gain in known.gains.items()}


@given(st.data(), SEEDS, st.floats(0, 1))
@settings(max_examples=40)
def test_each_decision_is_the_best_that_limits_and_earlier_decisions_leave(
    tied_spaces, every_row, data, seed, share
) -> None:
    space = data.draw(tied_spaces)
    rng = np.random.default_rng(seed)
    known, limited = Known(space, gains_of(space, rng)), costs(space, rng)
    rows_NC = every_row(space)
    sums_N = total(limited, rows_NC, space.columns)
    bound = float(np.quantile(sums_N, share, method="nearest"))
    arch = SELECTORS["perturbation-tuned"](known.selection(limits=((limited, bound),), seed=seed % 100))
    left = [space.decode(row_C) for row_C in rows_NC[sums_N <= bound]]
    undecided = known.selection().probabilities
    for probabilities in known.tuned:
        (name,) = (name for name in undecided if not np.allclose(probabilities[name].numpy(), undecided[name]))
        choice, gain = space.choice(name), known.gains[name]
        (option,) = probabilities[name].nonzero().flatten().tolist()
        possible = {choice.options.index(one[name]) for one in left if is_on(choice, one)}
        assert option == max(possible, key=lambda each: gain[each])
        left = [one for one in left if one[name] == choice.options[option] or not is_on(choice, one)]
        undecided = {other: each for other, each in undecided.items() if other != name}
    assert arch in left
    assert all(len(undecided[c.name]) == 1 for c in free_choices(space) if is_on(c, arch) and c.name in undecided)


def test_a_choice_takes_its_second_best_option_rather_than_be_switched_off() -> None:
    """The best option is possible only where the choice is off; the likeliest architecture has it on."""
    depth, kernel = Choice("depth", (1, 2)), Choice("kernel", (3, 5, 7), ((("depth", (2,)),),))
    space = SearchSpace("deep", (depth, kernel), Chain(()), (4,), 4)
    known = Known(space, {"depth": np.array([1.0, 2.0]), "kernel": np.array([1.0, 2.0, 3.0])})
    limited = [Factor("cost", ("kernel",), np.array([0.0, 1.0, 9.0]))]
    for seed in range(4):  # either choice first
        selection = known.selection(limits=((limited, 5.0),), seed=seed)
        selection.probabilities["depth"][:] = 0.4, 0.6
        assert dict(SELECTORS["perturbation-tuned"](selection)) == {"depth": 2, "kernel": 5}


def test_a_decision_against_the_odds_switches_nothing_off() -> None:
    """Else the second kernel would not be decided before the depth where chance has it so."""
    order = ["kernel1", "width", "kernel2", "depth"]
    deep = ((("depth", (2,)),),)
    kernels = [Choice(name, (3, 5, 7), deep) for name in ("kernel1", "kernel2")]
    space = SearchSpace("deep", (Choice("depth", (1, 2)), Choice("width", (8, 16)), *kernels), Chain(()), (4,), 4)
    known = Known(space, {c.name: 1.0 + np.arange(len(c.options)) for c in space.choices})
    names = list(known.gains)
    permutations = ((seed, np.random.default_rng(seed).permutation(4)) for seed in range(1000))
    selection = known.selection(seed=next(seed for seed, found in permutations if [names[i] for i in found] == order))
    for name, probability in {"depth": (0.45, 0.55), "width": (0.6, 0.4), "kernel1": (0.98, 0.01, 0.01)}.items():
        selection.probabilities[name][:] = probability
    assert dict(SELECTORS["perturbation-tuned"](selection)) == {"depth": 2, "width": 16, "kernel1": 7, "kernel2": 7}
    decided = [{name for name, each in step.items() if each.max() == 1} for step in known.tuned]
    assert decided == [set(order[:count]) for count in range(1, 5)]


def test_seeds_order_the_decisions() -> None:
    def decided_first(seed: int) -> str:
        known = cube(0)
        SELECTORS["perturbation-tuned"](known.selection(seed=seed))
        return next(name for name, each in known.tuned[0].items() if each.max() == 1)

    assert {decided_first(seed) for seed in range(20)} == set(cube(0).gains)


@pytest.mark.parametrize("name", ["perturbation", "perturbation-tuned"])
def test_what_has_no_alternative_is_not_judged(name) -> None:
    known = cube(0)
    single = Choice("single", ("only",))
    known.space = replace(known.space, choices=(*known.space.choices, single))
    known.gains = {**known.gains, "single": np.ones(1)}
    selection = known.selection()
    selection.probabilities["choice0"][:] = 0.0, 1.0, 0.0
    selection.probabilities["choice1"][:] = 0.5, 0.0, 0.5
    arch = SELECTORS[name](selection)
    assert len(known.judged) == 2 + 3 + 3
    assert arch["choice0"] == 1 and arch["choice1"] == 2 * known.gains["choice1"][[0, 2]].argmax()


def test_the_others_share_the_probability_of_the_option_that_is_taken_away() -> None:
    known = cube(0, choices=1)
    selection = known.selection()
    selection.probabilities["choice0"][:] = 0.5, 0.3, 0.2
    SELECTORS["perturbation"](selection)
    found = [each["choice0"].tolist() for each in known.judged]
    assert np.allclose(found, [[0, 0.6, 0.4], [5 / 7, 0, 2 / 7], [0.625, 0.375, 0]])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 1.0])
def test_candidates_are_different_and_within_limits_however_tight(share) -> None:
    known = cube(1, choices=20)
    limited = costs(known.space, np.random.default_rng(1))
    rows_NC = known.space.sample_rows(np.random.default_rng(0), 100_000)
    bound = float(np.quantile(total(limited, rows_NC, known.space.columns), share))
    SELECTORS["zero-shot-networks"](known.selection(limits=((limited, bound),)))
    found_NC = known.space.encode(known.extracted)
    assert len(np.unique(found_NC, axis=0)) == len(found_NC) == CANDIDATES + 1
    assert (total(limited, found_NC, known.space.columns) <= bound).all()


def test_where_one_architecture_is_possible_it_is_the_only_candidate() -> None:
    known = cube(1)
    limited = [Factor(choice.name, (choice.name,), np.arange(3.0)) for choice in known.space.choices]
    arch = SELECTORS["zero-shot-networks"](known.selection(limits=((limited, 0.0),)))
    assert known.extracted == [arch] and set(arch.values()) == {0}


def test_candidates_are_drawn_by_their_probabilities() -> None:
    known = cube(1, choices=30)
    selection = known.selection()
    for each in selection.probabilities.values():
        each[:] = 0.2, 0.8, 0.0
    SELECTORS["zero-shot-networks"](selection)
    drawn_NC = known.space.encode(known.extracted)[1:]
    assert not (drawn_NC == 2).any() and 0.7 < drawn_NC.mean() < 0.85


@pytest.mark.parametrize("name", ["perturbation", "perturbation-tuned"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_an_error(name, value) -> None:
    with pytest.raises(TrainingError, match="lower learning rate"):
        SELECTORS[name](replace(cube(0).selection(), validation=lambda probabilities: value))


@pytest.mark.parametrize("name", ["zero-shot", "zero-shot-networks"])
def test_a_proxy_that_is_no_number_is_an_error(name) -> None:
    selection = cube(0).selection()
    x, labels = selection.batch
    with pytest.raises(TrainingError, match="proxy is nan"):
        SELECTORS[name](replace(selection, batch=(x * torch.nan, labels)))
