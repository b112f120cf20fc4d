"""Entangled weights of one layer: all its operators run on slices of one set of the largest tensors.

One rule holds for all operators. A parameter of a smaller operator is a slice of the family's parameter of the same name:
the first entries of the channel axes (0 and 1), the centre of the kernel axes (2 and up). So an operator is written once,
as a plain module, and this file runs that module on slices.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor, nn

from hwnas.core.operator import Operator
from hwnas.errors import SpaceError
from hwnas.modules.build import build
from hwnas.modules.declared import naming
from hwnas.supernet.masks import KERNEL_AXES_FROM
from hwnas.supernet.nesting import alike, covers, nests, parameter_shapes
from hwnas.supernet.template import Template


@final
class ElasticLayer(nn.Module):
    """Runs any of `operators` on slices of shared weights.

    Operators of different families share no weights; if the layer is not entangled, no two operators do.
    """

    def __init__(self, name: str, operators: Iterable[Operator], *, entangled: bool = True) -> None:
        super().__init__()
        self.name = name
        self._entangled = entangled
        # Modules without storage, one per operator: their forward methods run, their shapes are those of the slices.
        self._templates: dict[str, Template] = {}
        self._operators: dict[str, Operator] = {}
        families: dict[str, list[Operator]] = {}
        for operator in (operator.in_float32 for operator in operators):
            if operator.key not in self._templates:
                with torch.device("meta"):
                    self._templates[operator.key] = Template(build(operator))
                self._operators[operator.key] = operator
                families.setdefault(self._family(operator), []).append(operator)
        for family, members in families.items():
            self._add_family(family, members)

    def _family(self, operator: Operator) -> str:
        return operator.family if self._entangled else operator.in_float32.key

    def _add_family(self, family: str, members: list[Operator]) -> None:
        shapes: dict[str, list[int]] = {}
        for operator in members:
            for name, shape in self._templates[operator.key].shapes.items():
                largest = shapes.setdefault(name, list(shape))
                shapes[name] = [max(pair) for pair in zip(largest, shape, strict=True)]
        missing = dict(shapes)
        for operator in reversed(members):  # the largest operator usually comes last
            if not missing:
                return
            own = self._templates[operator.key].shapes
            if any(list(own[name]) == missing[name] for name in missing if name in own):
                fresh = build(operator)
                for name, tensor in _tensors(fresh).items():
                    if list(tensor.shape) == missing.get(name):
                        self._register(_stored(family, name), tensor)
                        del missing[name]
        if missing:
            raise SpaceError(
                f"layer {self.name!r}, family {family!r}: no operator has {sorted(missing)[0]!r} of the largest size along "
                f"every axis; give the operators different families"
            )

    def _register(self, name: str, tensor: Tensor) -> None:
        if isinstance(tensor, nn.Parameter):
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, tensor)

    def template(self, operator: Operator) -> nn.Module:
        """Returns the operator's module without storage."""
        return self._of(operator).module

    def _of(self, operator: Operator) -> Template:
        return self._templates[operator.in_float32.key]

    @cached_property
    def _groups(self) -> dict[str, str]:
        """The key of the largest operator that each operator nests in, by key."""
        by_size = sorted(self._operators.values(), key=lambda operator: operator.cost().params, reverse=True)
        largest: list[Operator] = []
        groups: dict[str, str] = {}
        for operator in by_size:
            for cover in largest:
                same = self._family(cover) == self._family(operator) and alike(cover, operator)
                if same and nests(self.template(operator), self.template(cover)):
                    groups[operator.key] = cover.key
                    break
            else:
                largest.append(operator)
                groups[operator.key] = operator.key
        return groups

    def group(self, operator: Operator) -> str:
        """Returns the name of the operator's group; a mixture runs all operators of one group in one pass."""
        return self._groups[operator.in_float32.key]

    def cover(self, operators: Sequence[Operator]) -> Operator:
        """Returns the smallest operator of the group of `operators` that contains all of them."""
        group = self.group(operators[0])
        members = [operator for operator in self._operators.values() if self.group(operator) == group]
        shapes = [parameter_shapes(self.template(operator)) for operator in operators]
        return next(
            member
            for member in sorted(members, key=lambda member: member.cost().params)
            if all(covers(parameter_shapes(self.template(member)), small) for small in shapes)
        )

    def slices(self, operator: Operator, template: Template | None = None) -> Mapping[str, Tensor]:
        """Returns the operator's parameters and statistics, by name, as views of the shared ones; gradients flow through.

        A `template` with smaller parameters replaces the operator's own.
        """
        family = self._family(operator)
        shapes = (template or self._of(operator)).shapes
        return {name: sliced(getattr(self, _stored(family, name)), shape) for name, shape in shapes.items()}

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        """Returns the operator's output on the shared weights; train mode updates the shared statistics in place.

        Raises SpaceError where the module's code fails.
        """
        with naming(self.name, operator):
            return self._of(operator)(self.slices(operator), x, training=self.training)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and floating-point buffers by name, without counters."""
    buffers = ((name, buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point())
    return dict(module.named_parameters()) | dict(buffers)


def _stored(family: str, name: str) -> str:
    return f"{family}/{name}".replace(".", "/")


def sliced(tensor: Tensor, shape: torch.Size) -> Tensor:
    if tensor.shape == shape:
        return tensor
    for axis, size in enumerate(shape):
        extra = tensor.shape[axis] - size
        if extra:
            tensor = tensor.narrow(axis, extra // 2 if axis >= KERNEL_AXES_FROM else 0, size)
    return tensor
