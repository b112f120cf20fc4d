"""Expected latency under probabilities of options: exact, differentiable, two gathers and a few products in torch.

The choices of a factor fall into groups that are independent of each other: mostly of one choice, and larger where one
switch or tie decides several. First come the probabilities of the cells of every group, once for all factors; then those of
the factors' cells, which are products of them.

Shapes: K combinations of draws, of all groups; G cells of all groups; F cells of all factors but those of 0; A most axes.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar, final

import numpy as np
import torch
from torch import Tensor

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Choice
from hwnas.core.expectation import drawn_cells, independent_groups
from hwnas.core.factors import Factor, absorbed
from hwnas.errors import PredictorError
from hwnas.predict.measurements import LATENCY
from hwnas.predict.predictor import LatencyPredictor

_Part = TypeVar("_Part", str, tuple[str, ...])


@final
class ExpectedLatency:
    """The mean of a predictor over architectures whose choices are drawn independently, and then normalised."""

    def __init__(self, predictor: LatencyPredictor) -> None:
        self._cost = ExpectedCost(predictor.choices, predictor.require(LATENCY).factors)

    def milliseconds(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Expected 10th percentile, a scalar; differentiable in every probability.

        `probabilities` has a tensor (options,) for every choice that latency depends on, all of one type and device; a
        choice that is tied to another needs none. Raises PredictorError for one that is missing or of another length.
        """
        return self._cost(probabilities)


@final
class ExpectedCost:
    """The mean of a sum of factors over architectures whose choices are drawn independently, and then normalised.

    A factor's expectation is the sum of its cells, each times the probability of its options (FBNet, Wu et al. 2019,
    equation 6, is the case of one choice per factor); choices that others switch off, and choices that are tied, are taken
    into account. What a space requires of whole architectures is not.
    """

    def __init__(self, choices: Sequence[Choice], factors: Sequence[Factor]) -> None:
        by_name = {choice.name: choice for choice in choices}
        factors = absorbed(factors)
        scopes = [independent_groups(factor.scope, by_name) for factor in factors]
        # The last group is of no choice: its one cell is certain.
        groups = [*dict.fromkeys(group for scope in scopes for group in scope), ()]
        draws, cells = zip(*(drawn_cells(group, by_name) for group in groups), strict=True)
        self._sizes = {name: len(by_name[name].options) for names in draws for name in names}
        of_draw = _spans(self._sizes)
        of_group = _spans({group: math.prod(len(by_name[name].options) for name in group) for group in groups})
        self._certain = of_group[()].start
        draw_AK = _places([[of_draw[name] for name in names] for names in draws], sum(self._sizes.values()))
        cell_K = np.concatenate(
            [of_group[group].start + cell.reshape(-1) for group, cell in zip(groups, cells, strict=True)]
        )
        value_F = np.concatenate([_grouped(factor, scope) for factor, scope in zip(factors, scopes, strict=True)])
        group_AF = _places([[of_group[group] for group in scope] for scope in scopes], self._certain)
        self._arrays = (draw_AK, cell_K, group_AF[:, value_F != 0], value_F[value_F != 0])
        self._like: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """A scalar, in the factors' unit; as `ExpectedLatency.milliseconds`."""
        parts = [self._checked(name, probabilities) for name in self._sizes]
        one = next(iter([*parts, *probabilities.values()]), torch.ones(1, dtype=torch.float64)).new_ones(1)
        draw_AK, cell_K, group_AF, value_F = self._tensors(one)
        draw_K = _products(torch.cat([*parts, one]), draw_AK)
        group_G = one.new_zeros(self._certain + 1).index_add(0, cell_K, draw_K)
        return _products(group_G, group_AF) @ value_F

    def _tensors(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        where = (like.dtype, like.device)
        if where not in self._like:
            draw_AK, cell_K, group_AF, value_F = (torch.from_numpy(array).to(like.device) for array in self._arrays)
            self._like[where] = draw_AK, cell_K, group_AF, value_F.to(like)
        return self._like[where]

    def _checked(self, name: str, probabilities: Mapping[str, Tensor]) -> Tensor:
        if name not in probabilities:
            raise PredictorError(f"the cost depends on {name}, of which no probabilities are given")
        found = probabilities[name]
        if found.shape != (self._sizes[name],):
            raise PredictorError(
                f"{name} has {self._sizes[name]} options; its probabilities have shape {tuple(found.shape)}"
            )
        return found


def _spans(sizes: Mapping[_Part, int]) -> dict[_Part, range]:
    """Returns the range of indices of each part within the vector of all parts."""
    ends = list(accumulate(sizes.values()))
    return {name: range(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


def _places(arrays: Sequence[Sequence[range]], certain: int) -> IntArray:
    """For every cell of arrays whose axes are parts of a vector, the entries of the vector that the cell is at; (A, cells).

    `certain` is where there are no more axes.
    """
    most = max([1, *map(len, arrays)])
    places = []
    for axes in arrays:
        grids = [grid.reshape(-1) for grid in np.meshgrid(*axes, indexing="ij")]
        count = math.prod(map(len, axes))
        places.append(np.stack([*grids, *[np.full(count, certain)] * (most - len(axes))]))
    return np.concatenate(places, axis=1)


def _grouped(factor: Factor, groups: Sequence[Sequence[str]]) -> FloatArray:
    """The factor's cells in the order of its groups' axes, flat."""
    return factor.values.transpose([factor.scope.index(name) for group in groups for name in group]).reshape(-1)


def _products(vector: Tensor, places_AK: Tensor) -> Tensor:
    """The products of the entries at places; (K,). One by one: torch.prod's gradient is slow where an entry is 0."""
    result = vector.index_select(0, places_AK[0])
    for place_K in places_AK[1:]:
        result = result * vector.index_select(0, place_K)
    return result
