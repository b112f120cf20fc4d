"""Labels that data sets give and tasks read."""

from typing import Final

# The label of pixels that are not learned or scored; torch's losses ignore it by default.
UNLABELLED: Final = -100
