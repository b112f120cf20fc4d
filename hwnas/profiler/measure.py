"""From subjects to a filled table: models are loaded group by group, timed, and again where that was of no use.

Knows no torch: what loads a model comes with the subject.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from hwnas.core.reporter import Reporter
from hwnas.profiler.clock import Clock, pinned
from hwnas.profiler.energy import energy_mj_per_call
from hwnas.profiler.patience import Patience, measure_steadily, wait_until_fast
from hwnas.profiler.protocol import Protocol, Session, Timing
from hwnas.profiler.runtime import Model
from hwnas.profiler.store import TableWriter
from hwnas.profiler.table import ENERGY_FIELDS, Identity, Row, identity

# Models loaded at a time: bounds memory, and what a killed process has to measure again.
GROUP_SIZE: Final = 40
# ONNX Runtime keeps up to about four times a model's file: weights, packed weights, arena.
GROUP_BYTES: Final = 2**30 // 4
# Where the reference is this much slower than in the fastest group so far, the machine is disturbed.
WORTH_WAITING: Final = 0.05
# A row of a group whose reference was this much slower than the fastest one's is of a disturbed machine.
MUCH_SLOWER: Final = 0.10
# Times that what was measured badly is measured again.
AGAIN: Final = 2
# Networks measured a second time: their differences are the device's repeat noise.
REPEATED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something to measure: a row's identity, and how to load its model; that gives its size in bytes, too."""

    kind: str
    key: str
    load: Callable[[], tuple[Model, int]]
    repeat: int = 0
    operators: str | None = None

    @property
    def identity(self) -> Identity:
        return (self.kind, self.key, self.repeat)


def repeated(subjects: Sequence[Subject]) -> list[Subject]:
    """The first networks, for a second time: in sessions of their own, how far these agree is the device's noise."""
    networks = [subject for subject in subjects if subject.kind == "network"]
    return [replace(subject, repeat=1) for subject in networks[:REPEATED]]


@dataclass(slots=True, kw_only=True)
class Tally:
    """What filling a table took: models measured (again, too), and what was discarded."""

    measured: int = 0
    again: int = 0
    discarded_rounds: int = 0
    discarded_bursts: int = 0

    def add(self, rows: Sequence[Row], session: Session, *, again: bool) -> None:
        self.measured += 0 if again else len(rows)
        self.again += len(rows) if again else 0
        self.discarded_rounds += session.discarded_rounds
        self.discarded_bursts += sum(timing.discarded for timing in session.timings)


def fill(
    table: TableWriter,
    parts: Sequence[Sequence[Subject]],
    reference: Subject,
    protocol: Protocol,
    *,
    threads: int,
    clock: Clock,
    reporter: Reporter,
    seed: int,
    counter_mj: Callable[[], int] | None = None,
) -> Tally:
    """Measures what the table lacks, each part in sessions of its own; then again what did not converge, and what was
    measured while the device was much slower than at its best. Energies, too, where there is a counter of millijoules.
    """
    tally = Tally()
    fastest_ms = min((row["reference_ms"] for row in table.rows.values()), default=None)
    rng = np.random.default_rng(seed)
    timer = GroupTimer(reference, protocol, threads, clock, reporter, rng, fastest_ms, counter_mj)
    for attempt in range(1 + AGAIN):
        unsound = {name for name, row in table.rows.items() if not row["converged"]}
        if counter_mj is not None:
            unsound |= {name for name, row in table.rows.items() if "energy_mj" not in row}
        if attempt == 1:
            unsound |= _disturbed(table.rows, timer, patiently=tally.measured > 0)
        for part in parts:
            todo = [each for each in part if each.identity in unsound or each.identity not in table.rows]
            if todo and attempt > 0:
                reporter.note(f"measuring {len(todo)} models again, which were measured in disturbed moments")
            for rows, session in timer.groups(todo):
                table.append([_with_energy(row, table.rows) for row in rows])
                tally.add(rows, session, again=attempt > 0)
    return tally


def _with_energy(row: Row, known: Mapping[Identity, Row]) -> Row:
    """A row that was measured again without its energy keeps the one it had."""
    before = known.get(identity(row), {})
    return {name: before[name] for name in ENERGY_FIELDS if name in before} | dict(row)


def _disturbed(rows: Mapping[Identity, Row], timer: "GroupTimer", *, patiently: bool) -> set[Identity]:
    """The rows that the device was much slower for than at its best; none where it is not at its best now."""
    slow = measured_while_slow(rows)
    if slow and not timer.is_fast(patiently=patiently):
        timer.reporter.note(
            f"{len(slow)} models were measured while the device was slow, and it still is; profile again when it is idle"
        )
        return set()
    return slow


def measured_while_slow(rows: Mapping[Identity, Row]) -> set[Identity]:
    """The rows whose reference was much slower than the fastest row's."""
    fastest_ms = min((row["reference_ms"] for row in rows.values()), default=0.0)
    return {name for name, row in rows.items() if row["reference_ms"] > (1 + MUCH_SLOWER) * fastest_ms}


