"""The supernet of a space: one elastic layer per layer, run as any architecture or as a mixture of all."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.arch import Arch
from hwnas.core.choice import Choice
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Flow
from hwnas.errors import SpaceError
from hwnas.modules.assemble import module_name, network, sum_of
from hwnas.modules.declared import require_declared
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.mixture import Drawn, Mixture, added, partly, shares
from hwnas.supernet.recalibrate import recalibrate

# Mixtures kept in memory. Samplers that draw few options draw other options in every step.
MOST_MIXTURES: Final = 2000


@final
class Supernet(nn.Module):
    """All architectures of a space in one set of entangled weights.

    Raises SpaceError where an operator's module does not do what the operator declares.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        require_declared(space.placed_operators().values())
        self.space = space
        self._mixtures: dict[tuple[Any, ...], Mixture] = {}
        self.layers = nn.ModuleDict()
        for layer in space.layers:
            operators = [operator for _, operator in layer.cells(space.by_name) if operator is not None]
            self.layers[module_name(layer.name)] = ElasticLayer(layer.name, operators, entangled=layer.entangled)

    def forward(self, x: Tensor, arch: Arch | Mapping[str, Tensor | Drawn], partial: int = 1) -> Tensor:
        """Returns the output of one architecture, or of a mixture of all. Input (N, *space.input_shape).

        A mixture maps every choice that is not tied and has several options to the probabilities of its options
        (options,), or to some options and their weights. Every layer runs once per group of operators that nest, at the
        size of the largest; the output of a stage is the mean of the outputs at its depths. With probabilities of 0 and 1
        the output is that of the architecture. Raises SpaceError where probabilities are missing or have a wrong shape.

        With `partial` above 1 the operators of a cell's edges run on the first 1 / `partial` of the channels; the other
        channels bypass the operators, and all are shuffled (PC-DARTS, Xu et al. 2020, section 3.2). That saves time and
        memory where operators do not nest. Edges that change shapes run on all channels.
        """
        if isinstance(arch, Arch):
            return self.space.wiring.run(x, _Slices(self, arch))
        return self.space.wiring.run(x, _Mixtures(self, self.drawn(arch), partial))

    def drawn(self, mixture: Mapping[str, Tensor | Drawn]) -> dict[str, Drawn]:
        """Returns the options and weights of every choice that is not tied. Raises SpaceError."""
        free = [choice for choice in self.space.choices if not choice.tied_to]
        return {choice.name: self._drawn(choice, mixture.get(choice.name)) for choice in free}

    def _drawn(self, choice: Choice, weights: Tensor | Drawn | None) -> Drawn:
        count = len(choice.options)
        if weights is None and count > 1:
            raise SpaceError(f"a mixture of {self.space.name} needs probabilities of {choice.name!r}; add them")
        if weights is None:
            weights = self._certain()
        drawn = weights if isinstance(weights, Drawn) else Drawn(tuple(range(count)), weights)
        possible = drawn.options and set(drawn.options) <= set(range(count))
        if not possible or drawn.weights.shape != (len(drawn.options),):
            raise SpaceError(
                f"{choice.name!r} has {count} options; its mixture has weights of shape {tuple(drawn.weights.shape)} for "
                f"options {drawn.options}"
            )
        return drawn

    def mixture(self, layer: Layer, drawn: Mapping[str, Drawn], partial: int = 1) -> tuple[Mixture, Tensor]:
        """Returns the mixture of a layer's operators, and the probability of each cell of its scope (K,)."""
        scope = tuple(self.space.choice(name).tied_to or name for name in layer.scope)
        names = tuple(dict.fromkeys(scope))
        kept = tuple(drawn[name].options for name in names)
        like = weights_K = drawn[names[0]].weights if names else self._certain()
        for name in names[1:]:
            weights_K = (weights_K[:, None] * drawn[name].weights).reshape(-1)
        key = (layer.name, kept, like.dtype, like.device, partial)
        if len(self._mixtures) > MOST_MIXTURES:
            self._mixtures.clear()
        if key not in self._mixtures:
            options = (dict(zip(names, index, strict=True)) for index in itertools.product(*kept))
            table = dict(layer.cells(self.space.by_name))
            operators = [table[tuple(index[name] for name in scope)] for index in options]
            narrow = partial if partly(table.values(), partial) else 1
            with torch.inference_mode(False):  # a mixture made during evaluation serves training, too
                self._mixtures[key] = Mixture(layer, self.elastic(layer), operators, like, narrow)
        return self._mixtures[key], weights_K

    def extract(self, arch: Arch, batches: Iterable[Tensor]) -> nn.Module:
        """Returns the plain network of an architecture with a copy of its weights, ready to use, in eval mode.

        Its batch-norm statistics are those over `batches`, training inputs (N, *space.input_shape) each: those of the supernet
        mix all of its networks, and the network would be far worse with them. Raises SpaceError where there are no batches and
        the network needs some.
        """
        plain, given = self.uncalibrated(arch), iter(batches)
        first = next(given, None)
        if first is not None:
            like = self._certain()
            recalibrate(plain, (batch.to(like.device) for batch in itertools.chain([first], given)))
        elif any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in plain.modules()):
            raise SpaceError(
                f"{self.space.name}: the network has batch-norms, whose statistics are taken over batches; give some of training "
                "inputs, or call uncalibrated(arch)"
            )
        return plain.eval()

    @torch.no_grad()
    def uncalibrated(self, arch: Arch) -> nn.Module:
        """Returns the plain network of an architecture with a copy of its weights; its output equals `supernet(x, arch)`.

        Its batch-norm statistics are the supernet's, a mixture of all networks': `extract` gives the network its own.
        """
        plain = network(self.space, arch).to(self._certain())  # the supernet's device and type
        plain.train(self.training)
        for layer in self.space.layers:
            operator = layer.operator(arch)
            if operator is None:
                continue
            module = plain.get_submodule(module_name(layer.name))
            targets = dict(module.named_parameters()) | dict(module.named_buffers())
            for tensor_name, tensor in self.elastic(layer).slices(operator).items():
                targets[tensor_name].copy_(tensor)
        return plain

    def _certain(self) -> Tensor:
        """Returns the probability of an only option, (1,), of the type and on the device of the weights."""
        return next(self.parameters(), torch.ones(1)).new_ones(1)

    def elastic(self, layer: Layer) -> ElasticLayer:
        """Returns the entangled weights of a layer."""
        elastic = self.layers[module_name(layer.name)]
        assert isinstance(elastic, ElasticLayer)
        return elastic


