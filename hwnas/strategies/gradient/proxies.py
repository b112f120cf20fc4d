"""Zero-cost proxies: how good a network is, told from one batch and no training of its own. Higher is better.

They run the network as it is: in train mode batch-norms use the batch, and their running statistics move. Gradients that
parameters hold stay as they are.

Shapes: N examples, D numbers of an input, K classes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import HwnasError

# The loss of outputs (N, ...) and labels (N, ...): `Task.loss`.
Loss = Callable[[Tensor, Tensor], Tensor]
# A network, inputs (N, ...) and labels (N, ...) of one batch, and the task's loss.
Proxy = Callable[[nn.Module, Tensor, Tensor, Loss], float]

# Added to eigenvalues: what an eigenvalue of 0 costs.
EPSILON: Final = 1e-5


def jacobian_score(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """How differently the network sees different inputs: -sum(log(e + 1e-5) + 1 / (e + 1e-5)) over the eigenvalues e of the
    correlations of the examples' input gradients (Mellor et al. 2021, first version; `jacob_cov` in Abdelfattah et al. 2021).

    At most about -N, where no two examples correlate. The labels make no difference. An example whose gradient is the same
    everywhere correlates with nothing, not even itself. NaN where gradients are not numbers. Raises HwnasError for inputs
    that have no gradient.
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


PROXIES: Final[Mapping[str, Proxy]] = {"jacobian": jacobian_score, "grad-norm": gradient_norm}
