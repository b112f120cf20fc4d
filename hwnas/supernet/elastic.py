"""Entangled weights of one layer: every operator that can stand there, inside one set of the largest tensors.

The rule is one for all operators. A parameter of a smaller operator is a slice of the same-named parameter of its
family: the first entries of the channel axes (0 and 1), the centre of the kernel axes (2 and up). So an operator is
written once, as a plain module; this file runs that module with slices.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hwnas.core.operator import Operator
from hwnas.errors import SpaceError
from hwnas.modules.assemble import build
from hwnas.supernet.masks import KERNEL_AXES_FROM
from hwnas.supernet.nesting import alike, covers, nests, parameter_shapes


@final
class ElasticLayer(nn.Module):
    """Runs any of `operators` on slices of shared weights. Operators of different families share nothing; where the
    layer is not entangled, no two do."""

    def __init__(self, name: str, operators: Iterable[Operator], *, entangled: bool = True) -> None:
        super().__init__()
        self.name = name
        self._entangled = entangled
        # Modules without storage, one per operator: the code that runs, and the shapes of its slices.
        self._templates: dict[str, nn.Module] = {}
        self._operators: dict[str, Operator] = {}
        families: dict[str, list[Operator]] = {}
        for operator in operators:
            if operator.key not in self._templates:
                with torch.device("meta"):
                    self._templates[operator.key] = build(operator)
                self._operators[operator.key] = operator
                families.setdefault(self._family(operator), []).append(operator)
        for family, members in families.items():
            self._add_family(family, members)

    def _family(self, operator: Operator) -> str:
        return operator.family if self._entangled else operator.key

    def _add_family(self, family: str, members: list[Operator]) -> None:
        shapes: dict[str, list[int]] = {}
        for operator in members:
            for name, tensor in _tensors(self._templates[operator.key]).items():
                largest = shapes.setdefault(name, list(tensor.shape))
                shapes[name] = [max(pair) for pair in zip(largest, tensor.shape, strict=True)]
        missing = dict(shapes)
        for operator in reversed(members):  # the largest usually comes last
            if not missing:
                return
            tensors = _tensors(self._templates[operator.key])
            if any(list(tensors[name].shape) == missing[name] for name in missing if name in tensors):
                fresh = build(operator)
                for name, tensor in _tensors(fresh).items():
                    if list(tensor.shape) == missing.get(name):
                        self._register(_stored(family, name), tensor)
                        del missing[name]
        if missing:
            raise SpaceError(
                f"layer {self.name!r}, family {family!r}: no operator has the largest {sorted(missing)[0]!r}"
            )

    def _register(self, name: str, tensor: Tensor) -> None:
        if isinstance(tensor, nn.Parameter):
            self.register_parameter(name, tensor)
        else:
            self.register_buffer(name, tensor)

    def template(self, operator: Operator) -> nn.Module:
        """The operator's module without storage."""
        return self._templates[operator.key]

    @cached_property
    def _groups(self) -> dict[str, str]:
        """By operator, the largest of those that it nests in."""
        by_size = sorted(self._operators.values(), key=lambda operator: operator.cost().params, reverse=True)
        heads: list[Operator] = []
        groups: dict[str, str] = {}
        for operator in by_size:
            for head in heads:
                same = self._family(head) == self._family(operator) and alike(head, operator)
                if same and nests(self.template(operator), self.template(head)):
                    groups[operator.key] = head.key
                    break
            else:
                heads.append(operator)
                groups[operator.key] = operator.key
        return groups

    def group(self, operator: Operator) -> str:
        """The same for all operators that run as one when they are mixed."""
        return self._groups[operator.key]

    def cover(self, operators: Sequence[Operator]) -> Operator:
        """The smallest operator of a group that contains all these of it."""
        group = self.group(operators[0])
        members = [operator for operator in self._operators.values() if self.group(operator) == group]
        shapes = [parameter_shapes(self.template(operator)) for operator in operators]
        return next(
            member
            for member in sorted(members, key=lambda member: member.cost().params)
            if all(covers(parameter_shapes(self.template(member)), each) for each in shapes)
        )

    def slices(self, operator: Operator, template: nn.Module | None = None) -> Mapping[str, Tensor]:
        """The operator's parameters and statistics, by name, as views of the shared ones (gradients flow through); those of
        a narrower `template` where one is given."""
        tensors = _tensors(self._templates[operator.key] if template is None else template)
        return {
            name: _slice(getattr(self, _stored(self._family(operator), name)), tensor.shape)
            for name, tensor in tensors.items()
        }

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        """The operator's output on the shared weights; in train mode its statistics are updated in place."""
        template = self._templates[operator.key].train(self.training)
        return functional_call(template, dict(self.slices(operator)), (x,))  # type: ignore[no-any-return]


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and floating-point buffers; counters are not weights."""
    buffers = ((name, buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point())
    return dict(module.named_parameters()) | dict(buffers)


def _stored(family: str, name: str) -> str:
    return f"{family}/{name}".replace(".", "/")


def _slice(tensor: Tensor, shape: torch.Size) -> Tensor:
    for axis, size in enumerate(shape):
        extra = tensor.shape[axis] - size
        if extra:
            tensor = tensor.narrow(axis, extra // 2 if axis >= KERNEL_AXES_FROM else 0, size)
    return tensor
