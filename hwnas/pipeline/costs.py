"""Where a search has its predictors of latency and energy from: given files, a shipped device, or measuring now."""

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, PredictorError
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.predict import energies, fit_table, load_predictor, measurements, usable_predictor, usable_table
from hwnas.pipeline.target import Target, shipped_device
from hwnas.predict.measurements import ENERGY, FEWEST_NETWORKS
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import ShippedDevice, predictor_file, shipped_devices, table_file
from hwnas.profiler.measure import GroupTimer
from hwnas.profiler.profile import network_subject, profile
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.table import read_table
from hwnas.runs.folder import RunFolder


def check_costs(config: SearchConfig, space: SearchSpace, target: Target) -> None:
    """Raises before any work where latency, or an energy that is limited, could not be predicted: HwnasError."""
    table = known_table(config, space, target)
    if known_predictor(config, space, target) is None and table is None:
        fewest = min(FEWEST_NETWORKS, space.size)
        if config.networks < fewest:
            raise HwnasError(
                f"--networks {config.networks} is too few to fit a predictor; give at least {FEWEST_NETWORKS}"
            )
    if known_energy(config, space, target) is not None or not _limits_energy(config):
        return
    if table is not None:
        energies(read_table(table), space).require(space.operators(), space.size, str(table))
    elif config.predictor is not None or not target.timed:
        raise PredictorError(
            "--max-energy-mj needs energies, and a predictor of latency has none; give --energy-predictor of `hwnas fit "
            "--cost energy`, or a --table of `hwnas profile --energy`"
        )
    else:
        target.here.counter_mj()


def known_predictor(config: SearchConfig, space: SearchSpace, target: Target) -> LatencyPredictor | None:
    """The predictor that is given, or the device's shipped one; None where a table is to be fitted.

    Raises PredictorError where it cannot be used.
    """
    if config.predictor is not None:
        return usable_predictor(predictor_file(config.predictor, shipped_devices()), space, target.conditions)
    device = shipped_device(config.device) if config.table is None else None
    return None if device is None else _shipped_predictor(device, config, space, target)


def known_table(config: SearchConfig, space: SearchSpace, target: Target) -> Path | None:
    """The table that is given, if one is. Raises TableError where it cannot be used."""
    if config.table is None:
        return None
    path = table_file(config.table, shipped_devices())
    usable_table(path, space, target.conditions)
    return path


def known_energy(config: SearchConfig, space: SearchSpace, target: Target) -> LatencyPredictor | None:
    """The predictor of energy that is given, if one is. Raises PredictorError where it cannot be used."""
    if config.energy_predictor is None:
        return None
    path = predictor_file(config.energy_predictor, shipped_devices())
    return usable_predictor(path, space, target.conditions, cost=ENERGY)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The predictors of one run, each from what its folder has already."""

    run: RunFolder
    config: SearchConfig
    space: SearchSpace
    target: Target
    reporter: Reporter

    def latency(self) -> LatencyPredictor:
        """Kept in the folder, as are the table that it is fitted to, or that is given, and the conditions of both."""
        if self.run.predictor.exists():
            return usable_predictor(self.run.predictor, self.space, self.target.conditions)
        self.run.write(self.run.read() | {"conditions": dict(self.target.conditions)})
        table = known_table(self.config, self.space, self.target)
        if table is not None:
            shutil.copyfile(table, self.run.table)
        predictor = known_predictor(self.config, self.space, self.target)
        if predictor is None:
            if table is None:
                self._profile()
            unconverged = len(read_table(self.run.table).unconverged)
            if unconverged:
                self.reporter.note(f"{unconverged} measurements of the table did not converge: is the device busy?")
            # Winners are measured in any case; the predictor's held-out error says what noise has done to it.
            predictor = fit_table(self.run.table, self.space, allow_unconverged=True)
        predictor.save(self.run.predictor)
        return predictor

    def energy(self) -> LatencyPredictor | None:
        """Kept in the folder, too, which has the table by `latency`; None where it is asked for none."""
        if self.run.energy_predictor.exists():
            return usable_predictor(self.run.energy_predictor, self.space, self.target.conditions, cost=ENERGY)
        predictor = known_energy(self.config, self.space, self.target)
        if predictor is None and _limits_energy(self.config):
            predictor = fit_table(self.run.table, self.space, cost=ENERGY)
        if predictor is not None:
            predictor.save(self.run.energy_predictor)
        return predictor

    def largest_ms(self, predictor: LatencyPredictor) -> float:
        """The largest network's latency, in the statistic of the budget: from the table, or measured now, or predicted where
        the device is not here."""
        largest, statistic = self.space.encode([self.space.largest()]), self.config.budget_on
        if self.run.table.exists():
            found = measurements(read_table(self.run.table), self.space).of_network(largest[0], statistic)
            if found is not None:
                return found
        if not self.target.timed:
            return float(predictor.predict_ms(largest)[0]) * predictor.statistics[statistic]
        subject = network_subject(self.space, self.space.largest(), self.target.here)
        rng = np.random.default_rng(self.config.seed)
        timer = GroupTimer(subject, Protocol(), self.target.here.threads, self.target.here.clock(), self.reporter, rng)
        ((row,), _) = next(timer.groups([subject]))
        return float(row[f"{statistic}_ms"])

    def _profile(self) -> None:
        profile(
            self.space,
            self.target.here,
            self.run.table,
            networks=self.config.networks,
            reporter=self.reporter,
            seed=self.config.seed,
            energy=_limits_energy(self.config) and self.config.energy_predictor is None,
        )


def _limits_energy(config: SearchConfig) -> bool:
    return config.max_energy_mj is not None


def _shipped_predictor(
    device: ShippedDevice, config: SearchConfig, space: SearchSpace, target: Target
) -> LatencyPredictor:
    """For this space, or the part of one that it is. Raises PredictorError with what to do where it is of none of the
    device's."""
    why = f"it has {', '.join(device.spaces)}"
    if space.reference in device.spaces:
        predictor = load_predictor(device.predictor(space.reference), target.conditions)
        try:
            return predictor.for_space(space)
        except PredictorError as error:
            why = str(error).removesuffix("; fit one for this space")
    raise PredictorError(
        f"device {device.name} has no predictor of this {space.name}: {why}; {_advice(device, config, space)}"
    )


def _advice(device: ShippedDevice, config: SearchConfig, space: SearchSpace) -> str:
    """What gives a predictor of a space that the device has none of."""
    profiling = "profile the space there"
    if not device.tables:
        return profiling
    table = space.reference if space.reference in device.tables else device.tables[0]
    words = ["hwnas", "fit", "--table", f"{device.name}/{table}", "--space", space.reference or "FILE.py:FUNCTION"]
    for name, value in space.options.items():
        words += ["--space-option", f"{name}={json.dumps(value)}"]
    for verb in ("fix", "drop", "tie"):
        for text in getattr(config, verb):
            words += [f"--{verb}", text]
    command = shlex.join([*words, "--out", "cold.json"])
    return f"{profiling}, or estimate it: `{command}`, and search with --predictor cold.json"
