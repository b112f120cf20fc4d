"""Residual blocks of a supernet that start as the identity, by the scale of their last batch-norm."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hwnas.core.operator import Operator
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.network import Supernet


@torch.no_grad()
def start_as_identity(supernet: Supernet) -> None:
    """Sets the scale of the last batch-norm of every residual block to zero (Goyal et al. 2017, section 5.1; BigNAS).

    A residual block is an operator that passes its input on unchanged once the scale of one of its batch-norms is zero, so
    operators need not declare it. Blocks whose shortcut is an operation itself, or whose norms are no batch-norms, stay as
    they are. Changes new weights only: running statistics must be 0 and 1, and shifts 0.
    """
    generator = torch.Generator().manual_seed(0)
    for layer in supernet.space.layers:
        elastic = supernet.elastic(layer)
        training = elastic.training
        elastic.eval()
        for operator in _residual(operator for _, operator in layer.cells(supernet.space.by_name)):
            x = torch.rand(2, *operator.input_shape, generator=generator)  # positive: a block may end in a ReLU
            _silence(elastic, operator, x.to(next(elastic.parameters(), x).device))
        elastic.train(training)


def _residual(operators: Iterator[Operator | None]) -> list[Operator]:
    """Returns the distinct operators that may be the identity, the largest first."""
    possible = {
        operator.key: operator
        for operator in operators
        if operator is not None
        and operator.vocabulary is None
        and tuple(operator.input_shape) == tuple(operator.output_shape)
    }
    return sorted(possible.values(), key=lambda operator: operator.cost().params, reverse=True)


def _silence(elastic: ElasticLayer, operator: Operator, x: Tensor) -> None:
    """Sets the scale of the last norm to zero whose zero makes the operator the identity, if there is one."""
    slices = elastic.slices(operator)
    norms = [
        slices[f"{name}.weight".lstrip(".")]
        for name, module in elastic.template(operator).named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine
    ]
    if any(not scale_C.any() for scale_C in norms):
        return  # silenced with a larger operator
    for scale_C in reversed(norms):
        before_C = scale_C.clone()
        scale_C.zero_()
        if torch.equal(elastic(x, operator), x):
            return
        scale_C.copy_(before_C)
