"""Training a supernet by the sandwich rule, and judging single networks of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
from hwnas.data.dataset import Dataset, Split
from hwnas.errors import RunError
from hwnas.supernet.network import Supernet
from hwnas.supernet.recalibrate import recalibrate
from hwnas.train.recipes import Recipe
from hwnas.train.step import (
    device_of,
    has_batch_norm,
    optimizer_of,
    require_number,
    restored,
    save_checkpoint,
    set_rate,
    shuffled_batches,
    steps_of,
    torch_seed,
)


def train_supernet(
    supernet: Supernet, data: Dataset, recipe: Recipe, *, seed: int, checkpoint: Path, reporter: Reporter
) -> None:
    """Trains to the recipe's last epoch, from the checkpoint where there is one.

    The sandwich rule of BigNAS (Yu et al. 2020, section 3): labels teach the largest network, and the largest network
    teaches all others (in-place distillation), with the labels where the recipe says so. Raises TrainingError where the
    loss stops being a number; the checkpoint is then that of the last good epoch.
    """
    optimizer, device = optimizer_of(supernet, recipe), device_of(supernet)
    parts = {"weights": supernet, "optimizer": optimizer}
    done = restored(checkpoint, parts)["epoch"]
    smallest, largest = supernet.space.smallest(), supernet.space.largest()
    supernet.train()
    steps_per_epoch = steps_of(len(data.train), recipe)
    losses: list[float] = []
    for step in reporter.track(range(done * steps_per_epoch, recipe.epochs * steps_per_epoch), "training"):
        epoch, number = divmod(step, steps_per_epoch)
        if number == 0:
            torch.manual_seed(torch_seed(seed, epoch, 4))  # dropout
            rng = np.random.default_rng((seed, epoch))
            batches = shuffled_batches(np.arange(len(data.train)), recipe, rng)
            losses = []
        set_rate(optimizer, step / steps_per_epoch, recipe)
        x, labels = data.training_batch(next(batches), rng)
        others = [smallest, *(supernet.space.sample(rng) for _ in range(recipe.random_subnets))]
        optimizer.zero_grad()
        losses.append(_sandwich_step(supernet, x.to(device), labels.to(device), largest, others, recipe))
        nn.utils.clip_grad_norm_(supernet.parameters(), recipe.clip_norm)
        optimizer.step()
        if number == steps_per_epoch - 1:
            require_number(float(np.mean(losses)), epoch + 1, recipe, checkpoint)
            save_checkpoint(checkpoint, epoch + 1, parts)
            reporter.note(f"epoch {epoch + 1}/{recipe.epochs}: training loss {np.mean(losses):.3f} (largest network)")


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


def save_supernet(supernet: Supernet, path: Path) -> None:
    """Weights and statistics as safetensors, with the space's fingerprint."""
    save_weights(supernet, path, {"hwnas.space": supernet.space.fingerprint})


def load_supernet(supernet: Supernet, path: Path) -> None:
    """Raises RunError where the file is missing, damaged or of another space."""
    load_weights(supernet, path, "`hwnas train` makes it")


def save_weights(module: nn.Module, path: Path, facts: Mapping[str, str]) -> None:
    """Weights and statistics as safetensors, with facts of them."""
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    replace_file(path, save_tensors(weights, dict(facts)))


def load_weights(module: nn.Module, path: Path, how: str) -> None:
    """`how` says what makes the file. Raises RunError where it is missing, damaged or of another space."""
    try:
        module.load_state_dict(load_tensors(path.read_bytes()))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); {how}") from None
    except (SafetensorError, RuntimeError):
        raise RunError(f"{path}: damaged, or weights of another space; {how}") from None


@dataclass(frozen=True, slots=True)
class Score:
    """Cross-entropy in nats per prediction, and the share of correct predictions."""

    loss: float
    accuracy: float


class NetworkJudge:
    """Judges plain networks by the validation split, which it keeps on a device: the same network always gets the same
    score, on a GPU to rounding."""

    def __init__(
        self, data: Dataset, device: torch.device, *, batch_size: int = 64, calibration_batches: int = 8
    ) -> None:
        self.device = device
        self._batch_size = batch_size
        # Whole batches: statistics are averages over batches, whatever a batch's size.
        order = data.calibration_order()
        count = min(len(order) // batch_size, calibration_batches) * batch_size or len(order)
        raw = data.train.raw[order[:count]]
        self._calibration = [data.inputs(raw[rows]).to(device) for rows in self._chunks(count)]
        self._validation = list(self._labelled(data, data.validation))

    def _chunks(self, count: int) -> Iterator[slice]:
        return (slice(start, start + self._batch_size) for start in range(0, count, self._batch_size))

    def _labelled(self, data: Dataset, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        raw, labels = split.raw, split.labels
        for rows in self._chunks(len(split)):
            yield data.inputs(raw[rows]).to(self.device), torch.from_numpy(labels[rows]).to(self.device)

    def prepared(self, module: nn.Module) -> nn.Module:
        """On the judge's device, in eval mode; where it has batch-norms, with statistics of its own."""
        module.to(self.device)
        if has_batch_norm(module):
            recalibrate(module, self._calibration)
        return module.eval()

    def validation(self, run: Callable[[Tensor], Tensor]) -> Score:
        """Of what a network in the mode it is in makes of the validation split."""
        with torch.inference_mode():
            return score((run(x), labels) for x, labels in self._validation)


class Networks(Protocol):
    """Where trained networks come from."""

    def extract(self, arch: Arch) -> nn.Module:
        """The plain network in eval mode, with statistics of its own."""


class SubnetJudge:
    """Extracts single networks of a supernet and judges them."""

    def __init__(
        self, supernet: Supernet, data: Dataset, *, batch_size: int = 64, calibration_batches: int = 8
    ) -> None:
        self._supernet = supernet.eval()
        device = device_of(supernet)
        self._judge = NetworkJudge(data, device, batch_size=batch_size, calibration_batches=calibration_batches)

    def extract(self, arch: Arch) -> nn.Module:
        """The plain network in eval mode; where it has batch-norms, with statistics of its own."""
        return self._judge.prepared(self._supernet.extract(arch))

    def validation(self, arch: Arch) -> Score:
        """On the validation split."""
        return self._judge.validation(self.extract(arch))


def score(batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
    """Of logits (N, ..., K) and labels (N, ...), batch by batch: all logits of a text would not fit into memory."""
    loss, correct, count = 0.0, 0, 0
    for logits, labels in batches:
        flat, right = logits.flatten(0, -2), labels.flatten()
        loss += float(F.cross_entropy(flat, right, reduction="sum"))
        correct += int((flat.argmax(1) == right).sum())
        count += len(right)
    return Score(loss / count, correct / count)
