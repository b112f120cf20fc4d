"""Laws of RoBoT: it learns which scores to trust, keeps to its pool, and spreads over the cheap objective."""

from dataclasses import replace

import numpy as np
import pytest

from hwnas.benchmarks.tabular import searched
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.costs.function import FunctionCost
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.strategies.bayesian import most_promising
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem, ReadsCosts, costs_read
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.robot import STRATA, Robot
from hwnas.testing.problems import choices_of, steps

SPACE = choices_of([4] * 8)
NAMES = ("half", "rest", "noise", "backwards")


def problem(objectives: tuple[str, ...] = ("loss",)) -> Problem:
    """A problem whose loss is the sum of two scores; a third is noise, and a fourth has half of it the wrong way round."""
    recorder = steps(SPACE)
    gain_C, noise_C = np.random.default_rng(5).uniform(0.2, 1, (2, 8))
    first_C = np.arange(8) < 4

    def score(weights_C: FloatArray) -> FunctionCost:
        return FunctionCost("", "", lambda rows_NC: np.asarray(np.asarray(rows_NC) @ weights_C))

    recorder.loss = lambda rows_NC: np.asarray(-(np.asarray(rows_NC) @ gain_C))
    scores = {
        "half": score(-gain_C * first_C),
        "rest": score(-gain_C * ~first_C),
        "noise": score(noise_C - noise_C.mean()),
        "backwards": score(gain_C * first_C),
    }
    made = recorder.problem(objectives)
    return replace(made, costs={**made.costs, **scores})


def best_loss(strategy: RandomSearch | Robot, seeds: int = 5) -> float:
    return float(np.mean([searched(problem(), strategy, seed).points_ND[:, 0].min() for seed in range(seeds)]))


def pool_losses(seed: int, size: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    rows_NC = problem().feasible(lambda count: SPACE.sample_rows(rng, count), size, rng)
    return problem().evaluate(rows_NC)["loss"]


def test_combined_scores_beat_each_score_alone_and_random_search() -> None:
    combined = best_loss(Robot(evaluations=20, scores="half,rest,noise", pool=500, weightings=15))
    for name in ("half", "rest", "noise"):
        assert combined < best_loss(Robot(evaluations=20, scores=name, pool=500, weightings=15))
    assert combined < best_loss(RandomSearch(evaluations=20))


def test_the_sign_of_a_score_is_learnt() -> None:
    either = [best_loss(Robot(evaluations=12, scores=name, pool=500, weightings=6)) for name in ("half", "backwards")]
    assert either[0] == pytest.approx(either[1], rel=0.02)


def test_a_score_that_is_the_loss_finds_the_best_of_the_pool() -> None:
    costs = {"exact": FunctionCost("", "", lambda rows: problem().evaluate(rows)["loss"])}
    found = searched(replace(problem(), costs=costs), Robot(evaluations=10, scores="exact", pool=300), 3)
    assert found.points_ND[:, 0].min() == pytest.approx(pool_losses(3, 300).min(), rel=1e-12)


def test_every_weighting_is_tried_in_every_quarter_of_the_cheap_objective() -> None:
    made = problem(("loss", "latency"))
    strategy = Robot(evaluations=STRATA, scores="half,rest", pool=400, weightings=1)
    rng = np.random.default_rng(0)
    pool_NC = made.feasible(lambda count: SPACE.sample_rows(rng, count), 400, rng)
    edges = np.quantile(made.costs["latency"].values(pool_NC), [0.25, 0.5, 0.75])
    latency_N = searched(made, strategy, 0).points_ND[:, 1]
    assert sorted(np.searchsorted(edges, latency_N)) == [0, 1, 2, 3]


def test_with_one_objective_there_is_one_best_architecture_per_weighting() -> None:
    batches: list[int] = []
    made = problem()

    def evaluate(rows_NC: IntArray) -> dict[str, FloatArray]:
        batches.append(len(rows_NC))
        return dict(made.evaluate(rows_NC))

    searched(replace(made, evaluate=evaluate), Robot(evaluations=30, scores="half,rest", pool=400, weightings=8), 0)
    assert sum(batches) == 30 and batches[:-1] == [1] * (len(batches) - 1) and 2 <= len(batches) <= 9


def test_losses_that_are_not_numbers_do_not_end_the_search() -> None:
    made = problem()

    def evaluate(rows_NC: IntArray) -> dict[str, FloatArray]:
        loss_N = np.asarray(made.evaluate(rows_NC)["loss"])
        return {"loss": np.where(rows_NC[:, 0] == 3, np.nan, loss_N)}

    trace = searched(replace(made, evaluate=evaluate), Robot(evaluations=40, scores="half,rest", pool=100), 0)
    assert len(trace.rows_NC) == 40 and np.isnan(trace.points_ND).any() and np.isfinite(trace.points_ND).any()


def test_scores_are_costs_that_the_strategy_reads() -> None:
    strategy = Robot(scores="snip, params")
    assert isinstance(strategy, ReadsCosts) and costs_read(strategy) == ("snip", "params")
    assert costs_read(Nsga2()) == ()


def test_a_score_that_the_problem_lacks_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown score 'beauty'; known: backwards, energy, half, latency"):
        searched(problem(), Robot(scores="half,beauty"), 0)


@pytest.mark.parametrize("scores", ["", "snip,,params", "snip,snip"])
def test_scores_that_are_no_different_names_are_refused(scores: str) -> None:
    with pytest.raises(HwnasError, match=r"give different names with commas between them"):
        Robot(scores=scores)


def test_the_most_promising_point_is_uncertain_at_first_and_good_in_the_end() -> None:
    points_NM = np.linspace(0, 1, 101)[:, None]
    known_KM = np.array([[0.4], [0.5]])
    first = most_promising(known_KM, np.array([1.0, 1.1]), points_NM, np.random.default_rng(0))
    assert abs(points_NM[first, 0] - 0.45) > 0.2
    known_KM = points_NM[::5]
    reward_K = -((known_KM[:, 0] - 0.7) ** 2)
    last = most_promising(known_KM, reward_K, points_NM, np.random.default_rng(0))
    assert points_NM[last, 0] == pytest.approx(0.7, abs=0.06)


def test_without_rewards_the_first_point_is_taken() -> None:
    points_NM = np.ones((3, 2))
    assert most_promising(np.empty((0, 2)), np.empty(0), points_NM, np.random.default_rng(0)) == 0
    assert most_promising(points_NM[:1], np.array([np.nan]), points_NM, np.random.default_rng(0)) == 0
