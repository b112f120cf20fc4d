"""Selectors that compare options by a loss of the supernet without them.

All end in `derive`, which holds the limits exactly.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import final

import numpy as np
from torch import Tensor, nn

from hwnas.core import optimum
from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray
from hwnas.core.condition import holds
from hwnas.core.factors import Factor
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError
from hwnas.strategies.gradient.derive import choice_factor, derive, log_scores
from hwnas.strategies.gradient.selection import Selection, finite, magnitude
from hwnas.supernet.mixture import Drawn

# The loss of a supernet under probabilities: the higher it is without an option, the more that option is worth.
Loss = Callable[[Mapping[str, Tensor | Drawn]], float]


def perturbation(selection: Selection) -> Arch:
    """Scores every option by the validation loss without it, before any choice is decided.

    DARTS-PT (Wang et al. 2021, section 4.1) without its tuning. The paper does not renormalise the other options'
    probabilities; this selector does, because a supernet mixes expectations.
    """
    return _most_important(selection, selection.validation)


def zero_shot(selection: Selection) -> Arch:
    """Scores every option by a zero-cost score of the supernet without it (Zero-Cost-PT, Xiang et al. 2021)."""
    return _most_important(selection, lambda tensors: -selection.proxy(_Mixed(selection.supernet, tensors)))


def _most_important(selection: Selection, loss: Loss) -> Arch:
    magnitude(selection)  # raises BudgetError before anything takes long
    scores = {name: _importance(selection, selection.probabilities, name, loss) for name in selection.probabilities}
    return derive(selection.space, scores, selection.limits)


def perturbation_tuned(selection: Selection) -> Arch:
    """Decides choices one by one in random order by the validation loss without an option, and tunes the weights after each
    (DARTS-PT, Wang et al. 2021, algorithm 1).

    At every moment the selector holds the likeliest architecture that agrees with the decisions made. The next choice is one
    that is on in it. The choice takes its most important option with which, and with the choice on, an architecture is
    within the limits. So choices that are off in the end were never decided, or a later decision switched them off.
    """
    space, probabilities = selection.space, dict(selection.probabilities)
    scores = log_scores(probabilities)
    names = [name for name, known in probabilities.items() if np.count_nonzero(known) > 1]
    undecided = [names[at] for at in np.random.default_rng(selection.seed).permutation(len(names))]
    deviations: list[Factor] = []
    arch = magnitude(selection)
    while (name := _first_on(space, undecided, arch)) is not None:
        importance = _importance(selection, probabilities, name, selection.validation)
        option, arch = _decided(space, scores, [*selection.limits, (deviations, 0.5)], name, importance, arch)
        chosen = np.arange(len(importance)) == option
        probabilities[name] = chosen.astype(float)
        scores[name] = np.zeros(len(importance))  # a decided choice has no more regrets
        deviations.append(choice_factor(space, name, 1.0 - chosen))
        undecided.remove(name)
        selection.tune(selection.tensors(probabilities))
    return arch


def _first_on(space: SearchSpace, names: Sequence[str], arch: Arch) -> str | None:
    """Returns the first of some choices that is on in an architecture."""
    row_1C = space.encode([arch])
    drawn = {name: row_1C[:, column] for name, column in space.columns.items()}
    return next((name for name in names if holds(space.choice(name).when, drawn, space.by_name).all()), None)


def _decided(
    space: SearchSpace,
    scores: Mapping[str, FloatArray],
    limits: Sequence[optimum.Limit],
    name: str,
    importance: FloatArray,
    arch: Arch,
) -> tuple[int, Arch]:
    """Returns the most important option that a choice can be on with, and the best architecture with that option.

    The choice is on in `arch`. One program with the importance weighted above everything else would not do: a choice that
    is off has no regrets, so the program would rather switch it off than take its second best option.
    """
    at_hand = space.choice(name).options.index(arch[name])
    ranked = np.argsort(-importance, kind="stable").tolist()
    for option in ranked[: ranked.index(at_hand)]:
        is_option = np.arange(len(ranked)) == option
        on_at_option = choice_factor(space, name, -is_option.astype(float))
        with suppress(BudgetError):
            return option, derive(space, scores, [*limits, ([on_at_option], -0.5)])
    return at_hand, arch


def _importance(selection: Selection, probabilities: Mapping[str, FloatArray], name: str, loss: Loss) -> FloatArray:
    """Returns the loss without each option of a choice, -inf for options of probability 0; shape (options,)."""
    known = np.asarray(probabilities[name], dtype=float)
    result = np.where(known > 0, 0.0, -np.inf)
    if np.count_nonzero(known) > 1:
        for option in np.flatnonzero(known):
            rest = np.where(np.arange(len(known)) == option, 0.0, known)
            without = {**probabilities, name: rest / rest.sum()}
            result[option] = finite(loss(selection.tensors(without)))
    return result


@final
class _Mixed(nn.Module):
    """A supernet under fixed probabilities, as a network of one input."""

    def __init__(self, supernet: nn.Module, probabilities: Mapping[str, Tensor | Drawn]) -> None:
        super().__init__()
        self.supernet = supernet
        self.probabilities = probabilities

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.supernet(x, self.probabilities)
        return output
