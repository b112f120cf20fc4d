"""The conformance suite of costs. A test file for your own cost is:

from hwnas.testing.costs import CostSuite

class TestMine(CostSuite):
    def space(self) -> SearchSpace:
        return hwnas.space("mobilenet", resolution=16)

    def cost(self, space: SearchSpace) -> Cost:
        return Mine(space)
"""

import numpy as np
import pytest

from hwnas.core.arrays import IntArray
from hwnas.core.factors import Factor, total
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost, Limit
from hwnas.costs.limits import least
from hwnas.errors import BudgetError

# The integer program's own tolerance, relative to a bound.
SOLVER = 1e-6


class CostSuite:
    """The laws of a cost. Override `space` and `cost`."""

    # Architectures that are drawn; fewer where a cost is slow.
    rows = 200

    def space(self) -> SearchSpace:
        """Returns a space that the cost is for, small enough for integer programs in tests."""
        raise NotImplementedError("override `space(self)`")

    def cost(self, space: SearchSpace) -> Cost:
        """Returns the cost under test."""
        raise NotImplementedError("override `cost(self, space)`")

    def drawn(self, space: SearchSpace) -> IntArray:
        """Returns different architectures from small to large; shape (N, C)."""
        return np.unique(space.spread_rows(np.random.default_rng(0), self.rows), axis=0)

    def test_it_has_a_name_and_a_unit(self) -> None:
        cost = self.cost(self.space())
        assert cost.name and isinstance(cost.name, str) and isinstance(cost.unit, str)
        assert str(Limit(cost, 2.0)).startswith(f"{cost.name} <= 2")

    def test_there_is_one_finite_number_per_architecture(self) -> None:
        space = self.space()
        rows_NC = self.drawn(space)
        for numbers in (self.cost(space).values, self.cost(space).upper):
            for count in (0, 1, len(rows_NC)):
                result = numbers(rows_NC[:count])
                assert result.shape == (count,) and result.dtype == np.float64
                assert np.isfinite(result).all()

    def test_architectures_differ(self) -> None:
        space = self.space()
        assert np.ptp(self.cost(space).values(self.drawn(space))) > 0

    def test_a_number_does_not_depend_on_the_other_rows_or_the_call(self) -> None:
        space = self.space()
        rows_NC, cost = self.drawn(space), self.cost(space)
        before_NC = rows_NC.copy()
        values_N = cost.values(rows_NC)
        assert np.array_equal(cost.values(rows_NC[::-1]), values_N[::-1])
        assert np.array_equal(self.cost(space).values(rows_NC[:5]), values_N[:5])
        assert np.array_equal(rows_NC, before_NC)

    def test_upper_ends_are_not_below_the_values(self) -> None:
        space = self.space()
        rows_NC, cost = self.drawn(space), self.cost(space)
        assert (cost.upper(rows_NC) >= cost.values(rows_NC)).all()

    def test_factors_sum_to_the_values(self) -> None:
        space = self.space()
        rows_NC, cost = self.drawn(space), self.cost(space)
        if cost.factors is None:
            pytest.skip("the cost is not a sum of factors")
        assert total(cost.factors, rows_NC, space.columns) == pytest.approx(cost.values(rows_NC), rel=1e-9)
        assert cost.program(1.0) is not None, "a sum of factors can be limited in the integer program"

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
    def test_the_program_admits_what_is_within_the_limit_and_nothing_else(self, share: float) -> None:
        space = self.space()
        rows_NC, cost = self.drawn(space), self.cost(space)
        upper_N = cost.upper(rows_NC)
        bound = float(np.quantile(upper_N, share, method="nearest"))
        program = cost.program(bound)
        if program is None:
            pytest.skip("the cost has no integer program")
        order_N = np.argsort(upper_N, kind="stable")
        last = int(np.count_nonzero(upper_N <= bound)) - 1
        for row_C in rows_NC[order_N[[0, last // 2, last]]]:
            nearest = minimise(space.choices, _distance(space, row_C), [program])
            assert nearest == space.decode(row_C), "the program must admit what is within the limit"
        for row_C in rows_NC[order_N[last + 1 :]][[0, -1] if last + 1 < len(rows_NC) else []]:
            nearest_1C = space.encode([minimise(space.choices, _distance(space, row_C), [program])])
            assert cost.upper(nearest_1C)[0] <= bound + SOLVER * abs(bound), "the program must refuse all else"

    def test_the_program_admits_nothing_below_the_least(self) -> None:
        space = self.space()
        rows_NC, cost = self.drawn(space), self.cost(space)
        if cost.program(1.0) is None:
            pytest.skip("the cost has no integer program")
        lowest = least(space, cost)
        upper_N = cost.upper(rows_NC)
        assert lowest <= upper_N.min() + SOLVER * abs(upper_N.min())
        program = cost.program(lowest - 0.01 * (abs(lowest) or float(np.ptp(upper_N))))
        assert program is not None
        with pytest.raises(BudgetError):
            minimise(space.choices, (), [program])


def _distance(space: SearchSpace, row_C: IntArray) -> list[Factor]:
    """Returns the number of choices that differ from a row, as factors."""
    return [
        Factor(choice.name, (choice.name,), (np.arange(len(choice.options)) != index).astype(np.float64))
        for choice, index in zip(space.choices, row_C, strict=True)
    ]
