"""Training a supernet by itself, for searches that share it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.request import load_for, reopen
from hwnas.pipeline.search import trained_supernet
from hwnas.runs.folder import RunFolder, create_run
from hwnas.train.devices import training_device


def train(config: SearchConfig, space: SearchSpace, out: Path, reporter: Reporter) -> Path:
    """Trains a supernet into a new folder; the path of its weights."""
    training_device(config.train_on)
    data = load_for(space, config)
    run = create_run(out, config.describe(), space.describe(), data.describe())
    _finish(run, config, space, data, reporter)
    return run.supernet


def resume_training(out: Path, reporter: Reporter, given: Mapping[str, Any]) -> Path:
    """Goes on after the last epoch that was finished."""
    run, config, space = reopen(out, given)
    _finish(run, config, space, load_for(space, config, run), reporter)
    return run.supernet


def _finish(run: RunFolder, config: SearchConfig, space: SearchSpace, data: Dataset, reporter: Reporter) -> None:
    with run.locked(), run.stage("train"):
        trained_supernet(run, config, space, data, reporter)
