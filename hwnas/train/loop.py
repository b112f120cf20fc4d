"""Training a supernet by the sandwich rule, and judging single networks of it.

Every epoch's randomness comes from the seed and the epoch's number alone, so training that was stopped after any
epoch goes on as if it had not been.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.arch import Arch
from hwnas.core.cost import IntArray
from hwnas.core.files import replace_file
from hwnas.core.reporter import Reporter
from hwnas.errors import RunError, TrainingError
from hwnas.supernet.network import Supernet
from hwnas.supernet.recalibrate import recalibrate
from hwnas.train.data import Dataset, Split
from hwnas.train.recipes import Recipe

OPTIMIZERS: Final[Mapping[str, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.98)),
}


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any layer normalises by statistics of a batch."""
    return any(name.endswith("running_mean") for name, _ in module.named_buffers())


def usual_recipe(supernet: Supernet) -> str:
    """`sgd` with batch-norms; `adamw` without, where SGD at its rate diverges."""
    return "sgd" if has_batch_norm(supernet) else "adamw"


def train_supernet(
    supernet: Supernet, data: Dataset, recipe: Recipe, *, seed: int, checkpoint: Path, reporter: Reporter
) -> None:
    """Trains to the recipe's last epoch, from the checkpoint where there is one.

    The sandwich rule of BigNAS (Yu et al. 2020, section 3): labels teach the largest network, and the largest network
    teaches all others (in-place distillation), with the labels where the recipe says so. Raises TrainingError where the
    loss stops being a number; the checkpoint is then that of the last good epoch.
    """
    groups = _weight_groups(supernet, recipe.weight_decay)
    optimizer = OPTIMIZERS[recipe.optimizer](groups, lr=recipe.learning_rate)
    done = _restore(checkpoint, supernet, optimizer)
    smallest, largest = supernet.space.smallest(), supernet.space.largest()
    supernet.train()
    steps_per_epoch = len(data.train) // min(recipe.batch_size, len(data.train))
    losses: list[float] = []
    for step in reporter.track(range(done * steps_per_epoch, recipe.epochs * steps_per_epoch), "training"):
        epoch, number = divmod(step, steps_per_epoch)
        if number == 0:
            rng = np.random.default_rng((seed, epoch))
            batches = _batches(len(data.train), recipe, rng)
            losses = []
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step / steps_per_epoch, recipe)
        x, labels = data.training_batch(next(batches), rng)
        others = [smallest, *(supernet.space.sample(rng) for _ in range(recipe.random_subnets))]
        optimizer.zero_grad()
        losses.append(_sandwich_step(supernet, x, labels, largest, others, recipe))
        nn.utils.clip_grad_norm_(supernet.parameters(), recipe.clip_norm)
        optimizer.step()
        if number == steps_per_epoch - 1:
            _require_number(float(np.mean(losses)), epoch + 1, recipe, checkpoint)
            _save(checkpoint, supernet, optimizer, epoch + 1)
            reporter.note(f"epoch {epoch + 1}/{recipe.epochs}: training loss {np.mean(losses):.3f} (largest network)")


def _require_number(loss: float, epoch: int, recipe: Recipe, checkpoint: Path) -> None:
    if np.isfinite(loss):
        return
    raise TrainingError(
        f"the loss of epoch {epoch} is not a number; start again under another --out with a lower --learning-rate "
        f"(here {recipe.learning_rate})" + (f"; the last good epoch is kept in {checkpoint}" if epoch > 1 else "")
    )


