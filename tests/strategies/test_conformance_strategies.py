"""What every strategy must do; a new line in the registry inherits it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.choice import Choice, only_if
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.strategies.pareto import hypervolume
from hwnas.strategies.problem import Problem, Strategy, random_search
from hwnas.strategies.registry import STRATEGIES

pytestmark = pytest.mark.parametrize("search", STRATEGIES.values(), ids=STRATEGIES.keys())


def space_of(sizes: Iterable[int], deep: bool = False) -> SearchSpace:
    """Choices of so many options; `deep` ones are on only where the first choice is not at its first option."""
    choices = []
    for number, size in enumerate(sizes):
        when = only_if({"c0": choices[0].options[1:]}) if deep and number > 0 and len(choices[0].options) > 1 else ()
        choices.append(Choice(f"c{number}", tuple(range(size)), when))
    return SearchSpace("synthetic", tuple(choices), Chain(()), (1,), 1)


def all_rows(space: SearchSpace) -> IntArray:
    sizes = [len(choice.options) for choice in space.choices]
    rows = np.unique(space.normalise(np.indices(sizes).reshape(len(sizes), -1).T), axis=0)
    assert len(rows) == space.size
    return rows


@dataclass
class Task:
    """A problem whose loss remembers what it was asked, and refuses what it must not be asked."""

    space: SearchSpace
    latency_ms: Callable[[IntArray], FloatArray]
    loss_of: Callable[[IntArray], FloatArray]
    fastest_C: IntArray
    budget_ms: float = np.inf
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def run(self, search: Strategy, evaluations: int, seed: int = 0) -> "Task":
        limits = {"latency": lambda rows: self.latency_ms(rows) / self.budget_ms - 1}
        problem = Problem(
            space=self.space, latency_ms=self.latency_ms, loss=self.loss, limits=limits, fastest_C=self.fastest_C
        )
        search(problem, evaluations=evaluations, seed=seed)
        return self

    def loss(self, rows_NC: IntArray) -> FloatArray:
        assert rows_NC.ndim == 2 and np.array_equal(self.space.normalise(rows_NC), rows_NC)
        assert (self.latency_ms(rows_NC) <= self.budget_ms * (1 + 1e-9)).all()  # limits are relative, and rounded
        for row in rows_NC:
            key = tuple(row.tolist())
            assert key not in self.asked
            self.asked.append(key)
        return self.loss_of(rows_NC)


def task(space: SearchSpace, seed: int = 0, budget_ms: float = np.inf) -> Task:
    """Every step of an option costs latency and, for the most part, gains loss."""
    rng = np.random.default_rng(seed)
    costs, gains = (rng.uniform(0.2, 1, len(space.choices)) for _ in range(2))

    def latency_ms(rows_NC: IntArray) -> FloatArray:
        return 1 + np.asarray(rows_NC) @ costs

    def loss_of(rows_NC: IntArray) -> FloatArray:
        return np.asarray(10 - np.sqrt(rows_NC) @ gains)

    return Task(space, latency_ms, loss_of, np.zeros(len(space.choices), dtype=np.int64), budget_ms)


# ---- how many, and which


@st.composite
def small_spaces(draw: st.DrawFn) -> SearchSpace:
    return space_of(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)), draw(st.booleans()))


@given(space=small_spaces(), share=st.floats(0, 1), evaluations=st.integers(1, 40), seed=st.integers(0, 2**31))
@settings(max_examples=12, deadline=None)
def test_as_many_different_feasible_architectures_are_asked_for_as_wanted_or_there_are(
    search: Strategy, space: SearchSpace, share: float, evaluations: int, seed: int
) -> None:
    one = task(space, seed)
    latency_N = np.sort(one.latency_ms(all_rows(space)))
    one.budget_ms = float(latency_N[int(share * (len(latency_N) - 1))])
    feasible = int((latency_N <= one.budget_ms).sum())
    assert len(one.run(search, evaluations, seed).asked) == min(evaluations, feasible)


def test_all_of_a_space_is_found_where_so_many_are_wanted(search: Strategy) -> None:
    space = space_of([2] * 9)
    asked = task(space).run(search, evaluations=1000).asked
    assert sorted(asked) == [tuple(row) for row in all_rows(space).tolist()]


def test_a_handful_of_feasible_architectures_in_a_vast_space_is_found(search: Strategy) -> None:
    one = task(space_of([6] * 14))
    steps = np.sort(one.latency_ms(np.eye(14, dtype=np.int64)))
    one.budget_ms = float(steps[3])  # the fastest, and at most one step of the four cheapest from it
    asked = one.run(search, evaluations=100).asked
    assert len(asked) == 5 and {sum(row) for row in asked} == {0, 1}


def test_a_budget_that_admits_only_the_fastest_finds_the_fastest(search: Strategy) -> None:
    one = task(space_of([3] * 8), budget_ms=1.0)
    assert one.run(search, evaluations=50).asked == [(0,) * 8]


def test_the_fastest_need_not_be_the_first_options(search: Strategy) -> None:
    one = task(space_of([3] * 8))
    backwards = Task(
        one.space, lambda rows: one.latency_ms(2 - np.asarray(rows)), one.loss_of, np.full(8, 2), budget_ms=1.0
    )
    assert backwards.run(search, evaluations=50).asked == [(2,) * 8]


@pytest.mark.parametrize("options", [1, 2, 5])
def test_a_space_of_one_choice_is_searched_through(search: Strategy, options: int) -> None:
    asked = task(space_of([options])).run(search, evaluations=20).asked
    assert sorted(asked) == [(i,) for i in range(options)]


def test_a_single_evaluation_is_enough_to_ask_for(search: Strategy) -> None:
    assert len(task(space_of([4] * 6)).run(search, evaluations=1).asked) == 1


def test_a_problem_without_limits_is_feasible_everywhere(search: Strategy) -> None:
    one = task(space_of([4] * 6))
    problem = Problem(space=one.space, latency_ms=one.latency_ms, loss=one.loss, fastest_C=one.fastest_C)
    search(problem, evaluations=60, seed=0)
    assert len(one.asked) == 60


def test_every_one_of_several_limits_is_kept(search: Strategy) -> None:
    one = task(space_of([4] * 6))
    limits = {"first": lambda rows: rows[:, 0] - 1.5, "last": lambda rows: 0.5 - rows[:, -1]}
    fastest_C = np.array([0, 0, 0, 0, 0, 1])
    problem = Problem(space=one.space, latency_ms=one.latency_ms, loss=one.loss, limits=limits, fastest_C=fastest_C)
    search(problem, evaluations=80, seed=0)
    assert len(one.asked) == 80 and all(row[0] <= 1 <= row[-1] for row in one.asked)


# ---- seeds


@given(seed=st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_the_same_seed_asks_for_the_same_in_the_same_order(search: Strategy, seed: int) -> None:
    space = space_of([4] * 8, deep=True)
    runs = [task(space, budget_ms=9.0).run(search, 60, seed).asked for _ in range(2)]
    assert runs[0] == runs[1]


def test_another_seed_asks_for_others(search: Strategy) -> None:
    space = space_of([4] * 8)
    first, second = (set(task(space).run(search, 60, seed).asked) for seed in (0, 1))
    assert len(first & second) < 30


def test_the_random_state_of_others_is_neither_used_nor_moved(search: Strategy) -> None:
    def asked(global_seed: int) -> list[tuple[int, ...]]:
        np.random.seed(global_seed)
        before = np.random.get_state()[1].copy()
        found = task(space_of([4] * 6)).run(search, 40).asked
        assert np.array_equal(np.random.get_state()[1], before)
        return found

    assert asked(1) == asked(2)


def test_a_search_that_is_cut_short_asked_for_the_beginning_of_the_whole(search: Strategy) -> None:
    """What a resumed run relies on: the answers known so far do not change what is asked next."""
    space = space_of([4] * 8)

    def run(stop_after: int) -> list[tuple[int, ...]]:
        one = task(space)
        original = one.loss_of

        def loss_of(rows_NC: IntArray) -> FloatArray:
            if len(one.asked) > stop_after:
                raise KeyboardInterrupt
            return original(rows_NC)

        one.loss_of = loss_of
        if stop_after < 80:
            with pytest.raises(KeyboardInterrupt):
                one.run(search, 80)
            return one.asked[:-1]
        return one.run(search, 80).asked

    assert run(33) == run(80)[:33]


# ---- quality


def uneven(space: SearchSpace) -> Task:
    """A few choices gain most of the loss, a few others cost most of the latency; both axes 0..1 from best to worst."""
    rng = np.random.default_rng(7)
    costs, gains = rng.lognormal(0, 1.5, (2, len(space.choices)))
    steps = np.array([len(choice.options) - 1 for choice in space.choices])
    costs, gains = costs / (costs @ steps), gains / (gains @ steps)
    return Task(
        space,
        latency_ms=lambda rows: np.asarray(np.asarray(rows) @ costs),
        loss_of=lambda rows: np.asarray(1 - np.asarray(rows) @ gains),
        fastest_C=np.zeros(len(space.choices), dtype=np.int64),
    )


def median_volume(search: Strategy, blind: bool = False) -> float:
    """Hypervolume after 300 evaluations, the median of five seeds; a blind search is told the same loss for everything."""

    def volume(seed: int) -> float:
        one = uneven(space_of([4] * 20))
        true_loss = one.loss_of
        if blind:
            one.loss_of = lambda rows: np.ones(len(rows))
        rows_NC = np.array(one.run(search, 300, seed).asked)
        return hypervolume(np.stack([true_loss(rows_NC), one.latency_ms(rows_NC)], axis=1), (1.0, 1.0))

    return float(np.median([volume(seed) for seed in range(5)]))


def test_chance_is_beaten(search: Strategy) -> None:
    if search is random_search:
        pytest.skip("chance is what the others are compared with")
    assert median_volume(search) > 1.1 * median_volume(random_search)


def test_what_was_learned_decides_what_is_asked_next(search: Strategy) -> None:
    if search is random_search:
        pytest.skip("chance learns nothing")
    assert median_volume(search) > 1.1 * median_volume(search, blind=True)
