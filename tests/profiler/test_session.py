"""Laws of the measuring protocol, on a machine whose clock is a number and whose calls take the time they say."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import MeasurementError
from hwnas.profiler.bursts import Timer, bootstrap_half_width, stamped
from hwnas.profiler.clock import Clock
from hwnas.profiler.patience import Pace, measure_steadily
from hwnas.profiler.protocol import Protocol, Session, Timing
from hwnas.profiler.rounds import State
from hwnas.profiler.session import measure
from hwnas.profiler.setup import Setup

REFERENCE = 0


class Machine:
    """Time passes only in calls. `slowness(ms)` and `disturbed` rounds multiply what a call takes."""

    def __init__(self, slowness: Callable[[float], float] = lambda ms: 1.0, disturbed: Sequence[int] = ()) -> None:
        self.ns = 0
        self.slowness = slowness
        self.disturbed = disturbed
        self.round = -1  # warming up
        self.log: list[tuple[int, int]] = []  # (round, who) of every call
        self.interruptions = 0
        self.clock = Clock(now_ns=lambda: self.ns, interruptions=lambda: self.interruptions, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)

    def call(self, who: int, nominal_ms: Callable[[], float], immune: bool = False) -> Timer:
        def run() -> None:
            factor = 1.0 if immune else self.slowness(self.ns / 1e6) * (3.0 if self.round in self.disturbed else 1.0)
            self.ns += int(nominal_ms() * factor * 1e6)
            self.log.append((self.round, who))

        return stamped(run)

    # a reporter sees the rounds begin

    def track(self, items: Sequence[Any], what: str) -> Iterator[Any]:
        for item in items:
            self.round = item
            yield item

    def note(self, text: str) -> None:
        assert "slower than expected: is the device busy?" in text

    def bursts(self) -> list[list[tuple[int, int]]]:
        """Per round, the (who, calls) of each burst in order."""
        result: list[list[tuple[int, int]]] = [[] for _ in range(self.round + 1)]
        for number, who in self.log:
            if number < 0:
                continue
            if not result[number] or result[number][-1][0] != who:
                result[number].append((who, 0))
            result[number][-1] = (who, result[number][-1][1] + 1)
        return result


def session(
    machine: Machine,
    subjects: Iterable[Callable[[], float]],
    protocol: Protocol,
    *,
    reference: Callable[[], float] = lambda: 1.0,
    immune_reference: bool = False,
    seed: int = 0,
) -> Session:
    calls = [machine.call(who, nominal_ms) for who, nominal_ms in enumerate(subjects, start=1)]
    setup = Setup(rng=np.random.default_rng(seed), protocol=protocol, reporter=machine, clock=machine.clock)
    return measure(calls, machine.call(REFERENCE, reference, immune_reference), setup)


def constant(ms: float) -> Callable[[], float]:
    return lambda: ms


def noisy(ms: float, seed: int) -> Callable[[], float]:
    """`ms` at best; on top, exponentially distributed delays of a tenth of it."""
    rng = np.random.default_rng(seed)
    return lambda: ms * (1 + 0.1 * rng.exponential())


# ---- what is measured is what is true


@given(ms=st.floats(0.05, 5), seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_percentiles_of_a_noisy_call_are_recovered(ms: float, seed: int) -> None:
    protocol = Protocol(burst_ms=300 * ms, warmup_ms=0.1)
    (timing,) = session(Machine(), [noisy(ms, seed)], protocol, seed=seed).timings
    assert timing.p10_ms == pytest.approx(ms * (1 - 0.1 * np.log(0.9)), rel=0.01)
    assert timing.median_ms == pytest.approx(ms * (1 - 0.1 * np.log(0.5)), rel=0.015)
    assert timing.p90_ms == pytest.approx(ms * (1 - 0.1 * np.log(0.1)), rel=0.05)


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=6), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_results_are_in_the_order_of_the_subjects(times_ms: list[float], seed: int) -> None:
    found = session(Machine(), map(constant, times_ms), Protocol(rounds=3, most_rounds=3, warmup_ms=1), seed=seed)
    assert [timing.p10_ms for timing in found.timings] == pytest.approx(times_ms, rel=1e-3)
    assert found.reference.p10_ms == pytest.approx(1.0)


@given(drift=st.floats(-0.4, 0.8), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_clock_that_drifts_slowly_does_not_show(drift: float, seed: int) -> None:
    protocol = Protocol(rounds=12, burst_ms=5, warmup_ms=1)
    session_ms = 12 * 2 * 7.0
    machine = Machine(lambda ms: 1 + drift * min(ms / session_ms, 1.5))
    found = session(machine, [constant(0.5)], protocol, seed=seed)
    assert found.timings[0].p10_ms / found.reference.p10_ms == pytest.approx(0.5, rel=0.02 + 0.05 * abs(drift))
    assert found.timings[0].spread < 0.01 + 0.1 * abs(drift)


@pytest.mark.parametrize("slowness", [lambda ms: 1 + ms / 1000, lambda ms: 1.3 + 0.3 * np.sin(ms / 80)])
def test_drift_is_cancelled_by_the_reference_and_by_nothing_else(slowness: Callable[[float], float]) -> None:
    protocol = Protocol(rounds=30, burst_ms=3)

    def error_and_spread(immune_reference: bool) -> tuple[float, float]:
        found = session(Machine(slowness), [constant(0.5)], protocol, immune_reference=immune_reference)
        (timing,) = found.timings
        return abs(timing.p10_ms / found.reference.p10_ms / 0.5 - 1), timing.spread

    (error, spread), (raw_error, raw_spread) = error_and_spread(False), error_and_spread(True)
    assert error < 0.02 and error < 0.2 * raw_error
    assert spread < 0.02 and spread < 0.2 * raw_spread


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_spikes_in_single_calls_do_not_move_p10_and_median(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def spiky() -> float:
        return 0.1 * (40 if rng.uniform() < 0.03 else 1)

    (timing,) = session(Machine(), [spiky], Protocol(burst_ms=5, warmup_ms=1)).timings
    assert timing.p10_ms == pytest.approx(0.1, rel=1e-3)
    assert timing.median_ms == pytest.approx(0.1, rel=1e-3)


@given(st.sets(st.integers(0, 11), max_size=5), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_rounds_disturbed_by_other_load_are_discarded_and_counted(disturbed: set[int], seed: int) -> None:
    machine = Machine(disturbed=sorted(disturbed))
    found = session(
        machine, [noisy(0.2, seed)], Protocol(rounds=12, most_rounds=12, burst_ms=10, warmup_ms=1), seed=seed
    )
    quiet = session(
        Machine(), [noisy(0.2, seed)], Protocol(rounds=12, most_rounds=12, burst_ms=10, warmup_ms=1), seed=seed
    )
    assert found.discarded_rounds == len(disturbed)
    assert len(found.timings[0].rounds_ms) == len(found.reference.rounds_ms) == 12 - len(disturbed)
    assert found.timings[0].p10_ms == pytest.approx(quiet.timings[0].p10_ms, rel=0.02)
    assert found.timings[0].p90_ms == pytest.approx(quiet.timings[0].p90_ms, rel=0.1)


@given(st.sets(st.integers(0, 11), max_size=4), st.sampled_from([0.5, 3.0]), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_few_rounds_in_which_only_the_subject_was_slow_or_lucky_do_not_count(
    rounds: set[int], factor: float, seed: int
) -> None:
    machine = Machine()
    noise = noisy(0.2, seed)

    def unlucky() -> float:
        return noise() * (factor if machine.round in rounds else 1)

    found = session(machine, [unlucky], Protocol(rounds=12, most_rounds=12, burst_ms=20, warmup_ms=1), seed=seed)
    assert found.discarded_rounds == 0
    assert found.timings[0].p10_ms == pytest.approx(0.2 * (1 - 0.1 * np.log(0.9)), rel=0.015)
    assert found.timings[0].median_ms == pytest.approx(0.2 * (1 - 0.1 * np.log(0.5)), rel=0.04)


@pytest.mark.parametrize(("change", "discarded"), [(1.004, 0), (1.006, 1), (0.996, 0), (0.994, 1)])
def test_differences_below_half_a_percent_are_the_clocks_own(change: float, discarded: int) -> None:
    machine = Machine()

    def reference() -> float:
        return change if machine.round == 4 else 1.0

    assert session(machine, [], Protocol(), reference=reference).discarded_rounds == discarded


# ---- how it goes about it


@given(subjects=st.integers(0, 6), rounds=st.integers(3, 6), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_every_round_visits_everyone_once_in_a_burst_of_its_own_length(subjects: int, rounds: int, seed: int) -> None:
    machine = Machine()
    protocol = Protocol(rounds=rounds, most_rounds=rounds, burst_ms=4, warmup_ms=1)
    times_ms = [0.3 + 0.5 * i for i in range(subjects)]
    found = session(machine, map(constant, times_ms), protocol, seed=seed)
    calls = {REFERENCE: found.reference, **dict(enumerate(found.timings, start=1))}
    for bursts in machine.bursts():
        assert sorted(who for who, _ in bursts) == list(range(subjects + 1))
        for who, count in bursts:
            assert count == calls[who].calls // rounds + protocol.dropped_calls


def test_the_order_is_drawn_anew_in_each_round() -> None:
    machine = Machine()
    session(machine, [constant(1.0)] * 5, Protocol(rounds=8, burst_ms=3))
    orders = {tuple(who for who, _ in bursts) for bursts in machine.bursts()}
    assert len(orders) >= 7


@given(call_ms=st.floats(0.01, 2), burst_ms=st.floats(0.5, 20))
@settings(max_examples=40, deadline=None)
def test_the_timed_part_of_a_burst_lasts_as_long_as_asked_but_at_least_three_calls(
    call_ms: float, burst_ms: float
) -> None:
    protocol = Protocol(rounds=3, burst_ms=burst_ms, warmup_ms=0.1)
    (timing,) = session(Machine(), [constant(call_ms)], protocol).timings
    per_burst = timing.calls / 3
    assert per_burst == int(per_burst) >= 3
    assert per_burst == 3 or burst_ms - call_ms < per_burst * call_ms < burst_ms * 1.001


def test_the_first_calls_of_a_burst_do_not_count() -> None:
    machine = Machine()
    calls = {-1: 0}

    def cold_start() -> float:
        calls[machine.round] = calls.get(machine.round, 0) + 1
        return 7.0 if calls[machine.round] <= 2 else 0.1

    (timing,) = session(machine, [cold_start], Protocol(burst_ms=3, dropped_calls=2)).timings
    assert timing.p90_ms == pytest.approx(0.1)
    machine, calls = Machine(), {-1: 0}
    (timing,) = session(machine, [cold_start], Protocol(burst_ms=0.5, dropped_calls=0)).timings
    assert timing.p90_ms > 1


@given(warmup_ms=st.floats(0, 30), calls=st.integers(1, 20), call_ms=st.floats(0.1, 5))
@settings(max_examples=40, deadline=None)
def test_warming_up_takes_the_time_and_the_calls_asked_for_and_no_more(
    warmup_ms: float, calls: int, call_ms: float
) -> None:
    machine = Machine()
    session(machine, [], Protocol(rounds=3, warmup_ms=warmup_ms, warmup_calls=calls), reference=constant(call_ms))
    warmed_up = sum(number == -1 for number, _ in machine.log)
    assert warmed_up in {max(calls, int(np.ceil(warmup_ms / call_ms)) + more) for more in (0, 1, 2)} | {calls}


def test_the_same_seed_measures_in_the_same_order() -> None:
    logs = []
    for seed in (1, 1, 2):
        machine = Machine()
        session(machine, [constant(1.0)] * 4, Protocol(rounds=5, burst_ms=3), seed=seed)
        logs.append(machine.log)
    assert logs[0] == logs[1] != logs[2]


# ---- what cannot be true


@pytest.mark.parametrize("step_ns", [0, -1000])
def test_a_clock_that_stands_still_or_runs_backwards_is_an_error_not_a_hang(step_ns: int) -> None:
    clock = itertools.count(0, step_ns)
    setup = Setup(rng=np.random.default_rng(0), clock=Clock(now_ns=lambda: next(clock)))
    with pytest.raises(MeasurementError, match="5 calls took no time; the clock is broken"):
        measure([], stamped(lambda: None), setup)


@pytest.mark.parametrize("who", ["reference", "subject"])
def test_calls_that_take_no_time_once_warm_are_an_error(who: str) -> None:
    machine = Machine()

    def stopped() -> float:
        return 1.0 if machine.round < 0 else 0.0

    calls = {"reference": constant(1.0), "subject": constant(1.0)} | {who: stopped}
    with pytest.raises(MeasurementError, match=r"cannot (be|take) 0\.0 ms; the clock"):
        session(machine, [calls["subject"]], Protocol(), reference=calls["reference"])


TIMES = st.floats(allow_nan=True) | st.sampled_from([0.0, -1.0, 1.0, 2.0])


@given(TIMES, TIMES, TIMES)
def test_a_timing_is_positive_and_its_percentiles_are_in_order(p10: float, median: float, p90: float) -> None:
    def timing() -> Timing:
        return Timing(
            p10_ms=p10,
            median_ms=median,
            p90_ms=p90,
            spread=0.0,
            half_width=0.0,
            converged=True,
            calls=9,
            discarded=0,
            rounds_ms=(1.0,),
        )

    if 0 < p10 <= median <= p90:
        assert [timing().statistic_ms(name) for name in ("p10", "median", "p90")] == [p10, median, p90]
    else:
        with pytest.raises(MeasurementError, match="the clock or the runtime is broken"):
            timing()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 2}, "needs at least 3 rounds of positive length"),
        ({"burst_ms": 0.0}, "needs at least 3 rounds of positive length"),
        ({"burst_ms": -1.0}, "needs at least 3 rounds of positive length"),
        ({"warmup_calls": 0}, "warming up needs a call"),
        ({"dropped_calls": -1}, "dropped calls and outliers cannot be negative"),
        ({"outlier_mads": -1.0}, "dropped calls and outliers cannot be negative"),
    ],
)
def test_a_protocol_that_measures_nothing_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        Protocol(**wrong)


# ---- devices that tell their state


def test_rounds_off_the_clock_do_not_count_and_states_are_kept() -> None:
    machine = Machine(slowness=lambda ms: 1.0)

    def off() -> bool:
        return machine.round in (2, 5, 6)

    def state() -> State:
        reasons = ("power brake",) if machine.round == 6 else ()
        return State(1400.0 if off() and not reasons else 1980.0, 50.0 + machine.round, reasons)

    # A subject that the clock slows down, beside a reference that it does not: scaling would not help.
    slowed = machine.call(1, lambda: 1.3 if off() else 1.0)
    setup = Setup(
        rng=np.random.default_rng(0),
        protocol=Protocol(rounds=12, most_rounds=12),
        reporter=machine,
        clock=replace(machine.clock, state=state),
    )
    found = measure([slowed], machine.call(REFERENCE, constant(1.0)), setup)
    assert found.discarded_rounds == 3
    assert len(found.states) == 12 and found.states[4] == State(1980.0, 54.0)
    assert found.timings[0].rounds_ms == (1.0,) * 9


# ---- machines with slow minutes


def steadily(machine: Machine, expected_ms: float | None) -> Session:
    protocol = Protocol(rounds=3, burst_ms=5, warmup_ms=1)
    setup = Setup(
        rng=np.random.default_rng(0),
        protocol=replace(protocol, patience_s=10.0),
        reporter=machine,
        clock=machine.clock,
    )
    return measure_steadily(
        [machine.call(1, constant(2.0))],
        machine.call(REFERENCE, constant(1.0)),
        setup,
        Pace(expected_ms=expected_ms, slower=0.05),
    )


def test_a_session_of_a_slow_minute_is_measured_again() -> None:
    machine = Machine(slowness=lambda ms: 1.6 if ms < 150 else 1.0)  # longer than one session takes
    assert steadily(machine, expected_ms=1.0).timings[0].p10_ms == pytest.approx(2.0)


def test_where_nothing_is_expected_one_session_counts() -> None:
    machine = Machine(slowness=lambda ms: 1.6 if ms < 150 else 1.0)
    assert steadily(machine, expected_ms=None).timings[0].p10_ms == pytest.approx(3.2)


def test_a_machine_that_stays_slow_is_measured_as_it_is() -> None:
    machine = Machine(slowness=lambda ms: 1.6)
    assert steadily(machine, expected_ms=1.0).timings[0].p10_ms == pytest.approx(3.2)
    assert 10 < machine.ns / 1e9 < 30  # it was waited for


def test_one_slow_call_in_the_warm_up_does_not_shorten_the_bursts() -> None:
    def calls_of_a_burst(last_ms: float) -> int:
        machine = Machine()
        times = itertools.chain([0.1] * 4, [last_ms], itertools.repeat(0.1))
        session(machine, [lambda: next(times)], Protocol(rounds=3, burst_ms=6, warmup_ms=0.1, warmup_calls=5))
        return dict(machine.bursts()[0])[1]

    assert calls_of_a_burst(3.0) == calls_of_a_burst(0.1) == 62


# ---- how long it takes, and what it is worth


def jumpy(machine: Machine, ms: float, share: float, seed: int = 0) -> Callable[[], float]:
    """A subject whose rounds differ by themselves: normally distributed, with this relative deviation."""
    factors = 1 + share * np.random.default_rng(seed).standard_normal(1000)
    return lambda: ms * factors[machine.round]


def test_what_is_precise_leaves_and_what_is_not_stays() -> None:
    machine = Machine()
    protocol = Protocol(rounds=12, most_rounds=120)
    steady, unsteady = session(machine, [constant(0.5), jumpy(machine, 0.5, 0.03)], protocol).timings
    assert len(steady.rounds_ms) == 12 and steady.half_width == 0
    assert 12 < len(unsteady.rounds_ms) <= 120
    assert steady.converged and unsteady.converged
    assert unsteady.p10_ms == pytest.approx(0.5, rel=0.02)


def test_a_clock_with_two_speeds_is_given_up_and_flagged() -> None:
    machine = Machine()
    protocol = Protocol(rounds=6, most_rounds=300, burst_ms=2)

    def two_speeds() -> float:
        return 0.5 if machine.round % 2 else 0.8

    (timing,) = session(machine, [two_speeds], protocol).timings
    assert not timing.converged and timing.half_width > 0.05
    assert machine.round < 100  # more rounds were of no use


@given(st.sampled_from([0.6, 1.7]), st.integers(5, 400), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_step_of_the_clock_does_not_show_whenever_it_comes(step: float, at_ms: int, seed: int) -> None:
    machine = Machine(lambda ms: step if ms > at_ms else 1.0)
    subjects = [constant(0.5), jumpy(machine, 0.5, 0.03, seed)]  # one leaves early, so its rounds are before the step
    steady, _ = session(machine, subjects, Protocol(rounds=6, most_rounds=40, burst_ms=5), seed=seed).timings
    reference_ms = session(Machine(), [], Protocol(rounds=3)).reference.p10_ms
    assert steady.p10_ms / 0.5 == pytest.approx(reference_ms, rel=0.03) or steady.p10_ms / 0.5 == pytest.approx(
        reference_ms * step, rel=0.03
    )


def test_what_was_precise_in_a_slow_phase_is_measured_in_a_fast_one() -> None:
    machine = Machine()

    def reference() -> float:
        return 1.1 if machine.round < 12 else 1.0

    def subject() -> float:
        return 0.5 * (1.25 if machine.round < 12 else 1.0)  # slows down more than the reference

    calls = [machine.call(1, subject), machine.call(2, jumpy(machine, 0.5, 0.03))]
    setup = Setup(rng=np.random.default_rng(0), reporter=machine, clock=machine.clock)
    found = measure(calls, machine.call(REFERENCE, reference), setup)
    assert found.discarded_rounds >= 12
    assert found.timings[0].p10_ms == pytest.approx(0.5, rel=0.005)


def test_what_was_measured_in_too_few_rounds_that_count_did_not_converge() -> None:
    machine = Machine()

    def reference() -> float:
        return 1.0 if machine.round < 3 else 1.3  # three fast rounds are too few

    found = session(machine, [constant(0.5)], Protocol(rounds=12, most_rounds=12), reference=reference)
    assert not found.timings[0].converged and len(found.timings[0].rounds_ms) == 12


@given(st.sets(st.integers(0, 11), max_size=5))
@settings(max_examples=20, deadline=None)
def test_bursts_that_other_work_interrupted_do_not_count(interrupted: set[int]) -> None:
    machine = Machine()

    def preempted() -> float:
        machine.interruptions += machine.round in interrupted
        return 0.3 * (1.2 if machine.round in interrupted else 1.0)

    (timing,) = session(machine, [preempted], Protocol(rounds=12, most_rounds=12)).timings
    assert timing.discarded == len(interrupted)
    assert (timing.p10_ms, timing.p90_ms) == (pytest.approx(0.3), pytest.approx(0.3))


def test_where_everything_is_interrupted_everything_counts() -> None:
    machine = Machine()

    def preempted() -> float:
        machine.interruptions += 1
        return 0.3

    (timing,) = session(machine, [preempted], Protocol(rounds=12)).timings
    assert (timing.discarded, len(timing.rounds_ms), timing.p10_ms) == (0, 12, pytest.approx(0.3))


def test_warming_up_goes_on_while_calls_get_faster() -> None:
    machine = Machine()
    calls = itertools.count()
    (timing,) = session(machine, [lambda: max(0.1, 2.0 * 0.95 ** next(calls))], Protocol(warmup_ms=2)).timings
    assert timing.p90_ms == pytest.approx(0.1)


def test_a_half_width_covers_the_median_it_promises() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        values_R = 1 + 0.05 * rng.standard_normal(15)
        covered.append(abs(np.median(values_R) - 1) <= bootstrap_half_width(values_R) * np.median(values_R))
    assert 0.88 <= np.mean(covered) <= 1.0
    assert bootstrap_half_width(np.full(5, 2.0)) == 0
