"""Fills a table: models are loaded and timed group by group, and timed again if a measurement was of no use.

Knows no torch: a subject brings the function that loads its model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from hwnas.profiler.clock import pinned
from hwnas.profiler.energy import energy_mj_per_call
from hwnas.profiler.patience import Pace, is_fast_now, measure_steadily, wait_until_fast
from hwnas.profiler.protocol import Session, Timing
from hwnas.profiler.runtime import Model
from hwnas.profiler.setup import Setup
from hwnas.profiler.store import TableWriter
from hwnas.profiler.table import ENERGY_FIELDS, Identity, Row, identity

# The most models loaded at a time. It bounds memory, and how much a killed process loses.
GROUP_SIZE: Final = 40
# The most bytes of models loaded at a time: ONNX Runtime keeps up to four times a model's file (weights, packed weights, arena).
GROUP_BYTES: Final = 2**30 // 4
# A device whose reference is slower by this share than in the fastest group so far is disturbed: waiting is worth it.
WORTH_WAITING: Final = 0.05
# A row whose reference was slower by this share than the fastest row's comes from a disturbed device.
MUCH_SLOWER: Final = 0.10
# How often rows that were measured badly are measured again.
AGAIN: Final = 2
# The number of networks measured a second time: the differences are the device's repeat noise.
REPEATED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model to measure: the identity of its row, and `load`, which returns the loaded model and its size in bytes."""

    kind: str
    key: str
    load: Callable[[], tuple[Model, int]]
    repeat: int = 0
    operators: str | None = None

    @property
    def identity(self) -> Identity:
        return (self.kind, self.key, self.repeat)


def repeated(subjects: Sequence[Subject]) -> list[Subject]:
    """Returns the first networks once more, to be measured in sessions of their own: the difference is the repeat noise."""
    networks = [subject for subject in subjects if subject.kind == "network"]
    return [replace(subject, repeat=1) for subject in networks[:REPEATED]]


@dataclass(slots=True, kw_only=True)
class Tally:
    """The work of filling a table: models measured, models measured again, rounds and bursts that were discarded."""

    measured: int = 0
    again: int = 0
    discarded_rounds: int = 0
    discarded_bursts: int = 0

    def add(self, rows: Sequence[Row], session: Session, *, again: bool) -> None:
        """Counts one group's rows and the session that they come from."""
        self.measured += 0 if again else len(rows)
        self.again += len(rows) if again else 0
        self.discarded_rounds += session.discarded_rounds
        self.discarded_bursts += sum(timing.discarded for timing in session.timings)


def fill(
    table: TableWriter,
    parts: Sequence[Sequence[Subject]],
    reference: Subject,
    setup: Setup,
    *,
    counter_mj: Callable[[], int] | None = None,
) -> Tally:
    """Measures the rows that the table lacks, each part in sessions of its own, and energies if there is a counter of them.

    Then measures again the rows that did not converge, and the rows that come from a device much slower than at its best.
    """
    tally = Tally()
    fastest_ms = min((row["reference_ms"] for row in table.rows.values()), default=None)
    timer = GroupTimer(reference, setup, fastest_ms, counter_mj)
    for attempt in range(1 + AGAIN):
        unsound = _unsound(table.rows, needs_energy=counter_mj is not None)
        if attempt == 1:
            unsound |= _disturbed(table.rows, timer, patiently=tally.measured > 0)
        for part in parts:
            to_measure = [
                subject for subject in part if subject.identity in unsound or subject.identity not in table.rows
            ]
            if to_measure and attempt > 0:
                setup.reporter.note(
                    f"measuring {len(to_measure)} models again: they were measured in disturbed moments"
                )
            for rows, session in timer.groups(to_measure):
                table.append([_with_energy(row, table.rows) for row in rows])
                tally.add(rows, session, again=attempt > 0)
    return tally


def _unsound(rows: Mapping[Identity, Row], *, needs_energy: bool) -> set[Identity]:
    """Returns the rows that did not converge, and those without an energy if they need one."""
    return {
        name
        for name, row in rows.items()
        if not row["converged"] or (needs_energy and any(field not in row for field in ENERGY_FIELDS))
    }


def _with_energy(row: Row, known: Mapping[Identity, Row]) -> Row:
    """Returns the row, with the energy that was known before if it was measured again without one."""
    before = known.get(identity(row), {})
    return {name: before[name] for name in ENERGY_FIELDS if name in before} | dict(row)


def _disturbed(rows: Mapping[Identity, Row], timer: "GroupTimer", *, patiently: bool) -> set[Identity]:
    """Returns the rows of a device that was much slower than at its best; none if the device is not at its best now."""
    slow = measured_while_slow(rows)
    if slow and not timer.is_fast(patiently=patiently):
        timer.setup.reporter.note(
            f"{len(slow)} models were measured while the device was slow, and it still is; profile again when it is idle"
        )
        return set()
    return slow


