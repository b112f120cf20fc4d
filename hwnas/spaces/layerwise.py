"""The common part of FBNet and ProxylessNAS: stages of layers, each with a choice among blocks of separate weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.core.choice import Choice
from hwnas.core.operator import Operator, Shape
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier, widened
from hwnas.spaces.compose import Place, compose, place


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The channels (before the width multiplier) and stride of one layer, and its candidate blocks."""

    channels: int
    stride: int
    blocks: tuple[str, ...]


def layers_of(
    stages: Sequence[tuple[int, int, int]], blocks: tuple[str, ...], first: tuple[str, ...]
) -> list[LayerPlan]:
    """Returns the layers of stages (channels, layers, stride); the first layer of a stage chooses among `first`."""
    return [
        LayerPlan(channels, stride if number == 0 else 1, first if number == 0 else blocks)
        for channels, count, stride in stages
        for number in range(count)
    ]


def layerwise(
    name: str,
    input_shape: Shape,
    classes: int,
    width: float,
    before: Sequence[Place],
    layers: Sequence[LayerPlan],
    features: int,
) -> SearchSpace:
    """Returns the space of `before`, one layer per plan, and a classifier; choice `layer0` decides layer `layer0`."""
    if min(input_shape) < 1 or min(input_shape[1:]) < 16 or classes < 1 or width <= 0:
        raise SpaceError(f"{name} needs images of at least 16 px, one class and a width above 0")
    parts = [*before]
    for number, plan in enumerate(layers):
        block = Choice(f"layer{number}", plan.blocks)
        channels = widened(plan.channels, width)
        parts.append(
            place(f"layer{number}", block_of, entangled=False, block=block, channels=channels, stride=plan.stride)
        )
    parts.append(place("head", PoolClassifier, features=widened(features, width), classes=classes))
    return compose(name, input_shape, classes, parts)


def block_of(input_shape: Shape, block: str, channels: int, stride: int) -> Operator | None:
    """Returns the operator of a block's name: `kKERNEL_eEXPANSION`, optionally `_gGROUPS`, or `skip`.

    `skip` is None where the layer keeps the shape, else a 1x1 convolution.
    """
    keeps_shape = stride == 1 and channels == input_shape[0]
    if block == "skip":
        return None if keeps_shape else ConvBlock(input_shape=input_shape, channels=channels, kernel=1, stride=stride)
    sizes = {part[0]: int(part[1:]) for part in block.split("_")}
    return MBConv(
        input_shape=input_shape,
        channels=channels,
        kernel=sizes["k"],
        expansion=sizes["e"],
        stride=stride,
        shortcut=keeps_shape,
        groups=sizes.get("g", 1),
        always_expand=True,
    )
