"""Places for a few labels, so that they hide nothing. Plain geometry in pixels; knows no plotting library.

Shapes: L labels, P points to keep clear, K candidate places; the last axis of 2 is x, y.
"""

from itertools import product
from typing import Final

import numpy as np

from hwnas.core.arrays import FloatArray

# Below a falling front nothing was found, so there is room: left and below come first where places are equally good.
_DIRECTIONS: Final = ((-1, -1), (-1, 0), (0, -1), (1, 1), (0, 1), (1, 0), (1, -1), (-1, 1))
_GAPS: Final = (1, 2, 3, 4, 5)
_FAR: Final = 1.5  # what one step further away costs, in points of weight 1


def place_labels(
    anchors_L2: FloatArray, sizes_L2: FloatArray, points_P2: FloatArray, weights_P: FloatArray, frame_22: FloatArray
) -> FloatArray:
    """Returns the centres of the labels, each near its anchor; shape (L, 2).

    A label takes the place with the least weight of points under it, inside `frame_22` (lowest corner, highest corner). No two
    labels overlap as long as there is such a place.
    """
    centres_L2 = np.zeros_like(anchors_L2)
    for label, (anchor_2, size_2) in enumerate(zip(anchors_L2, sizes_L2, strict=True)):
        places_K2 = _places(anchor_2, size_2)
        hidden_KP = (np.abs(points_P2 - places_K2[:, None]) < 0.6 * size_2).all(axis=-1)
        reach_L2 = (sizes_L2[:label] + size_2) / 2
        overlaps_KL = (np.abs(centres_L2[:label] - places_K2[:, None]) < reach_L2).all(axis=-1)
        outside_K = ((places_K2 - size_2 / 2 < frame_22[0]) | (places_K2 + size_2 / 2 > frame_22[1])).any(axis=-1)
        cost_K = hidden_KP @ weights_P + _FAR * np.repeat(_GAPS, len(_DIRECTIONS))
        cost_K += 1e6 * overlaps_KL.sum(axis=-1) + 1e9 * outside_K
        centres_L2[label] = places_K2[cost_K.argmin()]
    return centres_L2


def _places(anchor_2: FloatArray, size_2: FloatArray) -> FloatArray:
    """Returns the centres of a label at each gap in each direction, best first; shape (K, 2)."""
    gap = 0.7 * size_2[1]
    return np.array(
        [anchor_2 + np.array(way) * (size_2 / 2 + gap * times) for times, way in product(_GAPS, _DIRECTIONS)]
    )
