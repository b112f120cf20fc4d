"""Training a supernet by itself, for searches that share it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.errors import SpaceError
from hwnas.modules.declared import require_declared
from hwnas.pipeline.checked import data_facts, load_for, require_weights
from hwnas.pipeline.request import SearchRequest, reopen
from hwnas.pipeline.supernet import trained_supernet
from hwnas.pipeline.teacher import check_teacher
from hwnas.pipeline.tracking import check_trackers, tracked
from hwnas.pipeline.trained_on import record_threads
from hwnas.runs.folder import RunFolder, create_run, require_free
from hwnas.spaces.recipe import recipe_choices
from hwnas.tasks.task import Task
from hwnas.train.devices import training_device


def train(request: SearchRequest, space: SearchSpace, out: Path, reporter: Reporter) -> Path:
    """Trains a supernet into a new folder; returns the path of its weights."""
    require_free(out)
    for name in recipe_choices(space):
        raise SpaceError(
            f"{name} is a choice of how one network is trained, and a supernet has one recipe; give a space without such choices"
        )
    require_weights(space, request.training)
    device = training_device(request.training.train_on)
    require_declared(space.placed_operators().values())
    data, task = load_for(space, request)
    check_teacher(request.training, space, data, task, device)
    check_trackers(request)
    for note in space.notes:
        reporter.note(note)
    run = create_run(out, request.describe(), space.describe(), data_facts(data, reporter))
    return _finish(run, request, space, (data, task), reporter)


def resume_training(out: Path, reporter: Reporter, options: Mapping[str, Any]) -> Path:
    """Goes on after the last epoch that was finished; returns the path of the weights."""
    run, request, space = reopen(out, options)
    check_trackers(request)
    return _finish(run, request, space, load_for(space, request, run), reporter)


def _finish(
    run: RunFolder, request: SearchRequest, space: SearchSpace, loaded: tuple[Dataset, Task], reporter: Reporter
) -> Path:
    data, task = loaded
    with tracked(request, run, reporter) as reporter, run.locked(), run.stage("train"):
        if not run.supernet.exists():
            record_threads(run, reporter)
        trained_supernet(run, space, request.training, data, task, request.seed, reporter)
    return run.supernet
