"""The installed suite on every built-in cost, and on wrong ones, which it must refuse."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import hwnas
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Cost
from hwnas.costs.function import FunctionCost
from hwnas.costs.predicted import PredictedCost
from hwnas.costs.proxies import MEASURES, ProxyCost
from hwnas.costs.registry import COSTS
from hwnas.costs.sizes import SIZES, PeakCost, SizeCost
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor
from hwnas.testing.costs import CostSuite

SPACES: dict[str, Callable[[], SearchSpace]] = {
    "mobilenet": cache(lambda: hwnas.space("mobilenet", resolution=16, width=0.5)),
    "vit": cache(
        lambda: hwnas.space("vit", resolution=8, embeddings=(8, 12), depths=(1, 2), heads=(1, 3), ratios=(1, 1.5))
    ),
    "nasbench201": cache(lambda: hwnas.space("nasbench201", resolution=8, width=4, cells=1)),
}


@cache
def predictor(cost: str) -> LatencyPredictor:
    """A predictor of networks of `vit` that take a noisy, affine function of their FLOPs."""
    space, rng = SPACES["vit"](), np.random.default_rng(0)
    rows_NC = np.unique(space.sample_rows(rng, 60), axis=0)
    numbers_N = (1 + space.costs("flops", rows_NC) / 1e5) * rng.lognormal(0, 0.02, len(rows_NC))
    other = {} if cost == "energy" else {"median": 1.05 * numbers_N, "p90": 1.2 * numbers_N}
    return fit(space, Measurements(isolated={}, rows_NC=rows_NC, networks_N=numbers_N, other=other, cost=cost), {})


@pytest.fixture(params=SPACES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class OnEverySpace(CostSuite):
    @pytest.fixture(autouse=True, params=SPACES)
    def name_of_space(self, request: pytest.FixtureRequest) -> None:
        self.chosen = str(request.param)

    def space(self) -> SearchSpace:
        return SPACES[self.chosen]()


class TestFlops(OnEverySpace):
    def cost(self, space: SearchSpace) -> Cost:
        return SIZES["flops"](space)


class TestParams(OnEverySpace):
    def cost(self, space: SearchSpace) -> Cost:
        return SIZES["params"](space)


class TestModel(OnEverySpace):
    def cost(self, space: SearchSpace) -> Cost:
        return SIZES["model"](space)


class TestPeak(OnEverySpace):
    def cost(self, space: SearchSpace) -> Cost:
        return SIZES["peak"](space)


class OnVit(CostSuite):
    def space(self) -> SearchSpace:
        return SPACES["vit"]()


class TestLatency(OnVit):
    def cost(self, space: SearchSpace) -> Cost:
        return PredictedCost(predictor("latency"), "median", "latency")


class TestEnergy(OnVit):
    def cost(self, space: SearchSpace) -> Cost:
        return PredictedCost(predictor("energy"), "mean", "energy")


class ProxySuite(OnVit):
    rows = 12
    measure: str

    def cost(self, space: SearchSpace) -> Cost:
        generator = torch.Generator().manual_seed(0)
        batch = (torch.randn(6, *space.input_shape, generator=generator), torch.arange(6))
        return ProxyCost(space=space, name=self.measure, batch=batch, loss=F.cross_entropy)


class TestJacobian(ProxySuite):
    measure = "jacobian"


class TestGradientNorm(ProxySuite):
    measure = "grad-norm"


class TestSnip(ProxySuite):
    measure = "snip"


class TestGrasp(ProxySuite):
    measure = "grasp"


class TestFisher(ProxySuite):
    measure = "fisher"


class OnCells(ProxySuite):
    """Scores that need convolutions with ReLUs and batch-norms."""

    def space(self) -> SearchSpace:
        return SPACES["nasbench201"]()


class TestSynflow(OnCells):
    measure = "synflow"


class TestNaswot(OnCells):
    measure = "naswot"


class TestZen(OnCells):
    measure = "zen"


class TestFunction(OnVit):
    def cost(self, space: SearchSpace) -> Cost:
        return FunctionCost("operations", "", lambda rows_NC: 1.0 + np.asarray(rows_NC).sum(axis=1))


def test_every_built_in_cost_inherits_the_suite() -> None:
    covered = set()
    for suite in list(globals().values()):
        if isinstance(suite, type) and issubclass(suite, CostSuite) and suite.__name__.startswith("Test"):
            made = suite()
            made.chosen = "nasbench201"
            covered.add(made.cost(made.space()).name)
    assert covered == {*COSTS, "operations"}


def test_costs_have_the_units_that_the_registry_says() -> None:
    space = SPACES["vit"]()
    made: list[Cost] = [make(space) for make in SIZES.values()]
    made += [
        PredictedCost(predictor(name), "mean" if name == "energy" else "p90", name) for name in ("latency", "energy")
    ]
    made += [
        ProxyCost(space=space, name=name, batch=(torch.zeros(1), torch.zeros(1)), loss=F.mse_loss) for name in MEASURES
    ]
    assert {cost.name: cost.unit for cost in made} == {name: kind.unit for name, kind in COSTS.items()}
    assert set(SIZES) == {name for name, kind in COSTS.items() if kind.origin == "space"}
    assert set(MEASURES) == {name for name, kind in COSTS.items() if kind.origin == "batch"}


def test_sizes_are_those_of_the_space_in_the_units_of_people(name: str) -> None:
    space = SPACES[name]()
    rows_NC = space.spread_rows(np.random.default_rng(0), 50)
    assert np.array_equal(SizeCost(space, "params").values(rows_NC), space.costs("params", rows_NC))
    assert np.array_equal(SizeCost(space, "model").values(rows_NC), space.costs("bytes", rows_NC) / 2**20)
    assert np.array_equal(PeakCost(space).values(rows_NC), space.costs("peak", rows_NC) / 2**20)


def test_scores_are_negated_measures_and_leave_random_numbers_alone() -> None:
    space = SPACES["vit"]()
    row_1C = space.encode([space.largest()])
    before = torch.random.get_rng_state()
    scores = {suite.measure: suite().cost(space) for suite in (TestJacobian, TestGradientNorm)}
    assert scores["grad-norm"].values(row_1C)[0] < 0 < scores["jacobian"].values(row_1C)[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    again = replace(scores["grad-norm"], seed=1)  # type: ignore[type-var]
    assert again.values(row_1C)[0] != scores["grad-norm"].values(row_1C)[0]


# ---- the suite bites


@dataclass(frozen=True, eq=False)
class Wrong:
    """FLOPs as a cost, with one fault where a subclass has one."""

    space: SearchSpace
    name: str = "wrong"
    unit: str = ""

    @property
    def factors(self) -> tuple[Factor, ...] | None:
        return self.space.cost_factors("flops")

    def values(self, rows_NC: IntArray) -> FloatArray:
        return self.space.costs("flops", rows_NC)

    def upper(self, rows_NC: IntArray) -> FloatArray:
        return 1.1 * self.values(rows_NC)

    def program(self, bound: float) -> Any:
        return self.space.cost_factors("flops"), bound / 1.1


class LacksALayer(Wrong):
    @property
    def factors(self) -> tuple[Factor, ...] | None:
        return self.space.cost_factors("flops")[1:]


class ForgetsTheInterval(Wrong):
    def program(self, bound: float) -> Any:
        return self.space.cost_factors("flops"), bound


class AdmitsTooLittle(Wrong):
    def program(self, bound: float) -> Any:
        return self.space.cost_factors("flops"), 0.8 * bound


class PromisesTooLittle(Wrong):
    def upper(self, rows_NC: IntArray) -> FloatArray:
        return 0.9 * self.values(rows_NC)


class IsAColumn(Wrong):
    def values(self, rows_NC: IntArray) -> FloatArray:
        return super().values(rows_NC)[:, None]


class IsNotFinite(Wrong):
    def values(self, rows_NC: IntArray) -> FloatArray:
        return np.where(rows_NC.sum(axis=1) > 3, np.nan, super().values(rows_NC))


class IsRelativeToTheBatch(Wrong):
    def values(self, rows_NC: IntArray) -> FloatArray:
        values_N = super().values(rows_NC)
        return values_N / values_N.max(initial=1.0)


class IsConstant(Wrong):
    def values(self, rows_NC: IntArray) -> FloatArray:
        return np.ones(len(rows_NC))


BITES: list[tuple[type[Wrong], str, tuple[Any, ...]]] = [
    (LacksALayer, "factors_sum_to_the_values", ()),
    (ForgetsTheInterval, "the_program_admits_what_is_within_the_limit_and_nothing_else", (0.3,)),
    (AdmitsTooLittle, "the_program_admits_what_is_within_the_limit_and_nothing_else", (0.3,)),
    (ForgetsTheInterval, "the_program_admits_nothing_below_the_least", ()),
    (PromisesTooLittle, "upper_ends_are_not_below_the_values", ()),
    (IsAColumn, "there_is_one_finite_number_per_architecture", ()),
    (IsNotFinite, "there_is_one_finite_number_per_architecture", ()),
    (IsRelativeToTheBatch, "a_number_does_not_depend_on_the_other_rows_or_the_call", ()),
    (IsConstant, "architectures_differ", ()),
]


def run(wrong: type[Wrong], law: str, arguments: tuple[Any, ...]) -> None:
    class Suite(OnVit):
        def cost(self, space: SearchSpace) -> Cost:
            return wrong(space)

    getattr(Suite(), f"test_{law}")(*arguments)


@pytest.mark.parametrize(("wrong", "law", "arguments"), BITES, ids=lambda value: getattr(value, "__name__", None))
def test_a_wrong_cost_breaks_the_law_it_should(wrong: type[Wrong], law: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(wrong, law, arguments)
    run(Wrong, law, arguments)  # without the fault the law holds


def test_costs_load_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    modules = "hwnas.costs.registry, hwnas.costs.limits, hwnas.costs.sizes, hwnas.costs.predicted, hwnas.costs.function"
    code = f"import {modules}, hwnas.strategies.registry, sys; assert not {{'torch', 'pymoo'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