@final
@dataclass(frozen=True, slots=True)
class _Slices(Flow[Tensor]):
    """The flow of tensors through the supernet fixed at one architecture."""

    supernet: Supernet
    arch: Arch

    def layer(self, layer: Layer, value: Tensor) -> Tensor | None:
        operator = layer.operator(self.arch)
        return None if operator is None else self.supernet.elastic(layer)(value, operator)

    def total(self, graph: str, source: Tensor, terms: Sequence[Tensor]) -> Tensor:
        return sum_of(source, terms)


@final
@dataclass(frozen=True, slots=True)
class _Mixtures(Flow[Tensor]):
    """The flow of tensors through a mixture of architectures."""

    supernet: Supernet
    drawn: Mapping[str, Drawn]
    partial: int

    def layer(self, layer: Layer, value: Tensor) -> Tensor | None:
        mixture, weights_K = self.supernet.mixture(layer, self.drawn)
        return mixture(value, weights_K, passing=True)

    def edge(self, layer: Layer, value: Tensor) -> Tensor | None:
        mixture, weights_K = self.supernet.mixture(layer, self.drawn, self.partial)
        if mixture.partial == 1:
            return mixture(value, weights_K, passing=False)
        channels = value.shape[1] // mixture.partial
        taken_NCHW, passed_NCHW = value[:, :channels], value[:, channels:]
        output_NCHW = mixture(taken_NCHW, weights_K, passing=False)
        if output_NCHW is None:
            output_NCHW = torch.zeros_like(taken_NCHW)
        return F.channel_shuffle(torch.cat([output_NCHW, passed_NCHW], 1), mixture.partial)

    def total(self, graph: str, source: Tensor, terms: Sequence[Tensor]) -> Tensor:
        return added(terms) if terms else torch.zeros_like(source)

    def within(self, depth: str, number: int) -> "_Mixtures":
        """Returns the flow inside a block, given that the block is kept; `ended` weighs the outputs by depth."""
        name, depths = self._depths(depth)
        drawn = self.drawn[name]
        kept = [i for i, option in enumerate(drawn.options) if depths[option] >= number]
        if len(kept) in (0, len(drawn.options)):
            return self
        depths_kept = Drawn(tuple(drawn.options[i] for i in kept), shares(drawn.weights[kept]))
        return replace(self, drawn={**self.drawn, name: depths_kept})

    def ended(self, depth: str, values: Sequence[Tensor]) -> Tensor:
        name, depths = self._depths(depth)
        drawn = self.drawn[name]
        if len(drawn.options) == 1 and not drawn.weights.requires_grad:
            return values[depths[drawn.options[0]]]
        return added(
            [values[depths[option]] * weight for option, weight in zip(drawn.options, drawn.weights, strict=True)]
        )

    def _depths(self, depth: str) -> tuple[str, list[int]]:
        """Returns the choice that is drawn for a depth, and the number of blocks of each option."""
        choice = self.supernet.space.choice(depth)
        return choice.tied_to or choice.name, [int(option) for option in choice.options]
