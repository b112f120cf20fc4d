"""Counts what a module really does in one run: FLOPs, stored numbers, the output's shape, and bytes alive at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from hwnas.core.operator import OperatorCost, Shape
from hwnas.core.precise import FLOAT32


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """One run of a module on one sample, without the batch axis.

    `multiplied` has the sizes of the parameters that convolutions and matrix products multiply, by name; biases are not among
    them.
    """

    output_shape: Shape
    output_dtype: torch.dtype
    cost: OperatorCost
    peak_bytes: int
    multiplied: Mapping[str, int]

    def weight_bytes(self, precisions: Mapping[str, str]) -> int:
        """Returns the bytes of all numbers in a model file whose parts, by path, have these precisions.

        A number takes four bytes, one that a part in another precision than float32 multiplies takes one. The path of the
        module itself is empty.
        """
        paths = tuple(f"{path}." if path else "" for path, precision in precisions.items() if precision != FLOAT32)
        shrunk = sum(size for name, size in self.multiplied.items() if name.startswith(paths))
        return 4 * (self.cost.params + self.cost.statistics) - 3 * shrunk


@torch.no_grad()
def counts(module: nn.Module, input_shape: Shape, vocabulary: int | None = None) -> Counts:
    """Runs a module once in eval mode on zeros and returns what it did."""
    x = sample_of(input_shape, vocabulary)
    # Attention is computed as written out, because torch's formulas know no fused kernel of a CPU.
    with sdpa_kernel(SDPBackend.MATH), _Flops() as counter, _Recorder() as recorder:
        output = module.eval()(x)
    require_tensor(output)
    params = sum(parameter.numel() for parameter in module.parameters())
    matrices = {name: parameter for name, parameter in module.named_parameters() if parameter.dim() > 1}
    statistics = sum(buffer.numel() for buffer in module.buffers() if buffer.is_floating_point())
    return Counts(
        output_shape=tuple(output.shape[1:]),
        output_dtype=output.dtype,
        cost=OperatorCost(counter.total, params, statistics),
        peak_bytes=recorder.peak_bytes(x, output),
        multiplied={name: matrix.numel() for name, matrix in matrices.items() if _storage(matrix) in counter.read},
    )


def require_tensor(output: object) -> None:
    """Raises TypeError where a module gives anything but a tensor."""
    if not isinstance(output, Tensor):
        raise TypeError(f"it gives a {type(output).__name__}, not a tensor; let forward return one tensor")


def sample_of(input_shape: Shape, vocabulary: int | None = None, *, batch: int = 1) -> Tensor:
    """Returns zeros of shape (batch, *input_shape), float32, or int64 where the input is token ids."""
    return torch.zeros(batch, *input_shape, dtype=torch.float32 if vocabulary is None else torch.int64)


class _Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up FLOPs by torch's own formulas. torch's FlopCounterMode does too, but first loads its compiler: seconds.

    `read` are the storages that operations with FLOPs read.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self.read: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch loads its compiler, to switch it off

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
            self.read |= {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        return result


class _Recorder(TorchFunctionMode):
    """Records what each torch operation reads and makes, by storage, so that a view counts as what it is a view of."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[set[int], dict[int, int]]] = []
        self.kept: list[Tensor] = []  # a storage that is freed lends its address to the next one

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func.__name__.endswith("_") and not func.__name__.endswith("__"):  # nothing happens in place
            args = (args[0].clone(), *args[1:])
        result = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        known = {_storage(tensor) for tensor in reads}
        self.kept += [*reads, *made]
        if made:
            self.steps.append((known, {_storage(t): _bytes(t) for t in made if _storage(t) not in known}))
        return result

    def peak_bytes(self, x: Tensor, output: Tensor) -> int:
        """Returns the most bytes alive at once: a tensor is alive until the last operation that reads it."""
        steps = [(set[int](), {_storage(x): _bytes(x)}), *self.steps]
        last = {read: number for number, (reads, _) in enumerate(steps) for read in reads}
        last[_storage(output)] = len(steps)
        sizes: dict[int, int] = {}
        peak = 0
        for number, (_, new) in enumerate(steps):
            sizes = {key: size for key, size in sizes.items() if last.get(key, -1) >= number} | new
            peak = max(peak, sum(sizes.values()))
        return peak


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
