"""Laws of energy windows, on a device whose clock is a number and whose counter moves in steps."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import MeasurementError
from hwnas.profiler.energy import READS, STEPS, WINDOW_S, Energy, energy_mj_per_call

STEPS_MS = (20.0, 50.0, 100.0)


@dataclass
class Device:
    """Time passes in calls and in looks at the counter. It draws `watts` while it works and `idle_watts` while it does
    not; what its counter shows is as old as its last step, which come every `step_ms`, the first at a time of its own.
    """

    call_ms: float
    step_ms: float
    watts: float = 100.0
    idle_watts: float = 100.0
    read_ms: float = 0.0
    offset: float = 0.3
    jitter: float = 0.0
    seed: int = 0
    now_ms: float = 0.0
    calls: int = 0
    used_mj: float = 0.0
    shown_mj: float = 1e6
    next_step_ms: float = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.next_step_ms = self.offset * self.step_ms

    def _pass(self, ms: float, watts: float) -> None:
        end_ms = self.now_ms + ms
        while self.next_step_ms <= end_ms:
            self.used_mj += (self.next_step_ms - self.now_ms) * watts
            self.now_ms = self.next_step_ms
            self.shown_mj = 1e6 + self.used_mj
            self.next_step_ms += self.step_ms * (1 + self.jitter * self.rng.uniform(-1, 1))
        self.used_mj += (end_ms - self.now_ms) * watts
        self.now_ms = end_ms

    def run(self, calls: int) -> None:
        self.calls += calls
        self._pass(calls * self.call_ms, self.watts)

    def counter_mj(self) -> int:
        shown_mj = int(self.shown_mj)
        self._pass(self.read_ms, self.idle_watts)
        return shown_mj

    def now_ns(self) -> int:
        return round(self.now_ms * 1e6)

    @property
    def true_mj(self) -> float:
        """Returns the energy of a call: milliseconds times watts are millijoules."""
        return self.call_ms * self.watts

    def measured(self, **changes) -> Energy:
        return energy_mj_per_call(self.run, self.counter_mj, now_ns=self.now_ns, **changes)


DEVICES = st.builds(
    Device,
    call_ms=st.floats(0.01, 20),
    step_ms=st.sampled_from(STEPS_MS),
    watts=st.floats(20, 700),
    offset=st.floats(0.001, 1),
    jitter=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 100),
)


@given(DEVICES)
@settings(max_examples=60)
def test_the_error_is_within_the_stated_uncertainty_and_that_is_small(device: Device) -> None:
    energy = device.measured()
    assert abs(energy.mj / device.true_mj - 1) <= energy.uncertainty
    assert energy.uncertainty <= 2.5 / STEPS
    assert energy.watts == pytest.approx(device.watts, rel=energy.uncertainty)


@given(DEVICES)
@settings(max_examples=60)
def test_a_window_is_as_long_as_asked_and_has_as_many_steps(device: Device) -> None:
    energy = device.measured()
    # Seen with a delay of one look at most, at both ends.
    assert energy.seconds >= max(WINDOW_S, 0.7e-3 * STEPS * device.step_ms)
    assert energy.calls * device.call_ms / 1e3 == pytest.approx(energy.seconds, rel=1e-6)


@pytest.mark.parametrize("step_ms", STEPS_MS)
@pytest.mark.parametrize("call_ms", [0.01, 0.37, 3.0, 20.0])
def test_over_many_windows_the_mean_is_the_truth(step_ms: float, call_ms: float) -> None:
    ratios = []
    for number in range(40):
        device = Device(call_ms, step_ms, offset=(number + 0.5) / 40, jitter=0.1, seed=number)
        ratios.append(device.measured().mj / device.true_mj)
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios))
    assert abs(np.mean(ratios) - 1) <= max(3 * error, 1e-4)
    assert error < 0.01


@pytest.mark.parametrize("idle_watts", [60.0, 100.0])
@pytest.mark.parametrize("read_ms", [0.01, 0.5, 2.0])
def test_slow_reads_of_the_counter_add_little(read_ms: float, idle_watts: float) -> None:
    device = Device(0.1, 50.0, idle_watts=idle_watts, read_ms=read_ms)
    energy = device.measured()
    assert -energy.uncertainty <= energy.mj / device.true_mj - 1 <= energy.uncertainty + 1 / READS


def test_a_first_step_of_idling_is_not_of_the_window() -> None:
    device = Device(1.0, 100.0, watts=300.0)
    device._pass(30.0, 5.0)  # it idled before
    energy = device.measured()
    assert abs(energy.mj / device.true_mj - 1) <= energy.uncertainty


def test_longer_windows_are_more_certain() -> None:
    one, ten = (Device(0.1, 50.0).measured(window_s=window_s) for window_s in (1.0, 10.0))
    assert ten.seconds >= 10 and ten.uncertainty == pytest.approx(one.uncertainty / 10, rel=0.1)


def test_a_row_says_both_numbers() -> None:
    energy = Energy(mj=2.5, uncertainty=0.04, calls=100, seconds=0.5)
    assert energy.describe() == {"energy_mj": 2.5, "energy_uncertainty": 0.04}
    assert energy.watts == 0.5


@pytest.mark.parametrize("call_ms", [0.01, 20.0])
def test_a_counter_that_stands_still_is_told_in_one_line(call_ms: float) -> None:
    device = Device(call_ms, step_ms=float("inf"))
    with pytest.raises(
        MeasurementError, match=r"^the energy counter stood still at 1000000 mJ for 2 s of work; leave --energy out .+$"
    ):
        device.measured()
    assert device.now_ms < 2200


def test_a_counter_that_stops_is_told_too() -> None:
    device = Device(0.5, 20.0)
    shown = device.counter_mj

    def stopping() -> int:
        return min(shown(), 1_010_000)

    with pytest.raises(MeasurementError, match="stood still at 1010000 mJ"):
        energy_mj_per_call(device.run, stopping, now_ns=device.now_ns)


def test_a_counter_that_goes_back_is_an_error() -> None:
    device = Device(0.5, 20.0)

    def wrapping() -> int:
        return device.counter_mj() % 1_010_000

    with pytest.raises(MeasurementError, match=r"^the energy counter went back from 10\d+ to \d+ mJ; measure again$"):
        energy_mj_per_call(device.run, wrapping, now_ns=device.now_ns)


def test_a_clock_that_stands_still_is_an_error() -> None:
    device = Device(1.0, 20.0)
    with pytest.raises(MeasurementError, match="next to no time; the clock is broken"):
        energy_mj_per_call(lambda calls: None, device.counter_mj, now_ns=lambda: 0)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"window_s": 0.0}, {"stuck_s": -1.0}])
def test_a_window_of_nothing_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(MeasurementError, match="energy needs a window"):
        Device(1.0, 20.0).measured(**changes)


@pytest.mark.parametrize(("mj", "uncertainty"), [(0.0, 0.1), (float("inf"), 0.1), (float("nan"), 0.1), (1.0, 0.0)])
def test_an_energy_that_cannot_be_is_refused(mj: float, uncertainty: float) -> None:
    with pytest.raises(MeasurementError, match="a call cannot take"):
        Energy(mj=mj, uncertainty=uncertainty, calls=1, seconds=1.0)
