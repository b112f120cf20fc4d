"""Where a search has its predictor of energy from: a file, or the energies in its table."""

from pathlib import Path

from hwnas.core.space import SearchSpace
from hwnas.errors import PredictorError
from hwnas.latency.measurements import ENERGY
from hwnas.latency.predictor import LatencyPredictor
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.predict import energies, fit_table, usable_predictor
from hwnas.pipeline.target import Target
from hwnas.profiler.nvml import energy_counter
from hwnas.profiler.table import read_table
from hwnas.runs.folder import RunFolder


def check_energy(config: SearchConfig, space: SearchSpace, target: Target, table: Path | None) -> None:
    """Raises before any work where energy is limited and could not be predicted: DeviceError, PredictorError, TableError.

    `table` is the one that is given; where there is none, and no predictor, the search is going to measure.
    """
    if not _is_asked(config):
        return
    if config.energy_predictor is not None:
        _given(config.energy_predictor, space, target)
    elif table is not None:
        energies(read_table(table), space).require(space.operators(), space.size, str(table))
    elif config.predictor is not None or not target.timed:
        raise PredictorError(
            "--max-energy-mj needs energies, and a predictor of latency has none; give --energy-predictor of `hwnas fit "
            "--cost energy`, or a --table of `hwnas profile --energy`"
        )
    else:
        energy_counter(target.here.device)


def energy_of(run: RunFolder, config: SearchConfig, space: SearchSpace, target: Target) -> LatencyPredictor | None:
    """The run's predictor of energy, kept in its folder; None where it is asked for none."""
    if not _is_asked(config):
        return None
    if run.energy_predictor.exists():
        return _given(run.energy_predictor, space, target)
    if config.energy_predictor is not None:
        predictor = _given(config.energy_predictor, space, target)
    else:
        predictor = fit_table(run.table, space, cost=ENERGY)
    predictor.save(run.energy_predictor)
    return predictor


def _is_asked(config: SearchConfig) -> bool:
    return config.max_energy_mj is not None or config.energy_predictor is not None


def _given(path: str | Path, space: SearchSpace, target: Target) -> LatencyPredictor:
    return usable_predictor(Path(path), space, target.conditions, cost=ENERGY)
