"""The form of zero-cost measures, and what several of them share.

A measure runs a network on one batch in the mode that the network is in: in train mode batch-norms use the batch, and their
running statistics move. Weights, and gradients that parameters hold, stay unchanged. Higher measures promise better networks.

Shapes: N examples.
"""

from collections.abc import Callable
from typing import Final

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from hwnas.errors import HwnasError

# The loss of outputs (N, ...) and labels (N, ...): `Task.loss`.
Loss = Callable[[Tensor, Tensor], Tensor]
# A network, inputs (N, ...) and labels (N, ...) of one batch, and the task's loss.
Measure = Callable[[nn.Module, Tensor, Tensor, Loss], float]

# Added to what may be 0 before its logarithm is taken.
EPSILON: Final = 1e-5
# Modules whose weights and outputs the published saliencies are summed over.
WEIGHTED: Final = (_ConvNd, nn.Linear)


def require_floating(name: str, x: Tensor, needs: str) -> None:
    """Raises HwnasError for token ids where the score `name` needs floating inputs; `needs` says for what."""
    if not x.is_floating_point():
        raise HwnasError(f"the score {name!r} needs {needs}, and token ids have none; use 'grad-norm'")


def weighted_modules(network: nn.Module, name: str) -> list[_ConvNd | nn.Linear]:
    """Returns the convolutions and linear layers of a network. Raises HwnasError where the score `name` finds none."""
    modules = [module for module in network.modules() if isinstance(module, WEIGHTED)]
    if not modules:
        raise HwnasError(
            f"the score {name!r} needs convolutions or linear layers, and the network has none; use 'grad-norm'"
        )
    return modules


def weights_of(network: nn.Module, name: str) -> list[Tensor]:
    """Returns the weights, without biases, of convolutions and linear layers, without frozen ones.

    Raises HwnasError for a network without such layers.
    """
    weights = (module.get_parameter("weight") for module in weighted_modules(network, name))
    return [weight for weight in weights if weight.requires_grad]
