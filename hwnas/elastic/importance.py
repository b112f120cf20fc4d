"""Importance of the units of a trained network: the first entries of every slice are the units that matter most."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from hwnas.elastic.axes import Atom, Axis, leaves
from hwnas.elastic.weights import unit_scores

# The trained tensors by name, each with its axes.
Tensors = Mapping[str, tuple[Tensor, Sequence[Axis]]]
# Returns a score of every unit of an atom, (units,).
Importance = Callable[[Atom, Tensors], Tensor]


def l1(atom: Atom, tensors: Tensors) -> Tensor:
    """Returns the sum of absolute weights that read or make a unit (Li et al. 2017, section 3.1)."""
    return _sum(
        atom, {name: (tensor.abs(), axes) for name, (tensor, axes) in _of(atom, tensors).items() if tensor.dim() > 1}
    )


def norm_scale(atom: Atom, tensors: Tensors) -> Tensor:
    """Returns the absolute scale of the norms of a unit (Liu et al. 2017, section 3); `l1` for units without a norm.

    A norm's scale is a vector called `weight`.
    """
    own = _of(atom, tensors)
    scales = {
        name: (tensor.abs(), axes)
        for name, (tensor, axes) in own.items()
        if tensor.dim() == 1 and name.endswith("weight")
    }
    return _sum(atom, scales) if scales else l1(atom, tensors)


def first_order(gradients: Mapping[str, Tensor]) -> Importance:
    """Returns the importance by the first term of the loss' Taylor series (Molchanov et al. 2019, equation 8).

    The score is the squared sum of weight times gradient over a unit. `gradients` are those of a calibration batch, by the
    weight's name.
    """

    def importance(atom: Atom, tensors: Tensors) -> Tensor:
        own = _of(atom, tensors)
        products = {name: (tensor * gradients[name], axes) for name, (tensor, axes) in own.items() if name in gradients}
        return _sum(atom, products).square()

    return importance


def as_it_is(atom: Atom, tensors: Tensors) -> Tensor:
    """Returns equal scores: the units keep their order."""
    return torch.zeros(atom.size or 1)


def _of(atom: Atom, tensors: Tensors) -> dict[str, tuple[Tensor, Sequence[Axis]]]:
    """Returns the tensors that have an atom."""
    return {name: (t, axes) for name, (t, axes) in tensors.items() if any(atom in leaves(one) for one in axes)}


def _sum(atom: Atom, tensors: Tensors) -> Tensor:
    scores = [unit_scores(tensor, axes, atom) for tensor, axes in tensors.values()]
    return torch.stack(scores).sum(0) if scores else torch.zeros(atom.size or 1)


IMPORTANCES: Final[Mapping[str, Importance]] = {"l1": l1, "norm": norm_scale, "none": as_it_is}
