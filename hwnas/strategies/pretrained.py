"""The accuracy predictor of FBNetV3: a perceptron whose encoder of architectures is pretrained on what is free (section 3).

Shapes: N evaluated architectures, P architectures of the pretraining, F one-hot features, A of them of the architecture and the
others of the training recipe, S free statistics, T targets.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.spaces.recipe import recipe_choices
from hwnas.strategies.learned import Predict, one_hot

# The free statistics of the paper.
STATISTICS: Final = ("flops", "params")
HIDDEN: Final = (256, 128)
EMBEDDING: Final = 24
PRETRAINING_EPOCHS: Final = 50
PRETRAINING_BATCH: Final = 64
# So many epochs on a frozen encoder, and as many of all weights with a rate that decays to zero.
EPOCHS: Final = 50
BATCH: Final = 8
RATE: Final = 3e-3


@final
@dataclass(frozen=True, eq=False)
class Pretrained:
    """An encoder of architectures; called as a `Fit`, it returns a predictor of evaluated architectures that begins with it.

    `is_arch_F` is True for the features of the architecture, which the encoder has; those of the recipe join its embedding. A
    pretrained encoder is frozen for the first half of a fit; one of random weights learns from the first epoch on.
    """

    encoder: nn.Sequential
    is_arch_F: BoolArray
    is_pretrained: bool

    @classmethod
    def of(cls, space: SearchSpace, rows_PC: IntArray, seed: int) -> "Pretrained":
        """Returns an encoder that has learnt the FLOPs and parameters of these architectures.

        It has random weights where these statistics do not vary.
        """
        statistics_PS = np.stack([space.costs(name, rows_PC) for name in STATISTICS], axis=1)
        statistics_PS = statistics_PS[:, np.ptp(statistics_PS, axis=0) > 0]
        untrained = cls.untrained(space, seed)
        if not statistics_PS.size:
            return untrained
        encoder, is_arch_F = untrained.encoder, untrained.is_arch_F
        with _random_state(seed):
            model = nn.Sequential(encoder, nn.Linear(EMBEDDING, statistics_PS.shape[1]))
            features_PA = _tensor(one_hot(space, rows_PC)[:, is_arch_F])
            target_PS = _tensor((statistics_PS - statistics_PS.mean(axis=0)) / statistics_PS.std(axis=0))
            _train(model, features_PA, target_PS, epochs=PRETRAINING_EPOCHS, batch=PRETRAINING_BATCH, decays=True)
        return cls(encoder, is_arch_F, is_pretrained=True)

    @classmethod
    def untrained(cls, space: SearchSpace, seed: int) -> "Pretrained":
        """Returns an encoder of random weights."""
        of_recipe = recipe_choices(space)
        is_arch_C = [choice.name not in of_recipe for choice in space.choices]
        is_arch_F = np.repeat(is_arch_C, [len(choice.options) for choice in space.choices])
        with _random_state(seed):
            return cls(_encoder(int(is_arch_F.sum())), is_arch_F, is_pretrained=False)

    def __call__(self, features_NF: FloatArray, target_N: FloatArray, seed: int) -> Predict:
        """Fits a head and a copy of the encoder to standardised targets."""
        centre, unit = float(target_N.mean()), float(target_N.std()) or 1.0
        x_NF, y_N1 = _tensor(features_NF), _tensor((target_N - centre) / unit)[:, None]
        with _random_state(seed):
            model = _Predictor(deepcopy(self.encoder), torch.from_numpy(self.is_arch_F))
            model.encoder.requires_grad_(not self.is_pretrained)
            _train(model, x_NF, y_N1, epochs=EPOCHS, batch=BATCH, decays=False)
            model.encoder.requires_grad_(True)
            _train(model, x_NF, y_N1, epochs=EPOCHS, batch=BATCH, decays=True)

        def predict(features_NF: FloatArray) -> FloatArray:
            with torch.no_grad():
                y_N1 = model(_tensor(features_NF))
            return np.asarray(centre + unit * y_N1[:, 0].double().numpy())

        return predict


@final
class _Predictor(nn.Module):
    """An embedding of the architecture, joined by the features of the recipe, to one target."""

    def __init__(self, encoder: nn.Sequential, is_arch_F: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.is_arch_F = is_arch_F
        joined = EMBEDDING + int((~is_arch_F).sum())
        self.head = nn.Sequential(nn.Linear(joined, joined), nn.ReLU(), nn.Linear(joined, 1))

    def forward(self, x_NF: Tensor) -> Tensor:
        embedding_NE = self.encoder(x_NF[:, self.is_arch_F])
        y_N1: Tensor = self.head(torch.cat([embedding_NE, x_NF[:, ~self.is_arch_F]], dim=1))
        return y_N1


def _encoder(features: int) -> nn.Sequential:
    widths = [features, *HIDDEN, EMBEDDING]
    layers = [(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(widths)]
    return nn.Sequential(*[module for pair in layers for module in pair])


def _train(model: nn.Module, x_NF: Tensor, y_NT: Tensor, *, epochs: int, batch: int, decays: bool) -> None:
    """Trains what is not frozen on the Huber loss with Adam, in shuffled batches; where it `decays`, the rate ends at zero."""
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs) if decays else None
    for _ in range(epochs):
        for indices in torch.split(torch.randperm(len(x_NF)), batch):
            optimizer.zero_grad()
            loss = nn.functional.huber_loss(model(x_NF[indices]), y_NT[indices])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if schedule is not None:
            schedule.step()


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    """Seeds torch on the CPU, and leaves its state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
