"""The teacher of a run: a network of a file, or the largest network of the space, trained by itself in the run's folder."""

from dataclasses import replace
from functools import partial

import torch

from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.errors import HwnasError
from hwnas.evaluate.sources import UntrainedSource
from hwnas.evaluate.training import NetworkTraining
from hwnas.train.imitation import imitation_of
from hwnas.train.recipes import RECIPES
from hwnas.train.request import LARGEST, TrainingRequest
from hwnas.train.teacher import Teacher, external_teacher, taught


def check_teacher(request: TrainingRequest, space: SearchSpace, data: Dataset, device: torch.device) -> None:
    """Raises HwnasError where the teacher of a request cannot be had, or shows nothing that the recipe's students can imitate.

    A teacher of a file and the smallest network are run on two examples; nothing is trained.
    """
    imitation, x = imitation_of(RECIPES[request.recipe]), data.inputs(data.train.raw[:2])
    imitation.run(UntrainedSource(space, 0).network(space.smallest()), x)
    if request.teacher != LARGEST:
        teacher = _of_a_file(request, space, data, device)
        if teacher is not None:
            imitation.run(partial(taught, teacher), x.to(device))
    elif not request.teacher_epochs and not space.is_trained:
        raise HwnasError(
            "--teacher-epochs 0 keeps the weights that --model brings; add --model, or train the teacher for 1 epoch or more"
        )


def teacher_of(request: TrainingRequest, space: SearchSpace, training: NetworkTraining) -> Teacher | None:
    """Returns the teacher of a request; None where there is none.

    The largest network is trained alone on the labels, for the epochs of the request. The folder of `training` keeps it, so that
    it is trained once. Raises HwnasError.
    """
    if request.teacher != LARGEST:
        return _of_a_file(request, space, training.data, training.device)
    largest = space.largest()
    module = UntrainedSource(space, training.seed).network(largest)
    if not request.teacher_epochs:
        return module.to(training.device)
    return replace(training, epochs=request.teacher_epochs, words="training the teacher,").trained(module, largest)


def _of_a_file(request: TrainingRequest, space: SearchSpace, data: Dataset, device: torch.device) -> Teacher | None:
    """Returns the teacher of `FILE.onnx` or `FILE.py:NAME`, tried on two examples; None where there is none."""
    if request.teacher is None:
        return None
    return external_teacher(request.teacher, data.inputs(data.train.raw[:2]), space.output_shape, device)
