"""The conformance suite of strategies. A test file for your own strategy is:

from hwnas.testing.strategies import StrategySuite

class TestMine(StrategySuite):
    def strategy(self, evaluations: int) -> Strategy:
        return Mine(evaluations=evaluations)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pytest

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.costs.cost import Limit
from hwnas.costs.sizes import SizeCost
from hwnas.evaluate.evaluator import Evaluator
from hwnas.strategies.candidates import all_rows
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem, Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.workshop import Training, Workshop
from hwnas.testing.problems import Recorder, choices_of, steps, uneven

OBJECTIVES: Final = {
    2: ("loss", "latency"),
    3: ("loss", "latency", "size"),
    4: ("loss", "latency", "size", "energy"),
}


class StrategySuite:
    """The laws of a strategy. Override `strategy`; `workshop`, too, where yours needs more than a seed."""

    # Architectures of each search in the laws that compare searches: fewer where a strategy is slow.
    compared: ClassVar[int] = 60

    def strategy(self, evaluations: int) -> Strategy:
        """Returns the strategy under test, which may evaluate at most so many architectures."""
        raise NotImplementedError("override `strategy(self, evaluations)`")

    def workshop(self, seed: int) -> Workshop:
        """Returns the surroundings of a search with this seed."""
        return Workshop(seed=seed)

    def asked(
        self, recorder: Recorder, evaluations: int, *, seed: int = 0, objectives: Sequence[str] = ("loss", "latency")
    ) -> list[tuple[int, ...]]:
        """Returns the rows that the strategy evaluates, in order; the recorder fails where the contract is broken."""
        self.strategy(evaluations).search(recorder.problem(objectives), self.workshop(seed))
        assert len(recorder.asked) <= evaluations, f"evaluate at most {evaluations} architectures"
        return recorder.asked

    # ---- feasible rows, each once, at most so many

    def test_it_has_a_name_and_says_whether_it_trains_weights(self) -> None:
        strategy = self.strategy(10)
        assert strategy.name and isinstance(strategy.name, str)
        assert isinstance(strategy.trains_weights, bool)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
    @pytest.mark.parametrize("conditional", [False, True])
    def test_only_feasible_rows_are_evaluated_each_once(self, conditional: bool, share: float) -> None:
        space = choices_of([3, 4, 2, 3, 2], conditional=conditional)
        latency_N = np.sort(steps(space).costs["latency"](all_rows(space)))
        bound = float(latency_N[int(share * (len(latency_N) - 1))])
        assert self.asked(steps(space, bounds={"latency": bound}), 40)

    def test_every_one_of_several_limits_is_kept(self) -> None:
        recorder = steps(choices_of([4] * 6), bounds={"latency": 5.0, "size": 4.0, "energy": 6.0})
        assert self.asked(recorder, 60)

    def test_rows_that_the_space_forbids_are_never_evaluated(self) -> None:
        space = choices_of([4] * 6, requires=((("c1", (2, 3)),),))
        recorder = steps(space)
        recorder.start_C = space.encode([{f"c{number}": 2 if number == 1 else 0 for number in range(6)}])[0]
        assert self.asked(recorder, 60)

    def test_a_single_evaluation_is_enough_to_ask_for(self) -> None:
        assert len(self.asked(steps(choices_of([4] * 6)), 1)) == 1

    # ---- few feasible rows

    @pytest.mark.parametrize("sizes", [[1], [2], [5], [2] * 6, [3, 1, 4]])
    @pytest.mark.parametrize("conditional", [False, True])
    def test_everything_in_a_tiny_space_is_found(self, sizes: list[int], conditional: bool) -> None:
        space = choices_of(sizes, conditional=conditional)
        assert sorted(self.asked(steps(space), 200)) == [tuple(row_C) for row_C in all_rows(space).tolist()]

    def test_everything_that_limits_leave_is_found(self) -> None:
        space = choices_of([4] * 6)
        latency_N = steps(space).costs["latency"](all_rows(space))
        bound = float(np.sort(latency_N)[59])
        asked = self.asked(steps(space, bounds={"latency": bound}), 100)
        assert len(asked) == np.count_nonzero(latency_N <= bound)

    def test_a_handful_of_feasible_rows_in_a_vast_space_is_found(self) -> None:
        recorder = steps(choices_of([6] * 14))
        one_step_N = np.sort(recorder.costs["latency"](np.eye(14, dtype=np.int64)))
        recorder.bounds = {"latency": float(one_step_N[3])}  # the start, and one of the four cheapest steps from it
        asked = self.asked(recorder, 100)
        assert len(asked) == 5 and {sum(row_C) for row_C in asked} == {0, 1}

    @pytest.mark.parametrize("option", [0, 2])
    def test_a_limit_that_only_the_start_meets_leaves_the_start(self, option: int) -> None:
        recorder = steps(choices_of([3] * 8), bounds={"away": 0.0})
        recorder.costs = {**recorder.costs, "away": lambda rows_NC: np.abs(np.asarray(rows_NC) - option).sum(axis=1)}
        recorder.start_C = np.full(8, option)
        assert self.asked(recorder, 50) == [(option,) * 8]

    @pytest.mark.parametrize("within", [0, 1, 7, 300])
    def test_a_start_over_a_limit_is_not_evaluated_and_the_search_ends(self, within: int) -> None:
        """Also where no row is within the limit: nothing is evaluated then, and whoever searches says so."""
        space = choices_of([4] * 5)
        recorder = steps(space)
        latency_N = recorder.costs["latency"](all_rows(space))
        recorder.start_C = all_rows(space)[latency_N.argmax()]
        recorder.bounds = {"latency": float(np.sort(latency_N)[within - 1]) if within else 0.5 * float(latency_N.min())}
        assert len(self.asked(recorder, 40)) == min(within, 40)

    # ---- objectives

    @pytest.mark.parametrize("count", OBJECTIVES)
    def test_two_three_and_four_objectives_are_searched(self, count: int) -> None:
        asked = self.asked(steps(choices_of([4] * 6), bounds={"latency": 7.0}), 60, objectives=OBJECTIVES[count])
        assert len(asked) > 10

    def test_a_metric_where_higher_is_better_is_searched_as_its_negative(self) -> None:
        space = choices_of([4] * 8)
        asked = [
            self.asked(steps(space), self.compared, objectives=(metric, "latency")) for metric in ("loss", "accuracy")
        ]
        assert asked[0] == asked[1]

    # ---- seeds and resuming

    @pytest.mark.parametrize("count", OBJECTIVES)
    def test_the_same_seed_evaluates_the_same_rows_in_the_same_order(self, count: int) -> None:
        space = choices_of([4] * 8, conditional=True)
        runs = [self.asked(steps(space), self.compared, seed=3, objectives=OBJECTIVES[count]) for _ in range(2)]
        assert runs[0] == runs[1]

    def test_another_seed_evaluates_other_rows(self) -> None:
        first, second = (set(self.asked(steps(choices_of([4] * 8)), self.compared, seed=seed)) for seed in (0, 1))
        assert len(first & second) < 0.5 * len(first)

    @pytest.mark.parametrize("count", OBJECTIVES)
    def test_the_random_state_of_others_is_neither_used_nor_changed(self, count: int) -> None:
        def asked(global_seed: int) -> list[tuple[int, ...]]:
            np.random.seed(global_seed)
            before = np.random.get_state()[1].copy()  # type: ignore[index]
            rows = self.asked(steps(choices_of([4] * 6)), 40, objectives=OBJECTIVES[count])
            assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index]
            return rows

        assert asked(1) == asked(2)

    @pytest.mark.parametrize("count", OBJECTIVES)
    def test_a_search_that_is_cut_short_evaluated_the_beginning_of_the_whole(self, count: int) -> None:
        """Resuming is running again: what is known so far must not change what is evaluated next."""
        whole = self.asked(steps(choices_of([4] * 8)), self.compared, objectives=OBJECTIVES[count])
        cut = steps(choices_of([4] * 8))
        loss = cut.loss

        def loss_until_interrupted(rows_NC: IntArray) -> FloatArray:
            if len(cut.asked) > self.compared // 2:
                raise KeyboardInterrupt
            return loss(rows_NC)

        cut.loss = loss_until_interrupted
        with pytest.raises(KeyboardInterrupt):
            self.asked(cut, self.compared, objectives=OBJECTIVES[count])
        assert cut.asked == whole[: len(cut.asked)]

    @pytest.mark.parametrize("count", OBJECTIVES)
    def test_more_evaluations_begin_with_the_rows_of_fewer(self, count: int) -> None:
        """A finished run is so extended by what a longer one would have evaluated."""
        space = choices_of([4] * 8, conditional=True)
        asked = {
            most: self.asked(steps(space), most, seed=3, objectives=OBJECTIVES[count])
            for most in (1, 7, self.compared // 2 + 3, self.compared)
        }
        assert all(rows == asked[self.compared][:most] for most, rows in asked.items())


class FirstPopulationSuite(StrategySuite):
    """The law of a strategy that takes its first architectures from `strategies/start.py`."""

    def test_it_begins_with_what_the_search_was_given(self) -> None:
        recorder = steps(choices_of([4] * 8))
        given_NC = np.array([[3, 3, 3, 3, 0, 0, 0, 0], [2] * 8, [0, 1, 2, 3, 0, 1, 2, 3]])
        self.strategy(20).search(replace(recorder.problem(), given_NC=given_NC), self.workshop(0))
        assert np.array_equal(recorder.asked[:3], given_NC) and len(recorder.asked) == 20


class LearningStrategySuite(StrategySuite):
    """The laws of a strategy that learns from what it has evaluated."""

    # Medians of five seeds, with 300 evaluations of 4^20 architectures.
    evaluations = 300
    gain = 1.1

    def volume(self, strategy: Strategy, *, blind: bool = False) -> float:
        """Returns the median hypervolume; a blind search sees the same loss everywhere."""

        def volume_of(seed: int) -> float:
            recorder = uneven(choices_of([4] * 20))
            loss = recorder.loss
            if blind:
                recorder.loss = lambda rows_NC: np.ones(len(rows_NC))
            strategy.search(recorder.problem(), self.workshop(seed))
            rows_NC = np.array(recorder.asked)
            return hypervolume(np.stack([loss(rows_NC), recorder.costs["latency"](rows_NC)], axis=1), (1.0, 1.0))

        return float(np.median([volume_of(seed) for seed in range(5)]))

    def test_random_search_is_beaten(self) -> None:
        random = self.volume(RandomSearch(evaluations=self.evaluations))
        assert self.volume(self.strategy(self.evaluations)) > self.gain * random

    def test_what_was_learned_decides_what_is_evaluated_next(self) -> None:
        strategy = self.strategy(self.evaluations)
        assert self.volume(strategy) > self.gain * self.volume(strategy, blind=True)


class WeightTrainingSuite:
    """The laws of a strategy that trains weights of its own. Override `strategy` and `training`."""

    def strategy(self) -> Strategy:
        """Returns the strategy under test; small options make the suite fast."""
        raise NotImplementedError("override `strategy(self)`")

    def training(self) -> Training:
        """Returns the data, task and recipe to train with, and what makes a supernet of the space to search."""
        raise NotImplementedError("override `training(self)`")

    def searched(
        self, folder: Path, *, seed: int = 0, share: float = 1.0, asked: float = 1.0
    ) -> list[tuple[Arch, float]]:
        """Returns the evaluated architectures and their first metric.

        `share` and `asked` place the limit on parameters, of the problem and as people asked for it, between the smallest
        and the largest network.
        """
        training = self.training()
        space = training.new_supernet().space
        params = SizeCost(space, "params")
        ends = params.values(space.encode([space.smallest(), space.largest()]))
        bounds = [float(ends[0] + place * (ends[1] - ends[0])) for place in (share, asked)]
        evaluated: list[tuple[Arch, float]] = []
        first = training.task.metrics[0].name

        def evaluate(rows_NC: IntArray, evaluator: Evaluator) -> Mapping[str, FloatArray]:
            archs = [space.decode(row_C) for row_C in rows_NC]
            metrics = list(evaluator.evaluate(archs))
            evaluated.extend((arch, values[first]) for arch, values in zip(archs, metrics, strict=True))
            return {name: np.array([values[name] for values in metrics]) for name in metrics[0]}

        problem = Problem(
            space=space,
            objectives=(first, "params"),
            metrics=training.task.metrics,
            costs={"params": params},
            evaluate=evaluate,
            limits=(Limit(params, bounds[0]),),
            asked=(Limit(params, bounds[1]),),
            start_C=space.encode([space.smallest()])[0],
        )
        self.strategy().search(problem, Workshop(seed=seed, folder=folder, training=training))
        assert (params.values(space.encode([arch for arch, _ in evaluated])) <= bounds[0]).all(), "keep the limits"
        return evaluated

    def test_it_has_a_name_and_says_that_it_trains_weights(self) -> None:
        assert self.strategy().name and self.strategy().trains_weights is True

    def test_networks_within_the_limits_are_evaluated_and_their_metrics_are_numbers(self, tmp_path: Path) -> None:
        evaluated = self.searched(tmp_path, share=0.5, asked=0.5)
        assert evaluated and all(np.isfinite(value) for _, value in evaluated)
        assert len({arch.id for arch, _ in evaluated}) == len(evaluated), "evaluate each network once"

    def test_a_search_that_is_run_again_evaluates_the_same(self, tmp_path: Path) -> None:
        """Resume is replay: with the checkpoints of the first run, and without them."""
        first = self.searched(tmp_path / "a")
        assert self.searched(tmp_path / "a") == first
        assert self.searched(tmp_path / "b") == first

    def test_a_tighter_limit_trains_nothing_again(self, tmp_path: Path) -> None:
        """The limits that people asked for name the training; tighter ones only choose another network of it."""
        self.searched(tmp_path)
        checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
        assert checkpoints, "keep what was trained in `workshop.folder`, as *.pt, so that it is not trained again"
        assert self.searched(tmp_path, share=0.2)
        assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints

    def test_the_random_state_of_numpy_is_neither_used_nor_changed(self, tmp_path: Path) -> None:
        np.random.seed(1)
        before = np.random.get_state()[1].copy()  # type: ignore[index]
        self.searched(tmp_path)
        assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index]