def _weight_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Norms and biases are not decayed."""
    matrices = [parameter for parameter in module.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in module.parameters() if parameter.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _schedule(epoch: float, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to zero."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 4)
    if epoch < warmup:
        return (epoch + 0.1) / (warmup + 0.1)
    return 0.5 * (1 + float(np.cos(np.pi * (epoch - warmup) / (recipe.epochs - warmup))))


def _batches(count: int, recipe: Recipe, rng: np.random.Generator) -> Iterator[IntArray]:
    """Shuffled batches of one size; what is left over waits for another epoch (a batch-norm needs more than one)."""
    order = rng.permutation(count)
    size = min(recipe.batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def _sandwich_step(
    supernet: Supernet, x: Tensor, labels: Tensor, largest: Arch, others: list[Arch], recipe: Recipe
) -> float:
    """Adds up the gradients of all networks; the loss of the largest, per prediction."""
    labels = labels.flatten()
    logits = supernet(x, largest).flatten(0, -2)
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    teacher = F.softmax(logits.detach(), 1)
    for arch in others:
        logits = supernet(x, arch).flatten(0, -2)
        told = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        torch.lerp(told, F.cross_entropy(logits, teacher), recipe.distillation).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _save(path: Path, supernet: Supernet, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    buffer = io.BytesIO()
    torch.save({"epoch": epoch, "weights": supernet.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    replace_file(path, buffer.getvalue())


def _restore(path: Path, supernet: Supernet, optimizer: torch.optim.Optimizer) -> int:
    """The number of epochs done."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        supernet.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, UnpicklingError) as error:
        raise RunError(
            f"{path}: damaged or of another space ({type(error).__name__}); delete it to train afresh"
        ) from None
    return int(state["epoch"])


def save_supernet(supernet: Supernet, path: Path) -> None:
    """Weights and statistics as safetensors, with the space's fingerprint."""
    weights = {name: tensor.contiguous() for name, tensor in supernet.state_dict().items()}
    replace_file(path, save_tensors(weights, {"hwnas.space": supernet.space.fingerprint}))


def load_supernet(supernet: Supernet, path: Path) -> None:
    """Raises RunError where the file is missing, damaged or of another space."""
    try:
        supernet.load_state_dict(load_tensors(path.read_bytes()))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); `hwnas train` makes it") from None
    except (SafetensorError, RuntimeError):
        raise RunError(f"{path}: damaged, or weights of another space; train this space's supernet") from None


@dataclass(frozen=True, slots=True)
class Score:
    """Cross-entropy in nats per prediction, and the share of correct predictions."""

    loss: float
    accuracy: float


class SubnetJudge:
    """Extracts single networks and judges them: the same network always gets the same score."""

    def __init__(
        self, supernet: Supernet, data: Dataset, *, batch_size: int = 64, calibration_batches: int = 8
    ) -> None:
        self._supernet = supernet.eval()
        self._batch_size = batch_size
        # Whole batches: statistics are averages over batches, whatever a batch's size.
        order = data.calibration_order()
        count = min(len(order) // batch_size, calibration_batches) * batch_size or len(order)
        raw = data.train.raw[order[:count]]
        self._calibration = [data.inputs(raw[rows]) for rows in self._chunks(count)]
        self._validation = list(self._labelled(data, data.validation))

    def _chunks(self, count: int) -> Iterator[slice]:
        return (slice(start, start + self._batch_size) for start in range(0, count, self._batch_size))

    def _labelled(self, data: Dataset, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        raw, labels = split.raw, split.labels
        for rows in self._chunks(len(split)):
            yield data.inputs(raw[rows]), torch.from_numpy(labels[rows])

    def extract(self, arch: Arch) -> nn.Module:
        """The plain network in eval mode; where it has batch-norms, with statistics of its own."""
        module = self._supernet.extract(arch)
        if has_batch_norm(module):
            recalibrate(module, self._calibration)
        return module.eval()

    def validation(self, arch: Arch) -> Score:
        """On the validation split."""
        module = self.extract(arch)
        with torch.inference_mode():
            return score((module(x), labels) for x, labels in self._validation)


def score(batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Of logits (N, ..., K) and labels (N, ...), batch by batch: all logits of a text would not fit into memory."""
    loss, correct, count = 0.0, 0, 0
    for logits, labels in batches:
        flat, right = logits.flatten(0, -2), labels.flatten()
        loss += float(F.cross_entropy(flat, right, reduction="sum"))
        correct += int((flat.argmax(1) == right).sum())
        count += len(right)
    return Score(loss / count, correct / count)
