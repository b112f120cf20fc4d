"""The example of a strategy outside the package: it passes the installed suites, and searches a published table."""

from pathlib import Path

import numpy as np

from hwnas.benchmarks import tabular
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.registry import load_strategy_class
from hwnas.testing.strategies import LearningStrategySuite

REFERENCE = f"{Path(__file__).parents[2] / 'scripts/examples/regularised_evolution.py'}:RegularisedEvolution"


class TestRegularisedEvolution(LearningStrategySuite):
    def strategy(self, evaluations: int) -> Strategy:
        return load_strategy_class(REFERENCE)(evaluations=evaluations)


def test_it_beats_random_search_on_nasbench201(bench_data: Path) -> None:
    cells = tabular.nasbench201(bench_data)
    problem = cells.problem(["latency@titanx_256"])
    highest_ms = problem.costs["latency@titanx_256"].values(cells.rows_TC).max()

    def volume(strategy: Strategy, seed: int) -> float:
        trace = tabular.searched(problem, strategy, seed)
        assert len(np.unique(trace.rows_NC, axis=0)) == len(trace.rows_NC) == 150
        return hypervolume(trace.points_ND, (-0.5, highest_ms))

    evolution = [volume(load_strategy_class(REFERENCE)(evaluations=150), seed) for seed in range(3)]
    assert np.median(evolution) > np.median([volume(RandomSearch(evaluations=150), seed) for seed in range(3)])
