"""Zero-cost scores as costs: measures of a network from one batch, without training it (Abdelfattah et al. 2021).

Higher measures promise better networks, so a `ProxyCost` is negated. Shapes: N architectures, C choices.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, final

import numpy as np
import torch
from torch import Tensor

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.costs.expressivity import jacobian_score, naswot, zen
from hwnas.costs.measure import Loss, Measure
from hwnas.costs.saliency import fisher, gradient_norm, grasp, snip, synflow
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.modules.assemble import network

MEASURES: Final[Mapping[str, Measure]] = {
    "jacobian": jacobian_score,
    "grad-norm": gradient_norm,
    "snip": snip,
    "grasp": grasp,
    "fisher": fisher,
    "synflow": synflow,
    "naswot": naswot,
    "zen": zen,
}


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProxyCost:
    """A negated measure of freshly initialised networks in train mode. Every network is built and measured once.

    `batch` holds inputs and labels, `loss` is the task's. Raises UnknownNameError for a measure that does not exist,
    HwnasError where a network's score is not finite.
    """

    slow: ClassVar[bool] = True  # strategies ask for few architectures

    space: SearchSpace
    name: str
    batch: tuple[Tensor, Tensor]
    loss: Loss
    seed: int = 0
    _known: dict[bytes, float] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.name not in MEASURES:
            raise UnknownNameError("zero-cost score", self.name, list(MEASURES))

    @property
    def unit(self) -> str:
        return ""

    @property
    def factors(self) -> None:
        return None

    def values(self, rows_NC: IntArray) -> FloatArray:
        """Returns the negated measure of each architecture's network; shape (N,)."""
        normal_NC = self.space.normalise(np.asarray(rows_NC, dtype=np.int64))
        for row_C in normal_NC:
            if row_C.tobytes() not in self._known:
                self._known[row_C.tobytes()] = -self._measure(row_C)
        return np.array([self._known[row_C.tobytes()] for row_C in normal_NC], dtype=np.float64)

    def upper(self, rows_NC: IntArray) -> FloatArray:
        """Returns `values`: scores have no interval."""
        return self.values(rows_NC)

    def program(self, bound: float) -> None:
        """Returns None: scores are not sums of factors."""
        return

    def _measure(self, row_C: IntArray) -> float:
        x, labels = self.batch
        arch = self.space.decode(row_C)
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):  # the caller's random state stays as it is
            torch.manual_seed(self.seed)
            score = MEASURES[self.name](network(self.space, arch).to(x.device).train(), x, labels, self.loss)
        if not math.isfinite(score):
            raise HwnasError(f"the score {self.name!r} of {arch.key} is {score}; leave {self.name!r} out")
        return score
