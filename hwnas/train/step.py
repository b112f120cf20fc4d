"""The one training step, and what belongs to it: the optimiser, its rate, the batch, the loss of a student.

A step backpropagates its losses one after another, clips the gradient and moves the weights. Training of supernets, training
alone, the weights of a gradient search and tuning differ only in the losses that they give it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.arrays import IntArray
from hwnas.data.dataset import Dataset
from hwnas.data.streamed import ahead
from hwnas.tasks.task import Task
from hwnas.train.devices import placed
from hwnas.train.recipes import Recipe

CONSTRUCTORS: Final[Mapping[str, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    # Its decay is coupled: part of the gradient, as in TangleNAS's conv_macro.
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.995)),
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.98)),
}

# Inputs and labels, on the device of the network.
Batch = tuple[Tensor, Tensor]


def training_step(
    module: nn.Module, optimizer: torch.optim.Optimizer, losses: Iterable[Tensor], clip_norm: float
) -> float:
    """Steps the weights along the sum of the losses, its gradient clipped to `clip_norm`; returns the first loss.

    Each loss is backpropagated before the next one is asked for, so a generator of losses keeps one graph in memory.
    """
    optimizer.zero_grad()
    values = []
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
        values.append(loss.detach())
    nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
    optimizer.step()
    return float(values[0])


def student_loss(task: Task, outputs: Tensor, labels: Tensor, imitation: Tensor, recipe: Recipe) -> Tensor:
    """Returns the loss of a student: the recipe's share of its loss of imitation, and the rest of the labels' loss."""
    loss = task.loss(outputs, labels, smoothing=recipe.label_smoothing)
    return torch.lerp(loss, imitation, recipe.distillation)


# ---- batches


def steps_of(count: int, recipe: Recipe) -> int:
    """Returns the number of batches in an epoch over `count` examples."""
    return count // min(recipe.batch_size, count)


def shuffled_batches(indices: IntArray, recipe: Recipe, rng: np.random.Generator) -> Iterator[IntArray]:
    """Yields shuffled batches of one size; left over examples wait for another epoch (batch-norm needs more than one)."""
    order = rng.permutation(indices)
    size = min(recipe.batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def training_batch(data: Dataset, indices: IntArray, rng: np.random.Generator, device: torch.device) -> Batch:
    """Returns inputs and labels of training examples, augmented, on a device."""
    x, labels = data.training_batch(indices, rng)
    return placed(x, device), labels.to(device)


def plain_batch(data: Dataset, indices: IntArray, device: torch.device) -> Batch:
    """Returns inputs and labels of training examples as they are, on a device."""
    x, labels = data.inputs(data.train.raw[indices]), torch.from_numpy(data.train.labels[indices])
    return placed(x, device), labels.to(device)


def training_batches(data: Dataset, recipe: Recipe, rng: np.random.Generator, device: torch.device) -> Iterator[Batch]:
    """Yields the batches of one epoch over all training examples; draws from `rng` as they are asked for."""
    batches = list(shuffled_batches(np.arange(len(data.train)), recipe, rng))
    ahead(data.train.raw, batches)
    for indices in batches:
        yield training_batch(data, indices, rng, device) if recipe.augmented else plain_batch(data, indices, device)


# ---- optimisers and rates


def optimizer_of(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Returns the recipe's optimiser of a module; norms and biases are not decayed."""
    matrices = [parameter for parameter in module.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in module.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return CONSTRUCTORS[recipe.optimizer](groups, lr=recipe.learning_rate)


def set_rate(optimizer: torch.optim.Optimizer, epoch: float, recipe: Recipe, ending: float = 0.0) -> None:
    """Sets the learning rate at a time in epochs, fractions included: a linear warm-up, then a cosine to zero.

    After the warm-up the rate does not fall below the share `ending` of its highest: there it stays constant.
    """
    warmup = min(recipe.warmup_epochs, recipe.epochs / 4)
    if epoch < warmup:
        share = (epoch + 0.1) / (warmup + 0.1)
    else:
        share = max(ending, 0.5 * (1 + float(np.cos(np.pi * (epoch - warmup) / (recipe.epochs - warmup)))))
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * share


# ---- facts of modules


def has_batch_norm(module: nn.Module) -> bool:
    """Returns True for a module with a layer that normalises by statistics of a batch."""
    return any(name.endswith("running_mean") for name, _ in module.named_buffers())


def device_of(module: nn.Module) -> torch.device:
    """Returns the device of a module's parameters."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def usual_optimizer(module: nn.Module) -> str:
    """Returns `sgd` for a module with batch-norms, else `adamw`: without batch-norms, SGD at its rate diverges."""
    return "sgd" if has_batch_norm(module) else "adamw"
