"""Zero-cost scores: measures of a network from one batch, without training it (Abdelfattah et al. 2021).

The measures run a network in the mode that it is in: in train mode batch-norms use the batch, and their running statistics
move. Gradients that parameters hold stay unchanged. Higher measures promise better networks, so a `ProxyCost` is negated.

Shapes: N examples or architectures, C choices, D numbers of an input.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.modules.assemble import network

# The loss of outputs (N, ...) and labels (N, ...): `Task.loss`.
Loss = Callable[[Tensor, Tensor], Tensor]
# A network, inputs (N, ...) and labels (N, ...) of one batch, and the task's loss.
Measure = Callable[[nn.Module, Tensor, Tensor, Loss], float]

# Added to eigenvalues, so that an eigenvalue of 0 has a finite logarithm.
EPSILON: Final = 1e-5


def jacobian_score(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns -sum(log(e + 1e-5) + 1 / (e + 1e-5)) over the eigenvalues e of the correlations of the input gradients.

    Mellor et al. 2021, first version; `jacob_cov` in Abdelfattah et al. 2021. The score is at most about -N, where no two
    examples correlate. Labels and loss are ignored. An example with a constant gradient correlates with nothing, not even
    with itself. NaN where gradients are not finite. Raises HwnasError for inputs without a gradient.
    """
    if not x.is_floating_point():
        raise HwnasError("the proxy 'jacobian' needs the gradient of inputs, and token ids have none; use 'grad-norm'")
    inputs = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs).sum(), inputs, materialize_grads=True)
    gradient_ND = gradient.flatten(1).double()
    if not gradient_ND.isfinite().all():
        return math.nan
    centred_ND = gradient_ND - gradient_ND.mean(1, keepdim=True)
    unit_ND = F.normalize(centred_ND, eps=torch.finfo(torch.double).tiny)
    eigenvalues = torch.linalg.eigvalsh(unit_ND @ unit_ND.T).clamp_min(0) + EPSILON
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


def gradient_norm(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns the sum of the parameters' norms of the loss's gradient (Abdelfattah et al. 2021, section 3.1).

    Norm layers and biases count, too. The score is a weaker guide for a trained network than for a fresh one: gradients
    vanish where there is no more to learn.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss(network(x), labels), parameters, allow_unused=True)
    return sum(float(gradient.norm()) for gradient in gradients if gradient is not None)


MEASURES: Final[Mapping[str, Measure]] = {"jacobian": jacobian_score, "grad-norm": gradient_norm}


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProxyCost:
    """A negated measure of freshly initialised networks in train mode. Every network is built and measured once.

    `batch` holds inputs and labels, `loss` is the task's. Raises UnknownNameError for a measure that does not exist,
    HwnasError where a network's score is not finite.
    """

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
