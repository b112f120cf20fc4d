"""Sources of predictors: files that the user gives, shipped devices, or measuring now."""

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, final

import numpy as np

from hwnas.core.operations import precision_choices
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, PredictorError, TableError
from hwnas.pipeline.options import SourcesRequest
from hwnas.pipeline.predict import (
    MEASURED,
    fit_table,
    load_predictor,
    measurements,
    predictor_on,
    usable_predictor,
    usable_table,
)
from hwnas.pipeline.target import Target
from hwnas.predict.measurements import FEWEST_NETWORKS, LATENCY
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import ShippedDevice, file_name, predictor_file, shipped_devices, table_file
from hwnas.profiler.device import differences
from hwnas.profiler.measure import GroupTimer
from hwnas.profiler.profile import Profiling, network_subject, profile
from hwnas.profiler.setup import Setup
from hwnas.profiler.table import read_table
from hwnas.runs.folder import RunFolder
from hwnas.spaces.request import SpaceRequest

# The share by which the largest network is slower than when the device was profiled, from which on a search says so.
BUSY: Final = 0.1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A predicted cost that a search needs: `name` as objectives and limits call it, `kind` as predictors do."""

    name: str
    kind: str
    target: Target


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The files that were given, and those that a run has, matched with what a search needs."""

    request: SourcesRequest
    space: SearchSpace
    restrictions: SpaceRequest
    needs: Sequence[Need]
    run: RunFolder | None = None

    @property
    def open_needs(self) -> list[Need]:
        """The costs that the run has no predictor of, or whose device is not one of the run's yet.

        A request that failed may have left a predictor of such a device: another one may be given.
        """
        devices = [] if self.run is None else [known["name"] for known in self.run.read().get("devices", ())]
        return [need for need in self.needs if need.target.name not in devices or self._kept(need) is None]

    def is_given(self, need: Need) -> bool:
        """True where a file that was given is to be used, whatever the run has."""
        return need in self.open_needs and (self._given(need) is not None or self.table(need) is not None)

    def check(self) -> None:
        """Raises before any work where a file cannot be used, or a cost could not be predicted: HwnasError."""
        self._refuse_useless()
        for need in self.needs:
            if self.predictor(need) is not None:
                continue
            table = self.table(need)
            if table is not None:
                MEASURED[need.kind](read_table(table), self.space).require(
                    self.space.operators(), self.space.size, str(table)
                )
            elif not need.target.timed or (need.kind != LATENCY and self._latency_is_known(need.target)):
                raise PredictorError(
                    f"{need.name} needs a predictor, and none of those given has it; give --predictor of `hwnas fit --cost "
                    f"{need.kind}`, or a --table that has it"
                )
            elif need.kind != LATENCY:
                need.target.here.counter_mj()
        fewest = min(FEWEST_NETWORKS, self.space.size)
        if self.request.networks < fewest and any(self._measures(need) for need in self.needs):
            raise HwnasError(
                f"--networks {self.request.networks} is too few to fit a predictor; give at least {FEWEST_NETWORKS}"
            )

    def predictor(self, need: Need) -> LatencyPredictor | None:
        """Returns the predictor that is given of a cost, the one that the run has, or the device's shipped one; else None.

        Raises PredictorError where it cannot be used for the space.
        """
        path = self._given(need) if need in self.open_needs else None
        if path is None and self.table(need) is None:
            path = self._kept(need)
        if path is not None:
            return usable_predictor(path, self.space, need.target.conditions, cost=need.kind)
        device = need.target.shipped
        if device is None or need.kind != LATENCY or self.table(need) is not None:
            return None
        return _shipped_predictor(shipped_devices()[device], self, need.target)

    def table(self, need: Need) -> Path | None:
        """Returns the table that was measured under the conditions of a cost's device, if one is given and needed.

        Raises TableError where it lacks what the space needs.
        """
        if need not in self.open_needs:
            return None
        for path in self._table_paths():
            if not differences(need.target.conditions, read_table(path).conditions):
                usable_table(path, self.space, need.target.conditions)
                return path
        return None

    def _given(self, need: Need) -> Path | None:
        """Returns the predictor of a cost among the files that were given."""
        for path in self._predictor_paths():
            loaded = LatencyPredictor.load(path)
            if loaded.cost == need.kind and not differences(need.target.conditions, loaded.conditions):
                return path
        return None

    def _kept(self, need: Need) -> Path | None:
        """Returns the predictor's file in the run's folder, if there is one."""
        path = None if self.run is None else self.run.predictor_of(need.kind, need.target.name)
        return path if path is not None and path.exists() else None

    def _predictor_paths(self) -> list[Path]:
        return [predictor_file(Path(name), shipped_devices()) for name in self.request.predictor]

    def _table_paths(self) -> list[Path]:
        return [table_file(Path(name), shipped_devices()) for name in self.request.table]

    def _measures(self, need: Need) -> bool:
        return self.predictor(need) is None and self.table(need) is None

    def _latency_is_known(self, target: Target) -> bool:
        """True where the latency of a device is not measured in this run, so that its energy is not measured either."""
        return any(need.kind == LATENCY and need.target is target and not self._measures(need) for need in self.needs)

    def _refuse_useless(self) -> None:
        """Raises PredictorError, TableError for a file that serves none of the needs that are open."""
        needs = self.open_needs
        if not needs:
            return
        for path in self._predictor_paths():
            loaded = LatencyPredictor.load(path)
            alike = [need for need in needs if need.kind == loaded.cost]
            if not alike:
                loaded.require(LATENCY, str(path))
            if alike and all(differences(need.target.conditions, loaded.conditions) for need in alike):
                load_predictor(path, alike[0].target.conditions, loaded.cost)
        for path in self._table_paths():
            conditions = [need.target.conditions for need in needs]
            if all(differences(each, read_table(path).conditions) for each in conditions):
                hardware = read_table(path).conditions["hardware"]
                if hardware not in [each["hardware"] for each in conditions]:
                    if hardware == needs[0].target.here.hardware:
                        raise TableError(
                            f"{path}: measured on this machine ({hardware}), which is not {needs[0].target.name}; search with "
                            f"--device {read_table(path).conditions['device']}, or without --table"
                        )
                    raise TableError(
                        f"{path}: measured on {hardware}, which is not here; `hwnas device add NAME {path}` makes it a device, "
                        "then search with --device NAME and without --table"
                    )
                usable_table(path, self.space, conditions[0])
                raise TableError(f"{path}: measured under other conditions than any --device; leave it out")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Predictors:
    """The predictors of one run, each from what its folder has already."""

    run: RunFolder
    sources: Sources
    seed: int
    reporter: Reporter

    def get(self, need: Need) -> LatencyPredictor:
        """Returns the predictor of a cost, and keeps it in the folder with the table that it is fitted to."""
        path, space = self.run.predictor_of(need.kind, need.target.name), self.sources.space
        is_given = self.sources.is_given(need)
        if path.exists() and not is_given:
            return usable_predictor(path, space, need.target.conditions, cost=need.kind)
        predictor = self.sources.predictor(need)
        kept = self.run.table_of(need.target.name)
        table = self.sources.table(need)
        if table is not None and (is_given or not kept.exists()):
            shutil.copyfile(table, kept)
        if predictor is None:
            if table is None and need.kind == LATENCY:
                self._profile(need, kept)
            unconverged = len(read_table(kept).unconverged) if need.kind == LATENCY else 0
            if unconverged:
                self.reporter.note(f"{unconverged} measurements of the table did not converge: is the device busy?")
            # Winners are measured in any case; the predictor's held-out error says what noise has done to it.
            predictor = fit_table(kept, space, cost=need.kind, allow_unconverged=True)
        predictor.save(path)
        return predictor

    def largest_ms(self, need: Need, predictor: LatencyPredictor, statistic: str) -> float:
        """Returns the largest network's latency in a statistic: from the table, or measured now, or predicted where the
        device is not here.

        Other work makes a network slower, never faster: where the predictor knows the largest network as faster than it is
        now, that counts.
        """
        space, table = self.sources.space, self.run.table_of(need.target.name)
        largest = space.encode([space.largest()])
        if table.exists():
            measured_ms = measurements(read_table(table), space).of_network(largest[0], statistic)
            if measured_ms is not None:
                return measured_ms
        if not need.target.timed:
            return float(predictor.predict_ms(largest)[0]) * predictor.statistics[statistic]
        here = need.target.here
        subject = network_subject(space, space.largest(), here)
        rng = np.random.default_rng(self.seed)
        setup = Setup(rng=rng, reporter=self.reporter, clock=here.clock(), threads=here.threads)
        ((row,), _) = next(GroupTimer(subject, setup).groups([subject]))
        now_ms = float(row[f"{statistic}_ms"])
        then_ms = (predictor.report.get("reference_ms") or inf) * predictor.statistics[statistic]
        if now_ms > (1 + BUSY) * then_ms:
            self.reporter.note(
                f"the largest network takes {now_ms:.4g} ms now and took {then_ms:.4g} ms when the device was profiled: is the "
                f"device busy? Budgets are shares of the latter"
            )
        return float(min(now_ms, then_ms))

    def _profile(self, need: Need, path: Path) -> None:
        energy = any(other.kind != LATENCY and other.target is need.target for other in self.sources.needs)
        if len({other.target.name for other in self.sources.needs}) > 1:
            self.reporter.note(f"profiling {need.target.name}")
        profiling = Profiling(
            space=self.sources.space,
            conditions=need.target.here,
            path=path,
            reporter=self.reporter,
            seed=self.seed,
            energy=energy,
        )
        profile(profiling, networks=self.sources.request.networks)


