"""Training a supernet by itself, for searches that share it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.search import load_for, reopen, trained_supernet
from hwnas.runs.folder import create_run


def train(config: SearchConfig, space: SearchSpace, out: Path, reporter: Reporter) -> Path:
    """Trains a supernet into a new folder; the path of its weights."""
    data = load_for(space, config)
    run = create_run(out, config.describe(), space.describe(), data.describe())
    with run.locked(), run.stage("train"):
        trained_supernet(run, config, space, data, reporter)
    return run.supernet


def resume_training(out: Path, reporter: Reporter, given: Mapping[str, Any]) -> Path:
    """Goes on after the last epoch that was finished."""
    run, config, space = reopen(out, given)
    with run.locked(), run.stage("train"):
        trained_supernet(run, config, space, load_for(space, config, run), reporter)
    return run.supernet
