"""The accuracy predictor of FBNetV3: a perceptron whose encoder of architectures is pretrained on what is free (section 3.1).

Shapes: N evaluated architectures, P architectures of the pretraining, F one-hot features, A of them of the architecture and the
others of the training recipe, S free statistics, E numbers of an embedding.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.space import SearchSpace
from hwnas.spaces.recipe import RECIPE
from hwnas.strategies.learned import Predict, one_hot

# The free statistics of the paper.
STATISTICS: Final = ("flops", "params")
HIDDEN: Final = (256, 128)
EMBEDDING: Final = 24
HEAD: Final = 32
PRETRAINED: Final = 2_048
PRETRAINING_EPOCHS: Final = 50
PRETRAINING_BATCH: Final = 64
# Epochs with a frozen encoder, and as many of all weights with a rate that decays to zero (section 3.2).
EPOCHS: Final = 50
BATCH: Final = 8
RATE: Final = 1e-3


@final
@dataclass(frozen=True, eq=False)
class Pretrained:
    """An encoder of architectures, and how to fit a predictor of evaluations on it; a `Fit` of `strategies/learned.py`.

    `is_arch_F` is True for features of the architecture. Where the encoder `is_pretrained`, it is frozen for the first half
    of the epochs; else all weights are trained from the first epoch on.
    """

    encoder: nn.Sequential
    is_arch_F: BoolArray
    is_pretrained: bool

    @classmethod
    def of(cls, space: SearchSpace, rows_PC: IntArray, seed: int) -> "Pretrained":
        """Returns an encoder that predicts the FLOPs and parameters of these architectures.

        It is not pretrained where these are the same for all architectures.
        """
        statistics_PS = np.stack([space.costs(name, rows_PC) for name in STATISTICS], axis=1)
        statistics_PS = statistics_PS[:, np.ptp(statistics_PS, axis=0) > 0]
        one = cls.untrained(space, seed)
        if not statistics_PS.size:
            return one
        with _seeded(seed):
            features_PA = _tensor(one_hot(space, rows_PC)[:, one.is_arch_F])
            proxy_head = nn.Linear(EMBEDDING, statistics_PS.shape[1])
            target_PS = _tensor((statistics_PS - statistics_PS.mean(axis=0)) / statistics_PS.std(axis=0))
            _train(nn.Sequential(one.encoder, proxy_head), features_PA, target_PS, PRETRAINING_EPOCHS, PRETRAINING_BATCH)
        return cls(one.encoder, one.is_arch_F, is_pretrained=True)

    @classmethod
    def untrained(cls, space: SearchSpace, seed: int) -> "Pretrained":
        """Returns an encoder of random weights."""
        is_arch_F = np.repeat(
            [not choice.name.startswith(RECIPE) for choice in space.choices],
            [len(choice.options) for choice in space.choices],
        )
        with _seeded(seed):
            return cls(_perceptron([int(is_arch_F.sum()), *HIDDEN, EMBEDDING]), is_arch_F, is_pretrained=False)

    def __call__(self, features_NF: FloatArray, target_N: FloatArray, seed: int) -> Predict:
        """Fits the accuracy head, and a copy of the encoder, to evaluated architectures."""
        centre, unit = target_N.mean(), target_N.std() or 1.0
        with _seeded(seed):
            model = _Joint(self.encoder, torch.from_numpy(self.is_arch_F))
            features_NF_, target_N1 = _tensor(features_NF), _tensor((target_N - centre) / unit)[:, None]
            if self.is_pretrained:
                model.encoder.requires_grad_(False)
                _train(model, features_NF_, target_N1, EPOCHS, BATCH, decays=False)
                model.encoder.requires_grad_(True)
            else:
                _train(model, features_NF_, target_N1, EPOCHS, BATCH, decays=False)
            _train(model, features_NF_, target_N1, EPOCHS, BATCH)

        def predict(features_NF: FloatArray) -> FloatArray:
            with torch.no_grad():
                return np.asarray(centre + unit * model(_tensor(features_NF))[:, 0].numpy().astype(np.float64))

        return predict