def _shipped_predictor(device: ShippedDevice, sources: Sources, target: Target) -> LatencyPredictor:
    """Returns the device's predictor of the space, or of the one that it is a part of; else one in which operators are estimated.

    Raises PredictorError with what to do where it has none.
    """
    space, why = sources.space, f"it has {', '.join(device.spaces)}"
    known_as = file_name(space.reference)
    if known_as in device.spaces:
        predictor = load_predictor(device.predictor(known_as), target.conditions)
        try:
            return predictor_on(device, space, predictor)
        except PredictorError as error:
            why = str(error)
    raise PredictorError(
        f"device {device.name} has no predictor of this {space.name}: {why}; {_advice(device, sources)}"
    )


def _advice(device: ShippedDevice, sources: Sources) -> str:
    """Returns what gives a predictor of a space that the device has none of."""
    profiling, space = "profile the space there", sources.space
    if not device.tables or precision_choices(space):
        return profiling  # precisions that were not measured cannot be estimated
    known_as = file_name(space.reference)
    table = known_as if known_as in device.tables else device.tables[0]
    words = ["hwnas", "fit", "--table", f"{device.name}/{table}", "--space", space.reference or "FILE.py:FUNCTION"]
    for name, value in space.options.items():
        words += ["--space-option", f"{name}={json.dumps(value)}"]
    for verb in ("fix", "drop", "tie"):
        for text in getattr(sources.restrictions, verb):
            words += [f"--{verb}", text]
    command = shlex.join([*words, "--out", "cold.json"])
    return f"{profiling}, or estimate it: `{command}`, and search with --predictor cold.json"
