"""Zero-cost scores by how differently a network answers different inputs: jacobian, NASWOT, Zen.

Shapes: N examples, D numbers of an input, U rectified units.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from hwnas.costs.measure import EPSILON, WEIGHTED, Loss, require_floating
from hwnas.errors import HwnasError

RELUS: Final = (
    torch.ops.aten.relu.default,
    torch.ops.aten.relu_.default,
    torch.ops.aten.hardtanh.default,  # ReLU6
    torch.ops.aten.hardtanh_.default,
)
# The size of a perturbation, relative to inputs of variance 1 (Lin et al. 2021, algorithm 1).
ZEN_ALPHA: Final = 0.01
# Draws of weights and inputs that Zen is the mean of; its code takes 32.
ZEN_DRAWS: Final = 4


def jacobian_score(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns -sum(log(e + 1e-5) + 1 / (e + 1e-5)) over the eigenvalues e of the correlations of the input gradients.

    Mellor et al. 2021, first version; `jacob_cov` in Abdelfattah et al. 2021. The score is at most about -N, where no two
    examples correlate. Labels and loss are ignored. An example with a constant gradient correlates with nothing, not even
    with itself. NaN where gradients are not finite. Raises HwnasError for inputs without a gradient.
    """
    require_floating("jacobian", x, "the gradient of inputs")
    inputs = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs).sum(), inputs, materialize_grads=True)
    gradient_ND = gradient.flatten(1).double()
    if not gradient_ND.isfinite().all():
        return math.nan
    centred_ND = gradient_ND - gradient_ND.mean(1, keepdim=True)
    unit_ND = F.normalize(centred_ND, eps=torch.finfo(torch.double).tiny)
    eigenvalues = torch.linalg.eigvalsh(unit_ND @ unit_ND.T).clamp_min(0) + EPSILON
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


def naswot(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns the log-determinant of the kernel (N, N) of the ReLUs' binary codes (NASWOT, Mellor et al. 2021, equation 2).

    The code of an example says which of the U ReLUs are active, and the kernel counts the ReLUs on which two examples agree:
    U minus their Hamming distance. 1e-5 is added to the eigenvalues, so that examples with equal codes have a finite score.
    Labels and loss are ignored. Raises HwnasError for a network without ReLUs.
    """
    with torch.no_grad(), _ReluCodes() as codes:
        network(x)
    if not codes.kept:
        raise HwnasError("the score 'naswot' needs ReLUs, and the network has none; use 'jacobian' or 'grad-norm'")
    kernel_NN = torch.stack([_agreements(active_NU) for active_NU in codes.kept]).sum(0)
    return float((torch.linalg.eigvalsh(kernel_NN).clamp_min(0) + EPSILON).log().sum())


def _agreements(active_NU: Tensor) -> Tensor:
    """Returns the number of units that are both active, or both inactive, for every two examples; shape (N, N)."""
    code_NU = active_NU.float()  # exact: counts are below 2^24
    both_NN = (code_NU @ code_NU.T).double()
    count_N = both_NN.diagonal()
    return active_NU.shape[1] - count_N[:, None] - count_N + 2 * both_NN


@final
class _ReluCodes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps, for every ReLU that runs, which of its units are active: a tensor (N, units) of booleans each."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in RELUS:
            self.kept.append((output > 0).flatten(1))
        return output


def zen(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns log(mean(|f(x) - f(x + 0.01 e)|)) + sum(log(s)) over batch-norms (Zen, Lin et al. 2021, algorithm 1).

    Inputs x, noise e and the weights of a copy of the network are standard normal draws from torch's random state; of the
    given batch only the shape counts. The features f are the output of the last batch-norm that runs, in train mode; s^2 is
    the mean over channels of the variance that a batch-norm divides by. The score is the mean of 4 draws. Shortcuts stay, which
    the paper removes. Raises HwnasError for token ids, and for a network without batch-norms.
    """
    require_floating("zen", x, "normal inputs")
    model = copy.deepcopy(network).train()
    with torch.no_grad(), _batch_norms(model) as runs:
        scores = [_zen_of_a_draw(model, x, runs) for _ in range(ZEN_DRAWS)]
    return sum(scores) / len(scores)


def _zen_of_a_draw(model: nn.Module, x: Tensor, runs: list[tuple[float, Tensor]]) -> float:
    for module in model.modules():
        if isinstance(module, WEIGHTED):
            nn.init.normal_(module.get_parameter("weight"))
            if module.bias is not None:
                nn.init.zeros_(module.get_parameter("bias"))
        elif isinstance(module, _BatchNorm):
            module.reset_parameters()
    inputs, noise = torch.randn_like(x), torch.randn_like(x)
    runs.clear()
    model(inputs)
    if not runs:
        raise HwnasError("the score 'zen' needs batch-norms, and the network has none; use 'snip' or 'grad-norm'")
    log_deviations, (_, features) = sum(log_deviation for log_deviation, _ in runs), runs[-1]
    runs.clear()
    model(inputs + ZEN_ALPHA * noise)
    change = (runs[-1][1] - features).flatten(1).norm(dim=1).mean()
    return math.log(float(change) + EPSILON) + log_deviations


@contextmanager
def _batch_norms(model: nn.Module) -> Iterator[list[tuple[float, Tensor]]]:
    """Gives a list to which every batch-norm that runs adds log(s), see `zen`, and its output."""
    runs: list[tuple[float, Tensor]] = []

    def keep(module: _BatchNorm, inputs: tuple[Tensor], output: Tensor) -> None:
        variance_C = inputs[0].transpose(0, 1).flatten(1).var(1, correction=0)
        runs.append((0.5 * math.log(float(variance_C.mean()) + module.eps), output.clone()))  # ReLUs may work in place

    handles = [module.register_forward_hook(keep) for module in model.modules() if isinstance(module, _BatchNorm)]
    try:
        yield runs
    finally:
        for handle in handles:
            handle.remove()
