"""Laws of which rounds count, by the GPU's own word."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hwnas.profiler.rounds import SLOWEST, State, on_clock

STATES = st.builds(
    State,
    mhz=st.floats(210, 2000),
    celsius=st.floats(20, 90),
    reasons=st.lists(st.sampled_from(["power cap", "brake"]), max_size=1).map(tuple),
)


@given(st.lists(st.none() | STATES))
def test_every_round_is_judged_and_one_without_a_state_counts(states: list[State | None]) -> None:
    counts = on_clock(states)
    assert len(counts) == len(states)
    assert all(count for count, state in zip(counts, states, strict=True) if state is None)


@given(st.integers(0, 50))
def test_without_states_all_rounds_count(rounds: int) -> None:
    assert on_clock([None] * rounds) == [True] * rounds


@given(st.lists(STATES, min_size=1), st.floats(0.1, 1))
def test_rounds_that_count_are_unthrottled_and_near_the_upper_quartile_of_clocks(
    states: list[State], slowest: float
) -> None:
    usual_mhz = np.percentile([state.mhz for state in states], 75)
    for count, state in zip(on_clock(states, slowest=slowest), states, strict=True):
        assert count == ("brake" not in state.reasons and state.mhz >= slowest * usual_mhz)


@given(st.lists(STATES, min_size=1, max_size=8), st.randoms())
def test_whether_a_round_counts_does_not_depend_on_the_order(states: list[State], random) -> None:
    expected = dict(zip(map(id, states), on_clock(states), strict=True))
    random.shuffle(states)
    assert on_clock(states) == [expected[id(state)] for state in states]


def test_a_clock_that_ramps_up_loses_its_first_rounds_alone() -> None:
    ramp = [345.0, 1200.0, 1770.0, 1785.0, 1980.0, 1965.0, 1980.0]
    assert on_clock([State(mhz, 50) for mhz in ramp]) == [False, False, False, True, True, True, True]


def test_a_power_cap_is_known_by_its_clock() -> None:
    states = [State(1700, 70, ("power cap",))] * 4 + [State(1300, 70, ("power cap",))]
    assert on_clock(states) == [True] * 4 + [False]


def test_where_all_rounds_are_throttled_none_counts() -> None:
    assert not any(on_clock([State(1410, 88, ("hardware thermal slowdown",))] * 5))


def test_a_boost_at_the_start_does_not_discard_all_that_follows() -> None:
    assert on_clock([State(1980, 40)] + [State(1600, 60)] * 11) == [True] * 12


def test_the_share_is_of_the_usual_clock() -> None:
    for mhz, other in itertools.product([1000.0, 1980.0], [SLOWEST - 0.01, SLOWEST + 0.01]):
        assert on_clock([State(mhz, 50)] * 4 + [State(other * mhz, 50)]) == [True] * 4 + [other > SLOWEST]