def measured_while_slow(rows: Mapping[Identity, Row]) -> set[Identity]:
    """Returns the rows whose reference was much slower than the fastest row's."""
    fastest_ms = min((row["reference_ms"] for row in rows.values()), default=0.0)
    return {name for name, row in rows.items() if row["reference_ms"] > (1 + MUCH_SLOWER) * fastest_ms}


@dataclass(slots=True)
class GroupTimer:
    """Times subjects in groups that fit into memory. The reference is loaded once and takes part in every group.

    While there is patience, a group waits if the reference is slower than in the fastest group so far; the first group
    compares with `expected_ms`.
    """

    reference: Subject
    setup: Setup
    expected_ms: float | None = None
    counter_mj: Callable[[], int] | None = None
    _reference_model: Model | None = None

    def groups(self, subjects: Sequence[Subject]) -> Iterator[tuple[list[dict[str, Any]], Session]]:
        """Yields the rows of one group after the other, with the session that they come from."""
        waiting = list(subjects)
        while waiting:
            models = self._loaded(waiting)
            group, waiting = waiting[: len(models)], waiting[len(models) :]
            # At the end, slow rows are measured again anyway: one try is enough.
            session = timed(models, self._loaded_reference(), self.setup, self._pace, tries=1)
            facts = [{**model.facts, **self._energy(model)} for model in models]
            models.clear()  # before the next group is loaded
            self.expected_ms = min(session.reference.p10_ms, self.expected_ms or np.inf)
            rows = [
                row(subject, facts_of_model, timing, session)
                for subject, facts_of_model, timing in zip(group, facts, session.timings, strict=True)
            ]
            yield rows, session

    @property
    def _pace(self) -> Pace:
        return Pace(expected_ms=self.expected_ms, slower=WORTH_WAITING)

    def _energy(self, model: Model) -> dict[str, float]:
        """Returns the fields of a row about energy; none if energy is not counted."""
        return {} if self.counter_mj is None else energy_mj_per_call(model.repeat, self.counter_mj).describe()

    def _loaded(self, waiting: Sequence[Subject]) -> list[Model]:
        models: list[Model] = []
        total_bytes = 0
        for subject in self.setup.reporter.track(waiting[:GROUP_SIZE], f"preparing, {len(waiting)} models to go"):
            if total_bytes > GROUP_BYTES:
                break
            model, size = subject.load()
            models.append(model)
            total_bytes += size
        return models

    def is_fast(self, *, patiently: bool) -> bool:
        """Returns True if the device is as fast as it was; waits for that first while there is patience, if asked to."""
        look = wait_until_fast if patiently else is_fast_now
        with _on_one_core(self.setup.threads):
            return look(self._loaded_reference().times_ns, self._pace.slowest_ms, self.setup)

    def _loaded_reference(self) -> Model:
        if self._reference_model is None:
            self._reference_model = self.reference.load()[0]
        return self._reference_model


def timed(
    models: Sequence[Model], reference: Model, setup: Setup, pace: Pace | None = None, *, tries: int = 2
) -> Session:
    """Times loaded models by `measure_steadily`. Inference on one thread stays on one core."""
    with _on_one_core(setup.threads):
        timers = [model.times_ns for model in models]
        session = measure_steadily(timers, reference.times_ns, setup, pace or Pace(), tries=tries)
    reasons = sorted({reason for state in session.states for reason in state.reasons})
    if reasons:
        throttled = sum(bool(state.reasons) for state in session.states)
        setup.reporter.note(
            f"the device was throttled in {throttled} of {len(session.states)} rounds: {', '.join(reasons)}"
        )
    return session


def _on_one_core(threads: int) -> AbstractContextManager[None]:
    """Pins the calling thread if it is the only one; further threads are the runtime's own and were started before."""
    return pinned() if threads == 1 else nullcontext()


def row(subject: Subject, facts: Mapping[str, Any], timing: Timing, session: Session) -> dict[str, Any]:
    """Returns a line of the table.

    `reference_ms` is the p10 of the reference network in the same rounds. `clock_mhz`, `celsius` and `throttled` describe
    the device in these rounds, if it tells them: two medians, and the number of throttled rounds.
    """
    extra: dict[str, Any] = {"repeat": subject.repeat} if subject.repeat else {}
    if subject.operators is not None:
        extra["operators"] = subject.operators
    if session.states:
        extra["clock_mhz"] = float(np.median([state.mhz for state in session.states]))
        extra["celsius"] = float(np.median([state.celsius for state in session.states]))
        extra["throttled"] = sum(bool(state.reasons) for state in session.states)
    times = asdict(timing) | {"reference_ms": session.reference.p10_ms}
    return {"kind": subject.kind, "key": subject.key, **extra, **facts, **times}
