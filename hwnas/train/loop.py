"""Training a supernet by the sandwich rule, and judging single networks of it.

Every epoch's randomness comes from the seed and the epoch's number alone, so training that was stopped after any
epoch goes on as if it had not been.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.arch import Arch
from hwnas.core.files import replace_file
from hwnas.core.reporter import Reporter
from hwnas.errors import RunError, TrainingError
from hwnas.supernet.network import Supernet
from hwnas.supernet.recalibrate import recalibrate
from hwnas.train.data import ImageData, Split, augment, stratified_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. Each step trains the largest, the smallest and `random_subnets` random networks on one batch."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    warmup_epochs: int = 2
    random_subnets: int = 2
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.learning_rate <= 0:
            raise TrainingError(
                f"cannot train for {self.epochs} epochs, batch {self.batch_size}, rate {self.learning_rate}"
            )


def train_supernet(
    supernet: Supernet, data: ImageData, recipe: Recipe, *, seed: int, checkpoint: Path, reporter: Reporter
) -> None:
    """Trains to the recipe's last epoch, from the checkpoint where there is one.

    The sandwich rule of BigNAS (Yu et al. 2020, section 3): labels teach the largest network, and the largest network
    teaches all others (in-place distillation). Raises TrainingError where the loss stops being a number; the checkpoint
    is then that of the last good epoch.
    """
    optimizer = torch.optim.SGD(
        _weight_groups(supernet, recipe.weight_decay),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
    )
    done = _restore(checkpoint, supernet, optimizer)
    smallest, largest = supernet.space.smallest(), supernet.space.largest()
    supernet.train()
    steps_per_epoch = len(data.train) // min(recipe.batch_size, len(data.train))
    losses: list[float] = []
    for step in reporter.track(range(done * steps_per_epoch, recipe.epochs * steps_per_epoch), "training"):
        epoch, number = divmod(step, steps_per_epoch)
        if number == 0:
            rng = np.random.default_rng((seed, epoch))
            batches = _batches(data, recipe, rng)
            losses = []
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step / steps_per_epoch, recipe)
        x, labels = _batch(data, next(batches), rng)
        others = [smallest, *(supernet.space.sample(rng) for _ in range(recipe.random_subnets))]
        optimizer.zero_grad()
        losses.append(_sandwich_step(supernet, x, labels, largest, others, recipe.label_smoothing))
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


def _batches(data: ImageData, recipe: Recipe, rng: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    """Shuffled batches of one size; what is left over waits for another epoch (a batch-norm needs more than one)."""
    order = rng.permutation(len(data.train))
    size = min(recipe.batch_size, len(order))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def _batch(data: ImageData, indices: np.ndarray[Any, Any], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    # Channels last: depthwise convolutions on a CPU train two to five times as fast.
    x = data.inputs(data.train.images[indices]).contiguous(memory_format=torch.channels_last)
    return augment(x, data.augmentation, generator), torch.from_numpy(data.train.labels[indices])


def _sandwich_step(
    supernet: Supernet, x: Tensor, labels: Tensor, largest: Arch, others: list[Arch], label_smoothing: float
) -> float:
    """Adds up the gradients of all networks; the loss of the largest."""
    logits = supernet(x, largest)
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    teacher = F.softmax(logits.detach(), 1)
    for arch in others:
        F.cross_entropy(supernet(x, arch), teacher).backward()  # type: ignore[no-untyped-call]
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
    """Cross-entropy in nats, and the share of correct predictions."""

    loss: float
    accuracy: float


class SubnetJudge:
    """Extracts single networks and judges them: the same network always gets the same score."""

    def __init__(
        self, supernet: Supernet, data: ImageData, *, batch_size: int = 64, calibration_batches: int = 8
    ) -> None:
        self._supernet = supernet.eval()
        self._data = data
        self._batch_size = batch_size
        # Every class alike, and whole batches: statistics are averages over batches, whatever a batch's size.
        order = stratified_order(data.train.labels, np.random.default_rng(0))
        count = min(len(order) // batch_size, calibration_batches) * batch_size or len(order)
        self._calibration = list(self._chunks(data.train.images[order[:count]]))
        self._validation = list(self._chunks(data.validation.images))

    def _chunks(self, images: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        for start in range(0, len(images), self._batch_size):
            x = self._data.inputs(images[start : start + self._batch_size])
            yield x.contiguous(memory_format=torch.channels_last)

    def extract(self, arch: Arch) -> nn.Module:
        """The plain network with recalibrated batch-norm statistics, in eval mode."""
        module = self._supernet.extract(arch)
        recalibrate(module, self._calibration)
        return module

    def validation(self, arch: Arch) -> Score:
        """On the validation split."""
        return self._score(self.extract(arch), self._validation, self._data.validation)

    def _score(self, module: nn.Module, inputs: list[Tensor], split: Split) -> Score:
        with torch.inference_mode():
            logits = torch.cat([module(x) for x in inputs])
        return score(logits, split)


def score(logits: Tensor, split: Split) -> Score:
    """Of logits (N, classes) against a split's labels."""
    labels = torch.from_numpy(split.labels)
    return Score(float(F.cross_entropy(logits, labels)), float((logits.argmax(1) == labels).float().mean()))
