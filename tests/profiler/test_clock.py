"""The system's counters and the core a measurement stays on."""

import os
import time
from pathlib import Path

import pytest

from hwnas.profiler import clock as clock_module
from hwnas.profiler.clock import Clock, idlest, interruptions_here, pinned

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads")


@linux
def test_a_pinned_thread_stays_on_one_of_its_cores_and_is_let_go_again() -> None:
    allowed = os.sched_getaffinity(0)
    with pinned():
        assert len(os.sched_getaffinity(0)) == 1 and os.sched_getaffinity(0) <= allowed
    assert os.sched_getaffinity(0) == allowed
    with pytest.raises(ZeroDivisionError), pinned():
        _ = 1 / 0
    assert os.sched_getaffinity(0) == allowed


def test_the_idlest_core_is_the_one_that_idled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "stat"

    def spend(idle: int) -> None:
        path.write_text(f"cpu 0 0 0 50 0 0 0 0\ncpu0 5 0 0 {idle} 0\ncpu1 5 0 0 {100 - idle} 0\nintr 5\n")

    monkeypatch.setattr(clock_module, "PROC_STAT", path)
    for idle, core in ((90, 0), (10, 1)):
        spend(50)
        assert idlest({0, 1}, wait=lambda seconds, idle=idle: spend(idle)) == core


def test_a_system_without_counters_has_no_stolen_time_and_any_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clock_module, "PROC_STAT", tmp_path / "none")
    assert interruptions_here() >= 0
    assert idlest({3, 5}, wait=lambda seconds: None) == 3


def test_interruptions_never_fall_and_time_never_stands_still() -> None:
    clock = Clock()
    before, start = clock.interruptions(), clock.now_ns()
    time.sleep(0.01)
    assert clock.interruptions() >= before and clock.now_ns() - start >= 5e6
