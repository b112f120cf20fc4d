"""The installed suite on the built-in strategies that choose by a model of the metrics."""

from hwnas.strategies.factors import FactorsSearch
from hwnas.strategies.gbdt import Gbdt
from hwnas.strategies.linas import Linas
from hwnas.strategies.nars import Nars
from hwnas.strategies.problem import Strategy
from hwnas.strategies.surrogate import Surrogate
from hwnas.testing.strategies import FirstPopulationSuite, LearningStrategySuite, StrategySuite


class TestSurrogate(LearningStrategySuite, FirstPopulationSuite):
    evaluations = 40  # a model per few evaluations is slow, and learns from few
    compared = 45

    def strategy(self, evaluations: int) -> Strategy:
        return Surrogate(evaluations=evaluations)


class TestFactors(LearningStrategySuite, FirstPopulationSuite):
    evaluations = 60

    def strategy(self, evaluations: int) -> Strategy:
        return FactorsSearch(evaluations=evaluations)


class TestGbdt(LearningStrategySuite, FirstPopulationSuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Gbdt(evaluations=evaluations)


class TestGbdtThatPrunes(StrategySuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Gbdt(evaluations=evaluations, per_round=30, prune="first-order")


class TestLinas(LearningStrategySuite, FirstPopulationSuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Linas(evaluations=evaluations, predictions=500)


class TestNars(LearningStrategySuite, FirstPopulationSuite):
    """On shared weights; tests/strategies/test_nars.py has the suite of strategies that train weights."""

    evaluations = 100

    def strategy(self, evaluations: int) -> Strategy:
        return Nars(evaluations=evaluations, per_round=20, predictions=200, weights_from="supernet")


def test_every_strategy_with_a_model_inherits_the_suite() -> None:
    suites = [suite for suite in globals().values() if isinstance(suite, type) and issubclass(suite, StrategySuite)]
    covered = {suite().strategy(10).name for suite in suites if suite.__module__ == __name__}
    assert covered == {"surrogate", "factors", "gbdt", "linas", "nars"}
