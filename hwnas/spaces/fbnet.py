"""FBNet's space (Wu et al. 2019, tables 1 and 2): 22 layers, each with a choice of nine blocks.

The blocks have separate weights, because their groups do not nest. `skip` leaves the layer out, or is a 1x1 convolution
where the layer changes the shape. Below 64 px fewer stages halve the image.
"""

from typing import Final

from hwnas.core.space import SearchSpace
from hwnas.operators.conv import ConvBlock, widened
from hwnas.spaces.compose import place
from hwnas.spaces.layerwise import layers_of, layerwise

BLOCKS: Final = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
# Stages as (channels, layers, stride).
LARGE_IMAGES: Final = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
SMALL_IMAGES: Final = ((16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 1), (112, 4, 1), (184, 4, 2), (352, 1, 1))


def fbnet(resolution: int = 32, channels: int = 3, classes: int = 10, width: float = 1.0) -> SearchSpace:
    """Returns the space for square images of `resolution` pixels; `width` multiplies every number of channels.

    Option indices of `layer0` to `layer21` are those of published FBNet latency tables.
    """
    stages = SMALL_IMAGES if resolution < 64 else LARGE_IMAGES
    stem = place("stem", ConvBlock, channels=widened(16, width), stride=2)
    layers = layers_of(stages, BLOCKS, BLOCKS)
    return layerwise("fbnet", (channels, resolution, resolution), classes, width, [stem], layers, features=1504)
