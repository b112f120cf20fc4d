"""ProxylessNAS's space (Cai et al. 2019, section 4.2): 21 layers, each with a choice of six blocks.

All layers but the first of a stage may also be left out (`skip`, which is ProxylessNAS's Zero beside a shortcut).

Below 64 px fewer stages halve the image.
"""

from typing import Final

from hwnas.core.space import SearchSpace
from hwnas.operators.conv import ConvBlock, MBConv, widened
from hwnas.spaces.compose import place
from hwnas.spaces.layerwise import layers_of, layerwise

BLOCKS: Final = ("k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e3", "k7_e6")
# Stages as (channels, layers, stride).
LARGE_IMAGES: Final = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
SMALL_IMAGES: Final = ((24, 4, 1), (40, 4, 2), (80, 4, 1), (96, 4, 1), (192, 4, 2), (320, 1, 1))


def proxyless(resolution: int = 32, channels: int = 3, classes: int = 10, width: float = 1.0) -> SearchSpace:
    """Returns the space for square images of `resolution` pixels; `width` multiplies every number of channels."""
    stages = SMALL_IMAGES if resolution < 64 else LARGE_IMAGES
    before = [
        place("stem", ConvBlock, channels=widened(32, width), stride=2),
        place("first", MBConv, channels=widened(16, width), kernel=3, expansion=1),
    ]
    layers = layers_of(stages, (*BLOCKS, "skip"), BLOCKS)
    return layerwise("proxyless", (channels, resolution, resolution), classes, width, before, layers, features=1280)
