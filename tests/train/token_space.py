"""A space of token networks for tests: each token's vector, up to two small MLPs, and what comes next."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hwnas.core.choice import Choice
from hwnas.core.layer import Layer
from hwnas.core.operator import Operator, OperatorCost, Shape, linear_cost
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding(Operator):
    kind: ClassVar[str] = "embedding"
    module: ClassVar[str] = f"{__name__}:EmbeddingModule"

    tokens: int
    features: int

    @property
    def vocabulary(self) -> int:
        return self.tokens

    @property
    def output_shape(self) -> Shape:
        return (*self.input_shape, self.features)

    def cost(self) -> OperatorCost:
        return OperatorCost(0, self.tokens * self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp(Operator):
    kind: ClassVar[str] = "mlp"
    module: ClassVar[str] = f"{__name__}:MlpModule"
    family: ClassVar[str] = "mlp"

    hidden: int

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        length, features = self.input_shape
        return linear_cost(features, self.hidden, length) + linear_cost(self.hidden, features, length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout(Operator):
    kind: ClassVar[str] = "readout"
    module: ClassVar[str] = f"{__name__}:ReadoutModule"

    tokens: int

    @property
    def output_shape(self) -> Shape:
        return (self.input_shape[0], self.tokens)

    def cost(self) -> OperatorCost:
        return linear_cost(self.input_shape[1], self.tokens, self.input_shape[0])


class EmbeddingModule(nn.Module):
    def __init__(self, operator: Embedding) -> None:
        super().__init__()
        self.vectors = nn.Embedding(operator.tokens, operator.features)

    def forward(self, ids: Tensor) -> Tensor:
        return self.vectors(ids)


class MlpModule(nn.Module):
    def __init__(self, operator: Mlp) -> None:
        super().__init__()
        self.enter = nn.Linear(operator.input_shape[1], operator.hidden)
        self.leave = nn.Linear(operator.hidden, operator.input_shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(torch.relu(self.enter(x)))


class ReadoutModule(nn.Module):
    def __init__(self, operator: Readout) -> None:
        super().__init__()
        self.linear = nn.Linear(operator.input_shape[1], operator.tokens)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def build(vocabulary: int = 7, length: int = 8, features: int = 8) -> SearchSpace:
    """Two MLPs, each of 8, 16 or 32 hidden features or not there."""
    embedding = Embedding(input_shape=(length,), tokens=vocabulary, features=features)
    readout = Readout(input_shape=(length, features), tokens=vocabulary)
    choices, layers = [], [Layer("embedding", (), lambda _: embedding)]
    for name in ("mlp1", "mlp2"):
        choices.append(Choice(name, (0, 8, 16, 32)))
        layers.append(Layer(name, (name,), lambda options, name=name: mlp((length, features), options[name])))
    layers.append(Layer("readout", (), lambda _: readout))
    wiring = Chain(tuple(layers))
    return SearchSpace("tokens", tuple(choices), wiring, (length,), vocabulary, vocabulary=vocabulary)


def mlp(shape: Shape, hidden: int) -> Mlp | None:
    return Mlp(input_shape=shape, hidden=hidden) if hidden else None