@dataclass(slots=True)
class GroupTimer:
    """Times subjects in groups that fit into memory. The reference, loaded once, is in every group.

    Waits, while there is patience, where it is slower than in the fastest group so far, or at first than `expected_ms`.
    """

    reference: Subject
    protocol: Protocol
    threads: int
    clock: Clock
    reporter: Reporter
    rng: np.random.Generator
    expected_ms: float | None = None
    counter_mj: Callable[[], int] | None = None
    _patience: Patience = field(init=False)
    _reference_model: Model | None = None

    def __post_init__(self) -> None:
        self._patience = Patience(self.protocol.patience_s)

    def groups(self, subjects: Sequence[Subject]) -> Iterator[tuple[list[dict[str, Any]], Session]]:
        """The rows of one group after the other."""
        waiting = list(subjects)
        while waiting:
            models = self._loaded(waiting)
            group, waiting = waiting[: len(models)], waiting[len(models) :]
            session = self._timed(models)
            facts_of_group = [{**model.facts, **self._energy(model)} for model in models]
            models.clear()  # before the next group is loaded
            self.expected_ms = min(session.reference.p10_ms, self.expected_ms or np.inf)
            rows = [
                row(subject, facts, timing, session)
                for subject, facts, timing in zip(group, facts_of_group, session.timings, strict=True)
            ]
            yield rows, session

    def _energy(self, model: Model) -> dict[str, float]:
        """What a row says of a call's energy: nothing where it is not counted."""
        return {} if self.counter_mj is None else energy_mj_per_call(model.repeat, self.counter_mj).describe()

    def _loaded(self, waiting: Sequence[Subject]) -> list[Model]:
        models: list[Model] = []
        total_bytes = 0
        for subject in self.reporter.track(waiting[:GROUP_SIZE], f"preparing, {len(waiting)} models to go"):
            if total_bytes > GROUP_BYTES:
                break
            model, size = subject.load()
            models.append(model)
            total_bytes += size
        return models

    def is_fast(self, *, patiently: bool) -> bool:
        """Whether the device is as fast as it was; waits for that while there is patience, if asked to."""
        fast_ms = (1 + WORTH_WAITING) * (self.expected_ms or np.inf)
        patience = self._patience if patiently else Patience(0.0)
        with _on_one_core(self.threads):
            return wait_until_fast(
                self._loaded_reference().times_ns, fast_ms, self.protocol, patience, clock=self.clock
            )

    def _loaded_reference(self) -> Model:
        if self._reference_model is None:
            self._reference_model = self.reference.load()[0]
        return self._reference_model

    def _timed(self, models: Sequence[Model]) -> Session:
        return timed(
            models,
            self._loaded_reference(),
            self.protocol,
            threads=self.threads,
            clock=self.clock,
            expected_ms=self.expected_ms,
            slower=WORTH_WAITING,
            tries=1,  # at the end, what was slow is measured again anyway
            patience=self._patience,
            rng=self.rng,
            reporter=self.reporter,
        )


def timed(
    models: Sequence[Model],
    reference: Model,
    protocol: Protocol,
    *,
    threads: int,
    clock: Clock,
    expected_ms: float | None,
    slower: float,
    rng: np.random.Generator,
    reporter: Reporter,
    tries: int = 2,
    patience: Patience | None = None,
) -> Session:
    """`measure_steadily` of loaded models. Inference on one thread stays on one core."""
    with _on_one_core(threads):
        session = measure_steadily(
            [model.times_ns for model in models],
            reference.times_ns,
            protocol,
            expected_ms=expected_ms,
            slower=slower,
            tries=tries,
            patience=patience or Patience(protocol.patience_s),
            rng=rng,
            reporter=reporter,
            clock=clock,
        )
    reasons = sorted({reason for state in session.states for reason in state.reasons})
    if reasons:
        throttled = sum(bool(state.reasons) for state in session.states)
        reporter.note(f"the device was held down in {throttled} of {len(session.states)} rounds: {', '.join(reasons)}")
    return session


def _on_one_core(threads: int) -> AbstractContextManager[None]:
    """More threads are the runtime's own, which were started when the model was loaded."""
    return pinned() if threads == 1 else nullcontext()


def row(subject: Subject, facts: Mapping[str, Any], timing: Timing, session: Session) -> dict[str, Any]:
    """A line of the table. `reference_ms` is the p10 of the reference network in the same rounds; `clock_mhz`, `celsius` and
    `throttled` are the state of the device in them, where it tells: medians, and how many rounds were throttled."""
    extra: dict[str, Any] = {"repeat": subject.repeat} if subject.repeat else {}
    if subject.operators is not None:
        extra["operators"] = subject.operators
    if session.states:
        extra["clock_mhz"] = float(np.median([state.mhz for state in session.states]))
        extra["celsius"] = float(np.median([state.celsius for state in session.states]))
        extra["throttled"] = sum(bool(state.reasons) for state in session.states)
    timed = asdict(timing) | {"reference_ms": session.reference.p10_ms}
    return {"kind": subject.kind, "key": subject.key, **extra, **facts, **timed}
