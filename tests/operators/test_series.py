"""The convolutional operators on series (channels, length): every law of operators, and that all sizes nest."""

from typing import Any

import pytest

from hwnas.core.operator import Operator, conv_cost
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.supernet.elastic import ElasticLayer
from hwnas.testing.operators import OperatorSuite

SHAPE = (6, 21)
GATED: dict[str, Any] = {"channels": 6, "expansion": 2, "squeeze_excite": True, "shortcut": True}


class TestSeries(OperatorSuite):
    operators = (
        ConvBlock(input_shape=SHAPE, channels=8, kernel=9, stride=4),
        ConvBlock(input_shape=SHAPE, channels=8, kernel=5, stride=4),
        MBConv(input_shape=SHAPE, kernel=15, **GATED),
        MBConv(input_shape=SHAPE, kernel=7, **GATED),
        MBConv(input_shape=SHAPE, channels=4, kernel=3, expansion=1, stride=2, groups=2),
        PoolClassifier(input_shape=SHAPE, features=8, classes=3),
    )


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (
            ConvBlock(input_shape=(2, 21), channels=4, kernel=3, stride=2),
            ConvBlock(input_shape=(3, 21), channels=8, kernel=9, stride=2),
        ),
        (
            MBConv(input_shape=(4, 21), channels=4, kernel=3, expansion=2),
            MBConv(input_shape=SHAPE, channels=8, kernel=7, expansion=4),
        ),
        (
            PoolClassifier(input_shape=(4, 21), features=8, classes=3),
            PoolClassifier(input_shape=SHAPE, features=8, classes=3),
        ),
    ],
)
def test_smaller_operators_of_series_run_in_one_pass_with_larger_ones(small: Operator, large: Operator) -> None:
    """Channels come first: a rule for (tokens, embedding) would take them for positions, which no two operators may mix."""
    layer = ElasticLayer("layer", [small, large])
    assert layer.group(small) == layer.group(large) == large.key
    assert large.positions[0] == (21,)


def test_a_kernel_is_as_long_along_one_axis_as_along_two() -> None:
    assert conv_cost(2, 3, 5, (7,)).params == 2 * 3 * 5
    assert conv_cost(2, 3, 5, (7, 4)).params == 2 * 3 * 5 * 5
    assert conv_cost(2, 3, 5, (7,)).flops == 2 * 7 * conv_cost(2, 3, 5, (7,)).params
