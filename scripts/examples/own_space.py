"""A search space and an operator of one's own, in one file outside the package.

    hwnas search --space scripts/examples/own_space.py:build --data digits --latency-budget 80%

The operator is a frozen dataclass (shapes and costs) and a torch module. The parameters of a smaller operator are slices
of those of a larger operator of the same `family`, so operators share the supernet's weights without extra code.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hwnas.spaces import (
    Chain,
    Choice,
    Choices,
    ConvBlock,
    Layer,
    Operator,
    OperatorCost,
    PoolClassifier,
    SearchSpace,
    Shape,
    batch_norm_cost,
    conv_cost,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvMixer(Operator):
    """Depthwise convolution with a shortcut, then a 1x1 convolution (Trockman and Kolter 2022, figure 2)."""

    kind: ClassVar[str] = "convmixer"
    module: ClassVar[str] = f"{__name__}:ConvMixerModule"
    family: ClassVar[str] = "convmixer"  # kernels share weights: the centre of the largest

    kernel: int

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        channels, height, width = self.input_shape
        depthwise = conv_cost(channels, channels, self.kernel, (height, width), groups=channels)
        return depthwise + conv_cost(channels, channels, 1, (height, width)) + batch_norm_cost(channels)

    def peak_bytes(self) -> int:
        """The peak is at the shortcut's sum: the input, the depthwise output, and their sum."""
        return 3 * self.input_bytes


class ConvMixerModule(nn.Module):
    def __init__(self, operator: ConvMixer) -> None:
        super().__init__()
        channels, kernel = operator.input_shape[0], operator.kernel
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.pointwise(x + self.depthwise(x))))


def build(resolution: int = 32, channels: int = 16, blocks: int = 3) -> SearchSpace:
    """Returns a space of a stem, `blocks` mixers (each absent, or with a kernel of 3, 5 or 7), and a classifier."""
    stem = ConvBlock(input_shape=(3, resolution, resolution), channels=channels, stride=4)
    head = PoolClassifier(input_shape=stem.output_shape, features=4 * channels, classes=10)
    choices, layers = [], [Layer("stem", (), lambda _: stem)]
    for number in range(1, blocks + 1):
        name = f"block{number}.kernel"
        choices.append(Choice(name, (0, 3, 5, 7)))
        layers.append(
            Layer(f"block{number}", (name,), lambda options, name=name: mixer(stem.output_shape, options[name]))
        )
    layers.append(Layer("head", (), lambda _: head))
    return SearchSpace("own", Choices(choices), Chain(tuple(layers)), stem.input_shape, classes=10)


def mixer(shape: Shape, kernel: int) -> ConvMixer | None:
    """Returns the mixer of a kernel size, None for 0."""
    return ConvMixer(input_shape=shape, kernel=kernel) if kernel else None
