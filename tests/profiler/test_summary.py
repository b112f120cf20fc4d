"""Tests of what stands out in a table: slow operators, and small ones that are slower than large ones."""

from hwnas.core.operator import Operator
from hwnas.operators.conv import MBConv
from hwnas.profiler.summary import slowest, surprises


def block(kernel: int, expansion: int = 3) -> Operator:
    return MBConv(input_shape=(4, 8, 8), channels=4, kernel=kernel, expansion=expansion)


OPERATORS = {operator.key: operator for operator in (block(3), block(5), block(7), block(3, 6), block(5, 6))}


def test_the_slowest_operators_come_first() -> None:
    times_ms = {key: float(number) for number, key in enumerate(OPERATORS, start=1)}
    first = slowest(times_ms)[0]
    assert first == f"{block(5, 6).key}: 5 ms" and len(slowest(times_ms)) == 5


def test_a_small_kernel_that_is_slower_than_a_larger_one_is_a_surprise() -> None:
    times_ms = {key: float(operator.cost().flops) for key, operator in OPERATORS.items()}
    assert surprises(OPERATORS, times_ms) == ()
    slow = times_ms | {block(3).key: 1.5 * times_ms[block(5).key]}
    assert surprises(OPERATORS, slow)[0] == f"{block(3).key} takes 1.50 times as long as {block(5).key}"
    within_noise = times_ms | {block(3).key: 1.05 * times_ms[block(5).key]}
    assert surprises(OPERATORS, within_noise) == ()


def test_operators_that_differ_in_two_ways_are_not_compared() -> None:
    pair = {operator.key: operator for operator in (block(3, 6), block(5, 3))}
    times_ms = {block(3, 6).key: 1.0, block(5, 3).key: 9.0}
    assert surprises(pair, times_ms) == surprises(pair, {key: 1 / ms for key, ms in times_ms.items()}) == ()


def test_operators_that_were_not_measured_are_left_out() -> None:
    assert surprises(OPERATORS, {block(3).key: 9.0}) == ()
