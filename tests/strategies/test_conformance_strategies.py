"""The installed suite on the built-in strategies without a model, and on wrong ones, which it must refuse."""

from typing import Any, ClassVar

import numpy as np
import pytest

from hwnas.strategies.coarse_to_fine import CoarseToFine
from hwnas.strategies.controller import Controller
from hwnas.strategies.evolution import Evolution
from hwnas.strategies.local import LocalSearch
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.registry import STRATEGIES
from hwnas.strategies.robot import Robot
from hwnas.strategies.workshop import Workshop
from hwnas.testing.strategies import FirstPopulationSuite, LearningStrategySuite, StrategySuite


class TestRandomSearch(StrategySuite):
    def strategy(self, evaluations: int) -> Strategy:
        return RandomSearch(evaluations=evaluations)


class TestNsga2(LearningStrategySuite, FirstPopulationSuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Nsga2(evaluations=evaluations)


class TestEvolution(LearningStrategySuite, FirstPopulationSuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Evolution(evaluations=evaluations)


class TestLocalSearch(LearningStrategySuite, FirstPopulationSuite):
    def strategy(self, evaluations: int) -> Strategy:
        return LocalSearch(evaluations=evaluations)


class TestCoarseToFine(LearningStrategySuite, FirstPopulationSuite):
    def strategy(self, evaluations: int) -> Strategy:
        return CoarseToFine(evaluations=evaluations)


class TestController(LearningStrategySuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Controller(evaluations=evaluations)


class TestRecurrentController(StrategySuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Controller(evaluations=evaluations, policy="recurrent", algorithm="ppo", reward="hard", buffer=5)


class TestRobot(StrategySuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Robot(evaluations=evaluations, scores="latency,size,energy", pool=60, weightings=5)


# `gradient` trains a supernet, so its suite runs in tests/strategies/gradient; models are slow, and have a file of their own.
ELSEWHERE = {"gradient", "surrogate", "factors", "gbdt", "linas", "nars"}


def test_every_built_in_strategy_inherits_the_suite() -> None:
    suites = [suite for suite in globals().values() if isinstance(suite, type) and issubclass(suite, StrategySuite)]
    covered = {suite().strategy(10).name for suite in suites if suite.__module__ == __name__}
    assert covered == set(STRATEGIES) - ELSEWHERE


# ---- the suite bites


class Wrong:
    """Random search with one fault."""

    name: ClassVar[str] = "wrong"
    trains_weights: ClassVar[bool] = False

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return problem.feasible(lambda n: problem.space.sample_rows(rng, n), count, rng)

    def search(self, problem: Problem, workshop: Workshop) -> None:
        problem.evaluate(self.rows(problem, workshop.seed, self.evaluations))


class EvaluatesTwice(Wrong):
    def search(self, problem: Problem, workshop: Workshop) -> None:
        rows_NC = self.rows(problem, workshop.seed, self.evaluations)
        problem.evaluate(rows_NC[:1])
        problem.evaluate(rows_NC[: self.evaluations - 1])


class IgnoresLimits(Wrong):
    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        return np.unique(problem.space.sample_rows(np.random.default_rng(seed), count), axis=0)


class TrustsTheStart(Wrong):
    """Evaluates the start, whatever the limits say of it."""

    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        start_NC = np.asarray(problem.start_C)[None]
        return np.unique(np.concatenate([start_NC, super().rows(problem, seed, count - 1)]), axis=0)


class IgnoresTheSpace(Wrong):
    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        sizes = [len(choice.options) for choice in problem.space.choices]
        return np.unique(np.random.default_rng(seed).integers(0, sizes, (count, len(sizes))), axis=0)


class EvaluatesTooMany(Wrong):
    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        return super().rows(problem, seed, count + 1)


class GivesUp(Wrong):
    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        return super().rows(problem, seed, count)[:3]


class IgnoresTheSeed(Wrong):
    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        return super().rows(problem, 0, count)


class UsesGlobalRandomness(Wrong):
    def rows(self, problem: Problem, seed: int, count: int) -> np.ndarray:
        return super().rows(problem, int(np.random.randint(1000)), count)


class MaximisesNothing(Wrong):
    """Takes every metric for a loss."""

    def search(self, problem: Problem, workshop: Workshop) -> None:
        rows_NC = self.rows(problem, workshop.seed, self.evaluations)
        (name, *_) = problem.objectives
        first = float(problem.evaluate(rows_NC[:1])[name][0])
        problem.evaluate(rows_NC[1:] if first > 0 else rows_NC[:0:-1])


class ForgetsHowFarItWas(Wrong):
    """Goes on differently after an interruption: a counter outlives the search."""

    searches: ClassVar[int] = 0

    def search(self, problem: Problem, workshop: Workshop) -> None:
        type(self).searches += 1
        for row_C in self.rows(problem, workshop.seed + type(self).searches, self.evaluations):
            problem.evaluate(row_C[None])


BITES: list[tuple[type[Wrong], str, tuple[Any, ...]]] = [
    (EvaluatesTwice, "only_feasible_rows_are_evaluated_each_once", (False, 0.7)),
    (IgnoresLimits, "every_one_of_several_limits_is_kept", ()),
    (TrustsTheStart, "a_start_over_a_limit_is_not_evaluated_and_the_search_ends", (7,)),
    (IgnoresTheSpace, "only_feasible_rows_are_evaluated_each_once", (True, 0.7)),
    (IgnoresTheSpace, "rows_that_the_space_forbids_are_never_evaluated", ()),
    (EvaluatesTooMany, "a_single_evaluation_is_enough_to_ask_for", ()),
    (GivesUp, "everything_in_a_tiny_space_is_found", ([3, 1, 4], False)),
    (GivesUp, "a_handful_of_feasible_rows_in_a_vast_space_is_found", ()),
    (IgnoresTheSeed, "another_seed_evaluates_other_rows", ()),
    (UsesGlobalRandomness, "the_random_state_of_others_is_neither_used_nor_changed", (2,)),
    (MaximisesNothing, "a_metric_where_higher_is_better_is_searched_as_its_negative", ()),
    (ForgetsHowFarItWas, "the_same_seed_evaluates_the_same_rows_in_the_same_order", (3,)),
    (ForgetsHowFarItWas, "a_search_that_is_cut_short_evaluated_the_beginning_of_the_whole", (2,)),
]


def run(strategy: type[Wrong], law: str, arguments: tuple[Any, ...]) -> None:
    class Suite(StrategySuite):
        def strategy(self, evaluations: int) -> Strategy:
            return strategy(evaluations)

    getattr(Suite(), f"test_{law}")(*arguments)


@pytest.mark.parametrize(("strategy", "law", "arguments"), BITES, ids=lambda value: getattr(value, "__name__", None))
def test_a_wrong_strategy_breaks_the_law_it_should(strategy: type[Wrong], law: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AssertionError):
        run(strategy, law, arguments)
    run(Wrong, law, arguments)  # without the fault the law holds


def test_a_strategy_that_learns_nothing_breaks_the_laws_of_learning() -> None:
    class Suite(LearningStrategySuite):
        evaluations = 60

        def strategy(self, evaluations: int) -> Strategy:
            return RandomSearch(evaluations=evaluations)

    for law in (Suite().test_random_search_is_beaten, Suite().test_what_was_learned_decides_what_is_evaluated_next):
        with pytest.raises(AssertionError):
            law()
