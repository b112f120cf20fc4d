"""Laws of the series space that are its own; what every space must obey is in conformance."""

import pytest

import hwnas
from hwnas.errors import SpaceError
from hwnas.spaces.series import STRIDES, stride_of


@pytest.mark.parametrize("length", [16, 24, 150, 1024, 1025, 16_000, 44_100])
def test_few_positions_are_left_before_the_head_and_no_smaller_stride_would_do(length: int) -> None:
    space = hwnas.space("series", length=length)
    head = next(layer for layer in space.layers if layer.name == "head").operator(space.largest())
    assert head is not None
    positions = head.input_shape[1]
    assert 1 <= positions <= 64
    smaller = [stride for stride in STRIDES if stride < stride_of(length)]
    assert all(length / stride**4 > 64 for stride in smaller)


def test_the_default_space_is_profiled_with_at_most_120_operators() -> None:
    assert len(hwnas.space("series").operators()) <= 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 15}, "series needs at least 16 samples, not 15"),
        ({"length": 1e4}, "series' length is 10000.0, not a whole number"),
        ({"width": 0}, "series cannot have width 0, 2 classes, 1 channels"),
    ],
)
def test_impossible_sizes_are_refused(options: dict, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        hwnas.space("series", **options)
