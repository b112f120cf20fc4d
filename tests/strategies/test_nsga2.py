"""Laws of NSGA-II besides those of every strategy: where it begins, and which offspring it does not evaluate.

Shapes: N architectures, C choices.
"""

from dataclasses import replace

import numpy as np
import pytest

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.costs.function import FunctionCost
from hwnas.strategies.genetic import evolve, nsga2
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.start import spread
from hwnas.strategies.workshop import Workshop
from hwnas.testing.problems import Recorder, choices_of, steps

SPACE = choices_of([4] * 8)
POPULATION = 20


def generations(recorder: Recorder, evaluations: int, seed: int = 0) -> list[IntArray]:
    """Returns the batches that NSGA-II evaluates."""
    batches: list[IntArray] = []

    def evaluate(rows_NC: IntArray) -> dict[str, FloatArray]:
        batches.append(rows_NC)
        return dict(recorder.evaluate(rows_NC))

    problem = replace(recorder.problem(), evaluate=evaluate)
    evolve(problem, nsga2, evaluations=evaluations, population=POPULATION, seed=seed)
    return batches


def test_the_first_generation_is_the_spread_over_the_cheap_objectives() -> None:
    (first_NC, *_) = generations(steps(SPACE), 60)
    expected_NC = spread(steps(SPACE).problem(), POPULATION, np.random.default_rng(0))
    assert np.array_equal(first_NC, expected_NC)


def needs_record(recorder: Recorder, rows_NC: IntArray, known_NC: IntArray) -> np.ndarray:
    """True where an evaluated network has the best loss so far and no higher latency."""
    loss_N, latency_N = recorder.loss(known_NC), recorder.costs["latency"](known_NC)
    best = loss_N == loss_N.min()
    return recorder.costs["latency"](rows_NC) >= latency_N[best].min()


@pytest.mark.parametrize("seed", range(3))
def test_networks_that_need_a_record_are_at_most_half_of_a_generation_and_one(seed: int) -> None:
    """The loss grows with latency, so the start is the best network and nothing else can ever be on the front."""
    recorder = steps(SPACE)
    recorder.loss = recorder.costs["latency"]
    batches = generations(recorder, 150, seed)
    bred = [len(rows_NC) for rows_NC in batches[1:-1]]
    assert bred and max(bred) <= POPULATION / 2
    assert sum(map(len, batches)) == 150


def test_some_networks_that_need_a_record_are_evaluated_and_records_are_found() -> None:
    """The loss is as good as random, so that the best networks of the start are not its slowest."""
    recorder = steps(SPACE)
    recorder.loss = lambda rows_NC: np.sin(np.asarray(rows_NC) @ np.array([2.0, 3, 5, 7, 11, 13, 17, 19]))
    batches = generations(recorder, 200)
    needed = sum(
        int(needs_record(recorder, batch_NC, np.concatenate(batches[:number])).sum())
        for number, batch_NC in enumerate(batches)
        if number
    )
    assert needed >= 10
    assert recorder.loss(np.array(recorder.asked)).min() < recorder.loss(batches[0]).min()


@pytest.mark.parametrize("objectives", [("loss",), ("loss", "accuracy"), ("latency", "size")])
def test_objectives_without_a_cost_or_without_a_metric_are_searched(objectives: tuple[str, ...]) -> None:
    recorder = steps(SPACE)
    Nsga2(evaluations=60).search(recorder.problem(objectives), Workshop(seed=0))
    assert len(recorder.asked) == 60


def test_losses_that_are_not_numbers_end_no_search() -> None:
    recorder = steps(SPACE)
    recorder.loss = lambda rows_NC: np.full(len(rows_NC), np.nan)
    Nsga2(evaluations=60).search(recorder.problem(), Workshop(seed=0))
    assert len(recorder.asked) == 60


def test_unordered_options_are_searched_better_from_a_spread_over_costs() -> None:
    """With options numbered at random, first and last options say nothing of the cost; medians of seven seeds."""
    permuted_CO = np.array([np.random.default_rng(number).permutation(4) for number in range(8)])

    def sizes(rows_NC: IntArray) -> FloatArray:
        return np.asarray(permuted_CO[np.arange(8), rows_NC].sum(axis=1), dtype=float)

    problem = replace(steps(SPACE).problem(), costs={"latency": FunctionCost("latency", "", sizes)})
    spans = [
        [np.ptp(sizes(rows_NC)) for rows_NC in (spread(problem, 20, rng), SPACE.spread_rows(rng, 20))]
        for rng in map(np.random.default_rng, range(7))
    ]
    ours, by_options = np.median(spans, axis=0)
    assert ours > by_options
