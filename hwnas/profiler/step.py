"""The step of inference that is measured: a whole input at once, or the decoding of one position with a cache."""

from collections.abc import Mapping, Sequence
from typing import Final, final

import torch
from torch import Tensor, nn

from hwnas.core.operator import Shape
from hwnas.core.references import imported
from hwnas.profiler.device import DECODE, WHOLE
from hwnas.profiler.runtime import filled

# What makes the network of a step other than the whole: traces and axes are of a higher layer (`elastic`).
MAKERS: Final[Mapping[str, str]] = {DECODE: "hwnas.elastic.decoding:decoder"}


def in_step(step: str, network: nn.Module, input_shape: Shape, vocabulary: int | None, batch: int) -> nn.Module:
    """Returns a network as it runs in a step, on inputs of `shape_in_step`. Raises SpaceError for one that has no such step."""
    if step == WHOLE:
        return network
    return imported(MAKERS[step])(network, input_shape, vocabulary, batch)  # type: ignore[no-any-return]


def shape_in_step(step: str, input_shape: Shape) -> Shape:
    """Returns the shape of one sample's input in a step: one position in a decoding."""
    return input_shape if step == WHOLE else (1, *input_shape[1:])


@final
class Decoder(nn.Module):
    """Decodes one position with a fixed cache, so that it is a network of one input. Input (N, 1, ...), output (N, 1, ...).

    `step` takes an input and the tensors of a cache (N, H, P, D): keys and values of H heads at P earlier positions. It returns
    the output and the longer cache. `cached` are H and D of each tensor, keys and values in turn; `past` is P. The ONNX model of
    this module has the cache among its inputs and outputs (`export.to_onnx`).
    """

    def __init__(self, step: nn.Module, cached: Sequence[tuple[int, int]], *, batch: int, past: int) -> None:
        super().__init__()
        self.step, self.past = step, past
        self.names = [f"{('key', 'value')[number % 2]}_{number // 2}" for number in range(len(cached))]
        for name, (heads, size) in zip(self.names, cached, strict=True):
            self.register_buffer(name, torch.from_numpy(filled((batch, heads, past, size))))

    @property
    def cache(self) -> tuple[Tensor, ...]:
        """The keys and values of earlier positions."""
        return tuple(self.get_buffer(name) for name in self.names)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, *self.cache)[0]  # type: ignore[no-any-return]
