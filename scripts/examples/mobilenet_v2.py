"""MobileNetV2 with the names of torchvision's layers, so that weights trained with torchvision fit.

    hwnas search --model scripts/examples/mobilenet_v2.py:make --weights mobilenet_v2.pth --space-option resolution=96 \\
        --space-option classes=10 --data parquet:DIR --normalise imagenet --latency-budget 60% --out runs/faster

`make` is all that hwnas needs of a network of your own: a function that returns the module.
"""

from torch import Tensor, nn

# Expansion, channels, blocks, stride of the first block (Sandler et al. 2018, table 2).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_norm_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Returns convolution, batch-norm and ReLU6."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection, and a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *([conv_norm_relu(inputs, hidden, 1)] if expansion > 1 else []),
            conv_norm_relu(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Input (N, 3, H, W), output (N, classes)."""

    def __init__(self, classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()

        def channels(count: int) -> int:
            rounded = max(8, int(count * width + 4) // 8 * 8)
            return rounded if rounded >= 0.9 * count * width else rounded + 8

        features: list[nn.Module] = [conv_norm_relu(3, channels(32), 3, 2)]
        inputs = channels(32)
        for expansion, count, blocks, stride in STAGES:
            for number in range(blocks):
                features.append(InvertedResidual(inputs, channels(count), stride if number == 0 else 1, expansion))
                inputs = channels(count)
        last = channels(1280) if width > 1 else 1280
        self.features = nn.Sequential(*features, conv_norm_relu(inputs, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


def make() -> MobileNetV2:
    """Returns the network for the 1,000 classes of ImageNet."""
    return MobileNetV2()
