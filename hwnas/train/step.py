"""What every kind of training shares: optimisers, rates, batches, checkpoints.

Every epoch's randomness comes from the seed and the epoch's number alone, so training that was stopped after any
epoch goes on as if it had not been.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.arrays import IntArray
from hwnas.core.files import replace_file
from hwnas.errors import RunError, TrainingError
from hwnas.train.recipes import Recipe

OPTIMIZERS: Final[Mapping[str, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.98)),
}


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any layer normalises by statistics of a batch."""
    return any(name.endswith("running_mean") for name, _ in module.named_buffers())


def device_of(module: nn.Module) -> torch.device:
    """Where its parameters are."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def usual_recipe(module: nn.Module) -> str:
    """`sgd` with batch-norms; `adamw` without, where SGD at its rate diverges."""
    return "sgd" if has_batch_norm(module) else "adamw"


def optimizer_of(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser of a module; norms and biases are not decayed."""
    matrices = [parameter for parameter in module.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in module.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return OPTIMIZERS[recipe.optimizer](groups, lr=recipe.learning_rate)


def set_rate(optimizer: torch.optim.Optimizer, epoch: float, recipe: Recipe) -> None:
    """Linear warm-up, then a cosine to zero; `epoch` counts parts of epochs, too."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 4)
    if epoch < warmup:
        share = (epoch + 0.1) / (warmup + 0.1)
    else:
        share = 0.5 * (1 + float(np.cos(np.pi * (epoch - warmup) / (recipe.epochs - warmup))))
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * share


def steps_of(count: int, recipe: Recipe) -> int:
    """Batches of an epoch over `count` examples."""
    return count // min(recipe.batch_size, count)


def shuffled_batches(indices: IntArray, recipe: Recipe, rng: np.random.Generator) -> Iterator[IntArray]:
    """Shuffled batches of one size; what is left over waits for another epoch (a batch-norm needs more than one)."""
    order = rng.permutation(indices)
    size = min(recipe.batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def torch_seed(*numbers: int) -> int:
    """A seed of torch's that follows from these: of a run, an epoch, and what it is for."""
    return int(np.random.default_rng(numbers).integers(2**62))


def task_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in nats per prediction, of logits (N, ..., K) and labels (N, ...)."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=label_smoothing)


def require_number(loss: float, epoch: int, recipe: Recipe, checkpoint: Path) -> None:
    """Raises TrainingError where the loss of an epoch is not a number."""
    if np.isfinite(loss):
        return
    raise TrainingError(
        f"the loss of epoch {epoch} is not a number; start again under another --out with a lower --learning-rate "
        f"(here {recipe.learning_rate})" + (f"; the last good epoch is kept in {checkpoint}" if epoch > 1 else "")
    )


def save_checkpoint(path: Path, epoch: int, parts: Mapping[str, Any], **facts: Any) -> None:
    """The epochs done, what is to be known of them, and the state of modules and optimisers by name; whole or not at all."""
    buffer = io.BytesIO()
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"epoch": epoch, **facts, **states}, buffer)
    replace_file(path, buffer.getvalue())


def restored(path: Path, parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """A checkpoint's facts, its parts given their states, each on its own device; `epoch` is 0 where there is none.

    Raises RunError where it is damaged.
    """
    if not path.exists():
        return {"epoch": 0}
    try:
        # To the CPU, from where parts take their states: the file may be of a device that is not here, and optimisers
        # leave their counters where they are, on a GPU one wait for each parameter in every step.
        facts: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(facts[name])
        return {"epoch": int(facts["epoch"])} | {name: value for name, value in facts.items() if name not in parts}
    except torch.OutOfMemoryError:
        raise  # nothing is wrong with the file
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, UnpicklingError) as error:
        raise RunError(
            f"{path}: damaged or of another space ({type(error).__name__}); delete it to train afresh"
        ) from None
