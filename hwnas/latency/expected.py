"""Expected latency under probabilities of options: exact, differentiable, one gather and a few products in torch.

Shapes: K cells of all factors, A most choices of one factor.
"""

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from hwnas.core.cost import merged
from hwnas.core.expectation import over_drawn_choices
from hwnas.errors import PredictorError
from hwnas.latency.predictor import LatencyPredictor


@final
class ExpectedLatency:
    """The mean of a predictor over architectures whose choices are drawn independently, and then normalised.

    A factor's expectation is the sum of its cells, each times the probability of its options (FBNet, Wu et al. 2019,
    equation 6, is the case of one choice per factor); choices that others switch off, and choices that are tied, are taken
    into account. What a space requires of whole architectures is not.
    """

    def __init__(self, predictor: LatencyPredictor) -> None:
        by_name = {choice.name: choice for choice in predictor.choices}
        factors = merged([over_drawn_choices(factor, by_name) for factor in predictor.factors])
        self._sizes = {name: len(by_name[name].options) for factor in factors for name in factor.scope}
        starts = dict(zip(self._sizes, np.cumsum([0, *self._sizes.values()])[:-1], strict=True))
        certain = sum(self._sizes.values())  # the place of a 1, for cells of fewer choices
        most = max((len(factor.scope) for factor in factors), default=0)
        indices, values = [], []
        for factor in factors:
            cells = np.indices(factor.values.shape).reshape(len(factor.scope), factor.values.size)
            places = np.full((most, factor.values.size), certain)
            for axis, name in enumerate(factor.scope):
                places[axis] = starts[name] + cells[axis]
            indices.append(places)
            values.append(factor.values.reshape(-1))
        self._index_AK = torch.from_numpy(np.concatenate(indices, axis=1).astype(np.int64))
        self._value_K = torch.from_numpy(np.concatenate(values).astype(np.float64))
        self._like: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def milliseconds(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Expected 10th percentile, a scalar; differentiable in every probability.

        `probabilities` has a tensor (options,) for every choice that latency depends on, all of one type and device; a
        choice that is tied to another needs none. Raises PredictorError for one that is missing or of another length.
        """
        parts = [self._checked(name, probabilities) for name in self._sizes]
        if not parts:
            return self._value_K.sum()
        flat = torch.cat([*parts, parts[0].new_ones(1)])
        where = (flat.dtype, flat.device)
        if where not in self._like:
            self._like[where] = (self._index_AK.to(flat.device), self._value_K.to(flat))
        index_AK, value_K = self._like[where]
        # Products one by one: torch.prod's gradient is slow where a probability is 0.
        product_K = flat[index_AK[0]]
        for index_K in index_AK[1:]:
            product_K = product_K * flat[index_K]
        return product_K @ value_K

    def _checked(self, name: str, probabilities: Mapping[str, Tensor]) -> Tensor:
        if name not in probabilities:
            raise PredictorError(f"latency depends on {name}, of which no probabilities are given")
        found = probabilities[name]
        if found.shape != (self._sizes[name],):
            raise PredictorError(
                f"{name} has {self._sizes[name]} options; its probabilities have shape {tuple(found.shape)}"
            )
        return found
