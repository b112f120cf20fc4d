"""Pruning of a space's options by SHAP values: GBDT-NAS-3S (Luo et al. 2020).

An option is pruned where SHAP values say that it harms. The paper has one objective. With several, an option must harm in
all of them: an option that makes networks worse and faster is part of the front.

Shapes: N architectures, C choices, F one-hot features (one per option of every choice), D objectives.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Final, final

import numpy as np

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.predict.trees import RegressionTrees

# The share of all options that one round prunes at most: 20 of ProxylessNAS's 147 in the paper.
SHARE: Final = 20 / 147
# The number of architectures, evenly spaced among the evaluated ones, whose interactions are averaged. The paper averages
# all; TreeSHAP takes a hundredth of a second and more for the interactions of one.
MOST_EXPLAINED: Final = 100

# From trees (one per objective), features (N, F) and the options that are left (F,) to features to prune, in order.
Order = Callable[[Sequence[RegressionTrees], FloatArray, "Kept"], Iterator[int]]


@final
@dataclass(frozen=True, eq=False)
class Kept:
    """The options of a space that are not pruned; `kept_F` is True for these."""

    space: SearchSpace
    kept_F: BoolArray

    @classmethod
    def all_of(cls, space: SearchSpace) -> "Kept":
        """Returns a space without pruned options."""
        return cls(space, np.full(sum(len(choice.options) for choice in space.choices), True))

    @property
    def by_choice(self) -> list[BoolArray]:
        """The kept options of each choice."""
        sizes = [len(choice.options) for choice in self.space.choices]
        return np.split(self.kept_F, np.cumsum(sizes)[:-1])

    def allows(self, rows_NC: IntArray) -> BoolArray:
        """Returns True for architectures without a pruned option; shape (N,)."""
        allowed_CN = [kept[rows_NC[:, column]] for column, kept in enumerate(self.by_choice)]
        return np.asarray(np.all(allowed_CN, axis=0))

    def redrawn(self, rows_NC: IntArray, rng: np.random.Generator) -> IntArray:
        """Returns normalised rows in which kept options, drawn at random, stand for pruned ones; shape (N, C)."""
        rows_NC = rows_NC.copy()
        for column, kept in enumerate(self.by_choice):
            pruned_N = ~kept[rows_NC[:, column]]
            rows_NC[pruned_N, column] = rng.choice(np.flatnonzero(kept), np.count_nonzero(pruned_N))
        return self.space.normalise(rows_NC)

    def without(self, feature: int) -> "Kept":
        """Returns the options without one, or all of them where this option cannot be pruned.

        The last option of a choice is never pruned; nor are options of tied choices, nor the first option of a choice that
        others switch off, which also stands for the choice being off.
        """
        starts = np.cumsum([0, *(len(choice.options) for choice in self.space.choices)])
        column = int(np.searchsorted(starts, feature, side="right")) - 1
        choice, first = self.space.choices[column], feature == starts[column]
        if choice.tied_to or (choice.when and first) or np.count_nonzero(self.by_choice[column]) == 1:
            return self
        kept_F = self.kept_F.copy()
        kept_F[feature] = False
        return Kept(self.space, kept_F)


def pruned(order: Order, trees: Sequence[RegressionTrees], features_NF: FloatArray, kept: Kept) -> Kept:
    """Returns the options that a round of pruning leaves; at most a share of 20 / 147 of all options goes."""
    fewest = np.count_nonzero(kept.kept_F) - ceil(SHARE * len(kept.kept_F))
    for feature in order(trees, features_NF, kept):
        kept = kept.without(feature)
        if np.count_nonzero(kept.kept_F) <= fewest:
            break
    return kept


def first_order(trees: Sequence[RegressionTrees], features_NF: FloatArray, kept: Kept) -> Iterator[int]:
    """Yields the options of positive mean SHAP value among the architectures that have them, the greatest first.

    Targets are minimised, so a positive value harms. With several objectives, the least of the means counts.
    """
    count_F = np.maximum(features_NF.sum(axis=0), 1)
    mean_DF = [(tree.contributions(features_NF) * features_NF).sum(axis=0) / count_F for tree in trees]
    harm_F = np.where(kept.kept_F, np.min(mean_DF, axis=0), -np.inf)
    yield from (int(feature) for feature in np.argsort(-harm_F, kind="stable") if harm_F[feature] > 0)


def second_order(trees: Sequence[RegressionTrees], features_NF: FloatArray, kept: Kept) -> Iterator[int]:
    """Yields options by the mean SHAP interaction values of pairs, the pair of the most harmful quadrant first.

    A pair's quadrants are the architectures that have both options, one of them, or neither. Where having both harms, both
    go; else where having one without the other harms, that one goes. Where one of the pair went before, the other goes
    if having both harms. That is the order of the published code.
    """
    count = min(len(features_NF), MOST_EXPLAINED)
    features_NF = features_NF[np.linspace(0, len(features_NF) - 1, count).astype(np.int64)]
    both_FF, alone_FF, neither_FF = _quadrants(trees, features_NF)
    worst_FF = np.max([both_FF, alone_FF, alone_FF.T, neither_FF], axis=0)
    gone = set(np.flatnonzero(~kept.kept_F).tolist())
    for one, other in sorted(combinations(range(len(kept.kept_F)), 2), key=lambda pair: -worst_FF[pair]):
        harmful = _harmful(one, other, both_FF, alone_FF, bool(gone & {one, other}))
        for feature in harmful:
            if feature not in gone:
                gone.add(feature)
                yield feature


def _harmful(one: int, other: int, both_FF: FloatArray, alone_FF: FloatArray, either_gone: bool) -> tuple[int, ...]:
    """Returns the options of a pair that its quadrants speak against."""
    if both_FF[one, other] > 0:
        return one, other
    if either_gone:
        return ()
    if alone_FF[one, other] > 0:
        return (one,)
    return (other,) if alone_FF[other, one] > 0 else ()


def _quadrants(trees: Sequence[RegressionTrees], features_NF: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns mean interactions of architectures with both options, the first alone, and neither; shape (F, F) each.

    With several objectives, the least of the means counts. The mean over no architectures is 0.
    """
    present_NF, absent_NF = features_NF, 1 - features_NF
    means: list[list[FloatArray]] = [[], [], []]
    for tree in trees:
        interactions_NFF = tree.interactions(features_NF)
        for mean, (first_NF, second_NF) in zip(
            means, ((present_NF, present_NF), (present_NF, absent_NF), (absent_NF, absent_NF)), strict=True
        ):
            sum_FF = np.einsum("nf,nfg,ng->fg", first_NF, interactions_NFF, second_NF, optimize=True)
            mean.append(sum_FF / np.maximum(first_NF.T @ second_NF, 1))
    both, alone, neither = (np.min(mean, axis=0) for mean in means)
    return both, alone, neither


# The orders of `--prune`.
ORDERS: Final[Mapping[str, Order]] = {"first-order": first_order, "second-order": second_order}
