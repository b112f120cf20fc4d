"""The supernet of a run: trained in its folder, or loaded from another."""

from dataclasses import asdict
from pathlib import Path

import torch

from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.evaluate.training import NetworkTraining
from hwnas.pipeline.checked import load_trained
from hwnas.pipeline.teacher import teacher_of
from hwnas.pipeline.trained_on import record_training
from hwnas.runs.folder import RunFolder
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Task
from hwnas.train.devices import training_device
from hwnas.train.recipes import Recipe
from hwnas.train.request import TrainingRequest
from hwnas.train.step import usual_optimizer
from hwnas.train.supernet import train_supernet
from hwnas.train.weights import load_supernet, save_supernet


def new_supernet(space: SearchSpace, request: TrainingRequest, data: Dataset, seed: int) -> Supernet:
    """Returns the supernet on the CPU, untrained, or as another folder has trained it. Raises RunError."""
    torch.manual_seed(seed)
    supernet = Supernet(space)
    if request.supernet is not None:
        load_trained(supernet, Path(request.supernet), data)
    return supernet


def recipe_of(request: TrainingRequest, space: SearchSpace) -> Recipe:
    """Returns the recipe of a request for the networks of a space."""
    return request.recipe_for(usual_optimizer(Supernet(space)), is_trained=space.is_trained)


def trained_supernet(
    run: RunFolder,
    space: SearchSpace,
    request: TrainingRequest,
    data: Dataset,
    task: Task,
    seed: int,
    reporter: Reporter,
) -> Supernet:
    """Returns the run's supernet, on the device it is trained on: loaded where it is trained already, else trained from the
    last checkpoint on.

    The recipe and the device become `recipe` and `trained_on` of run.json. Raises UnknownNameError, DeviceError.
    """
    device = training_device(request.train_on)
    if run.supernet.exists():
        supernet = Supernet(space).to(device)
        load_supernet(supernet, run.supernet)
        return supernet
    supernet = new_supernet(space, request, data, seed).to(device)
    if request.trains_a_supernet:
        recipe = request.recipe_for(usual_optimizer(supernet), is_trained=space.is_trained)
        run.write(run.read() | {"recipe": asdict(recipe)})
        record_training(run, device, reporter)
        training = NetworkTraining(
            data=data, task=task, recipe=recipe, seed=seed, device=device, folder=run.teacher, reporter=reporter
        )
        train_supernet(
            supernet,
            data,
            task,
            recipe,
            seed=seed,
            checkpoint=run.checkpoint,
            reporter=reporter,
            teacher=teacher_of(request, space, training),
        )
    save_supernet(supernet, run.supernet)
    run.checkpoint.unlink(missing_ok=True)
    return supernet
