"""Zero-cost scores by gradients of the parameters, as sums over a network (Abdelfattah et al. 2021, section 3).

Shapes: N examples, C channels.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from hwnas.costs.measure import Loss, require_floating, weighted_modules, weights_of
from hwnas.errors import HwnasError


def gradient_norm(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns the sum of the parameters' norms of the loss's gradient (Abdelfattah et al. 2021, section 3.1).

    Norm layers and biases count, too. The score is a weaker guide for a trained network than for a fresh one: gradients
    vanish where there is no more to learn.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss(network(x), labels), parameters, allow_unused=True)
    return sum(float(gradient.norm()) for gradient in gradients if gradient is not None)


def snip(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns sum(|w * dL/dw|) over the weights w of convolutions and linear layers (SNIP, Lee et al. 2019, section 4).

    The loss is L. Raises HwnasError for a network without such layers.
    """
    weights = weights_of(network, "snip")
    gradients = torch.autograd.grad(loss(network(x), labels), weights, materialize_grads=True)
    return sum(
        float((weight.detach() * gradient).abs().sum()) for weight, gradient in zip(weights, gradients, strict=True)
    )


def grasp(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns -sum(w * (H g)) over the weights w of convolutions and linear layers (GraSP, Wang et al. 2020, section 4.2).

    The loss has gradient g and Hessian H in these weights; a gradient of the gradient gives H g. The temperature of the outputs
    is 1, as in Abdelfattah et al. 2021. Raises HwnasError for a network without such layers.
    """
    weights = weights_of(network, "grasp")
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        gradients = torch.autograd.grad(loss(network(x), labels), weights, create_graph=True, materialize_grads=True)
        squared = sum(((gradient.detach() * gradient).sum() for gradient in gradients), start=torch.zeros(()))
        if not squared.requires_grad:
            return 0.0
        products = torch.autograd.grad(squared, weights, materialize_grads=True)
    return -sum(float((weight.detach() * product).sum()) for weight, product in zip(weights, products, strict=True))


def fisher(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns the sum over channels of mean(s^2) / 2 over examples, where s sums a * dL/da over a channel's positions.

    The activations a are the outputs of convolutions and linear layers, but for frozen ones that follow no trained weight; L is
    the loss (Theis et al. 2018, section 2.2; Turner et al. 2020, section 3). Raises HwnasError for a network without such layers.
    """
    weights_of(network, "fisher")
    outputs: list[tuple[Tensor, bool]] = []

    def keep(module: nn.Module, _: object, output: Tensor) -> Tensor:
        if output.requires_grad:
            outputs.append((output, isinstance(module, nn.Linear)))
        return output.clone()  # what follows may work in place

    handles = [module.register_forward_hook(keep) for module in weighted_modules(network, "fisher")]
    try:
        value = loss(network(x), labels)
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(value, [output for output, _ in outputs], materialize_grads=True)
    products = [
        (output.detach() * gradient, channels_last)
        for (output, channels_last), gradient in zip(outputs, gradients, strict=True)
    ]
    return sum(_fisher_of(product, channels_last) for product, channels_last in products)


def _fisher_of(product: Tensor, channels_last: bool) -> float:
    """Returns one layer's part of `fisher`, from a * dL/da of shape (N, C, ...), or (N, ..., C)."""
    product_NCP = (
        (product.movedim(-1, 1) if channels_last else product).flatten(2) if product.dim() > 2 else product[..., None]
    )
    return float(product_NCP.sum(2).double().square().mean(0).sum() / 2)


def synflow(network: nn.Module, x: Tensor, labels: Tensor, loss: Loss) -> float:
    """Returns log(1 + sum(|w| * dR/d|w|)) over the weights w of convolutions and linear layers (Tanaka et al. 2020, eq. 1).

    R is the sum of the outputs for one input of ones, of a copy of the network with all parameters replaced by their
    absolute values, in double precision, without batch-norms and dropout. Batch and labels are ignored. Raises HwnasError for
    token ids, for a network without such layers, and for one with layer norms: without them activations and gradients of
    attention overflow.
    """
    require_floating("synflow", x, "an input of ones")
    if any(isinstance(module, nn.LayerNorm | nn.RMSNorm) for module in network.modules()):
        raise HwnasError("the score 'synflow' needs a network without layer norms, and this one has some; use 'snip'")
    linear = copy.deepcopy(network).double().eval()
    for parameter in linear.parameters():
        parameter.data.abs_()
    for module in linear.modules():
        if isinstance(module, _NormBase | nn.GroupNorm):
            module.register_forward_hook(lambda _, inputs, __: inputs[0].clone())
    weights = weights_of(linear, "synflow")
    total = linear(torch.ones(1, *x.shape[1:], dtype=torch.double, device=x.device)).sum()
    gradients = torch.autograd.grad(total, weights, materialize_grads=True)
    flow = sum(float((weight.detach() * gradient).sum()) for weight, gradient in zip(weights, gradients, strict=True))
    return math.log1p(flow)
