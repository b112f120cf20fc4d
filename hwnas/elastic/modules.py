"""The plain module of a part of a traced network: torch's own layers, joined by generated code."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from hwnas.elastic.axes import Axis, full_size
from hwnas.elastic.operator import Traced
from hwnas.elastic.rules import argument, name_of, sizes_of
from hwnas.elastic.trace import ATTENTION
from hwnas.elastic.weights import Stored
from hwnas.supernet.elastic import sliced


class GeneratedModule(nn.Module):
    """Runs generated code. It can be copied and pickled."""

    # Underscores here and below, because the network's own layers may have any name.
    _code: str
    _run: Callable[..., Any]

    def _generate(self, graph: fx.Graph) -> None:
        """Makes the code of a graph, whose layers are submodules of this one."""
        self._code = graph.python_code("self").src
        self._run = _function_of(self._code)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._run = _function_of(self._code)


@final
class TracedModule(GeneratedModule):
    """Runs the operations of a `Traced` operator. Layers keep their names in the traced network.

    Convolutions, linear layers, norms, embeddings and dropouts are torch's modules; other operations are calls.
    """

    def __init__(self, traced: Traced) -> None:
        super().__init__()
        self._generate(GraphMaker(self, traced).graph())

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self, x)  # type: ignore[no-any-return]


@final
class Attention(nn.Module):
    """Torch's attention, whose dropout is on in train mode alone."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        share = dropout_p if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, attn_mask, share, is_causal, **options)


def _function_of(code: str) -> Callable[..., Any]:
    """Returns the function that generated code defines."""
    names = {
        "torch": torch,
        "operator": operator,
        "math": math,
        "device": torch.device,
        "inf": math.inf,
        "nan": math.nan,
    }
    exec(code, names)
    return names["forward"]  # type: ignore[return-value]


class GraphMaker:
    """Adds the layers of an operator to a module, and makes the graph that joins them."""

    def __init__(self, root: nn.Module, traced: Traced) -> None:
        self.root = root
        self.program = traced.program
        self.sizes = traced.sizes
        self.kernels = traced.smaller_kernels
        self.target = fx.Graph()
        self.made: dict[fx.Node, Any] = {}
        self.taken: set[str] = set()  # the paths of layers: one whose weights are used twice is a layer, and then calls

    def graph(self) -> fx.Graph:
        """Returns the graph from the input to the output of the part."""
        part = self.program.part
        self.made[part.input] = self.target.placeholder("x")
        for node in part.operations:
            self.value(node)
        self.target.output(self.made[part.output])
        return self.target

    def value(self, node: fx.Node) -> Any:
        """Returns the new node of an old one."""
        if node not in self.made:
            self.made[node] = self._made(node)
        return self.made[node]

    def _made(self, node: fx.Node) -> Any:
        if node in self.program.stored:
            return self._weight(self.program.stored[node])
        if name_of(node) == "sym_size":  # the batch, which is the first axis of every tensor between parts
            return self.target.call_function(torch.ops.aten.sym_size.int, (self.made[self.program.part.input], 0))
        layer = LAYERS.get(name_of(node).rstrip("_"), _no_layer)(self, node)
        if layer is not None:
            path, module, x = layer
            self._add(path, module)
            return self.target.call_module(path, (self.value(x),))
        return self._call(node)

    def _call(self, node: fx.Node) -> fx.Node:
        arguments = list(node.args)
        patch = PATCHES.get(name_of(node).rstrip("_"))
        if patch is not None:
            patch(self, node, arguments)
        mapped = tuple(map(self._here, fx.map_arg(tuple(arguments), self.value)))
        keywords = {name: self._here(one) for name, one in fx.map_arg(dict(node.kwargs), self.value).items()}
        if name_of(node) == ATTENTION and argument(node, "dropout_p"):
            path = f"attention_{node.name}"
            self._add(path, Attention())
            return self.target.call_module(path, mapped, keywords)
        return self.target.call_function(_functional(node.target), mapped, keywords)

    def _here(self, value: Any) -> Any:
        """Returns the input's device for a device, so that what is made on the traced one is made where the input is."""
        if not isinstance(value, torch.device):
            return value
        return self.target.call_function(getattr, (self.made[self.program.part.input], "device"))

    def _weight(self, stored: Stored) -> fx.Node:
        parts = []
        for name, part in zip(stored.names, stored.parts, strict=True):
            tensor = self.slice(stored, part)
            path, _, leaf = name.rpartition(".")
            holder = self._holder(path)
            if stored.is_trained:
                holder.register_parameter(leaf, nn.Parameter(tensor, not stored.is_frozen))
            else:
                holder.register_buffer(leaf, tensor)
            parts.append(self.target.get_attr(name))
        whole = parts[0] if stored.along < 0 else self.target.call_function(torch.cat, (parts, stored.along))
        if stored.dtype.is_floating_point:
            return whole
        return self.target.call_method("to", (whole,), {"dtype": stored.dtype})

    def slice(self, stored: Stored, part: Tensor, kernel: int | None = None) -> Tensor:
        """Returns a copy of a part of a weight at the operator's sizes; without storage on the meta device."""
        shape = [self.program.size(one, self.sizes) for one in stored.axes]
        if kernel is not None:
            shape[2:] = [kernel] * (len(shape) - 2)
        new = torch.empty(shape, dtype=part.dtype)
        return new if new.is_meta else new.copy_(sliced(part, new.shape))

    def resized(self, size: Any, axis: Axis) -> Any:
        """Returns a size among an operation's arguments as the operator has it; one of the batch, and -1, as they are."""
        return self.program.size(axis, self.sizes) if isinstance(size, int) and size != -1 else size

    def _holder(self, path: str) -> nn.Module:
        """Returns the module at a path, made of empty ones where there is none."""
        holder = self.root
        for name in path.split(".") if path else ():
            if not hasattr(holder, name):
                holder.add_module(name, nn.Module())
            holder = getattr(holder, name)
        return holder

    def _add(self, path: str, module: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        self._holder(parent).add_module(name, module)

    def whole(self, node: Any, leaf: str) -> Stored | None:
        """Returns a weight that is stored whole under the name `PATH.leaf`; None for anything else."""
        stored = self.program.stored.get(node) if isinstance(node, fx.Node) else None
        fits = stored is not None and stored.along < 0 and stored.name.endswith(f".{leaf}")
        return stored if fits else None

    def layer(
        self, node: fx.Node, make: Callable[[], nn.Module], leaves: Mapping[str, Any], reads: str = "input"
    ) -> Any:
        """Returns path, module and input of a torch layer whose tensors are `leaves`; None where they are no layer's."""
        stored = {leaf: self.whole(value, leaf) for leaf, value in leaves.items() if value is not None}
        paths = {one.name.rpartition(".")[0] for one in stored.values() if one is not None}
        if None in stored.values() or len(paths) != 1 or paths & self.taken:
            return None
        self.taken |= paths
        with torch.device("meta"):
            module = make()
        for leaf, one in stored.items():
            assert one is not None
            tensor = self.slice(one, one.parts[0], self.kernels.get(node) if leaf == "weight" else None)
            is_parameter = isinstance(getattr(module, leaf), nn.Parameter)
            setattr(module, leaf, nn.Parameter(tensor, not one.is_frozen) if is_parameter else tensor)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64)
        return paths.pop(), module, argument(node, reads)


Layer = Callable[[GraphMaker, fx.Node], Any]


def _no_layer(maker: GraphMaker, node: fx.Node) -> None:
    return None


def _convolution(maker: GraphMaker, node: fx.Node) -> Any:
    weight, bias = argument(node, "weight"), argument(node, "bias")
    out, per_group, *kernel = (maker.program.size(one, maker.sizes) for one in maker.program.known.axes(weight))
    padding = argument(node, "padding")
    if node in maker.kernels:
        kernel = [maker.kernels[node]] * len(kernel)
        padding = padding if isinstance(padding, str) else [size // 2 for size in kernel]
    groups = argument(node, "groups")
    channels = maker.program.size(maker.program.known.axes(argument(node, "input"))[1], maker.sizes)
    if groups > 1:
        groups = channels // per_group
    kinds: list[Any] = [nn.Conv1d, nn.Conv2d, nn.Conv3d]

    def make() -> nn.Module:
        module: nn.Module = kinds[len(kernel) - 1](
            channels,
            out,
            tuple(kernel),
            stride=_along_all(argument(node, "stride"), kernel),
            padding=padding if isinstance(padding, str) else _along_all(padding, kernel),
            dilation=_along_all(argument(node, "dilation"), kernel),
            groups=groups,
            bias=bias is not None,
        )
        return module

    return maker.layer(node, make, {"weight": weight, "bias": bias})


def _along_all(values: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Returns one value per axis of a kernel; an only value holds for all."""
    return tuple(values) if len(values) == len(kernel) else tuple(values) * len(kernel)


def _linear(maker: GraphMaker, node: fx.Node) -> Any:
    weight, bias = argument(node, "weight"), argument(node, "bias")
    out, inputs = (maker.program.size(one, maker.sizes) for one in maker.program.known.axes(weight))
    return maker.layer(node, lambda: nn.Linear(inputs, out, bias is not None), {"weight": weight, "bias": bias})


def _batch_norm(maker: GraphMaker, node: fx.Node) -> Any:
    names = {"weight": "weight", "bias": "bias", "running_mean": "running_mean", "running_var": "running_var"}
    tensors = {leaf: argument(node, name) for leaf, name in names.items()}
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(len(sizes_of(argument(node, "input"))), nn.BatchNorm1d)
    if tensors["running_mean"] is None:
        return None
    features = maker.program.size(maker.program.known.axes(tensors["running_mean"])[0], maker.sizes)
    affine = tensors["weight"] is not None
    eps, momentum = argument(node, "eps"), argument(node, "momentum")
    return maker.layer(node, lambda: kind(features, eps, momentum, affine), tensors)


def _layer_norm(maker: GraphMaker, node: fx.Node) -> Any:
    weight, bias = argument(node, "weight"), argument(node, "bias")
    if weight is None:
        return None
    shape = [maker.program.size(one, maker.sizes) for one in maker.program.known.axes(weight)]
    eps = argument(node, "eps")
    return maker.layer(node, lambda: nn.LayerNorm(shape, eps, bias=bias is not None), {"weight": weight, "bias": bias})


def _rms_norm(maker: GraphMaker, node: fx.Node) -> Any:
    weight, eps = argument(node, "weight"), argument(node, "eps")
    if weight is None:
        return None
    shape = [maker.program.size(one, maker.sizes) for one in maker.program.known.axes(weight)]
    return maker.layer(node, lambda: nn.RMSNorm(shape, eps), {"weight": weight})


def _group_norm(maker: GraphMaker, node: fx.Node) -> Any:
    weight, bias = argument(node, "weight"), argument(node, "bias")
    if weight is None:
        return None
    channels = maker.program.size(maker.program.known.axes(weight)[0], maker.sizes)
    groups, eps = _groups(maker, node), argument(node, "eps")
    return maker.layer(node, lambda: nn.GroupNorm(groups, channels, eps), {"weight": weight, "bias": bias})


def _groups(maker: GraphMaker, node: fx.Node) -> int:
    """Returns how many groups of a group norm are left."""
    groups: int = argument(node, "num_groups")
    channels = maker.program.known.axes(argument(node, "input"))[1]
    return max(1, groups * maker.program.size(channels, maker.sizes) // (full_size(channels) or 1)) if groups > 1 else 1


def _embedding(maker: GraphMaker, node: fx.Node) -> Any:
    weight = argument(node, "weight")
    ids, features = (maker.program.size(one, maker.sizes) for one in maker.program.known.axes(weight))
    return maker.layer(node, lambda: nn.Embedding(ids, features), {"weight": weight}, "indices")


def _dropout(maker: GraphMaker, node: fx.Node) -> Any:
    share = argument(node, "p")
    return (f"dropout_{node.name}", nn.Dropout(share), node.args[0]) if share else None


LAYERS: Final[Mapping[str, Layer]] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "embedding": _embedding,
    "dropout": _dropout,
}

# Changes the arguments of an operation that name sizes.
Patch = Callable[[GraphMaker, fx.Node, list[Any]], None]


def _sized(place: int) -> Patch:
    """Returns a patch of the argument that holds the sizes of the output."""

    def patch(maker: GraphMaker, node: fx.Node, arguments: list[Any]) -> None:
        sizes = [
            maker.resized(size, one) for one, size in zip(maker.program.known.axes(node), arguments[place], strict=True)
        ]
        of_batch = [number for number, size in enumerate(sizes) if isinstance(size, fx.Node)]
        if len(of_batch) == 1 and -1 not in sizes and name_of(node) != "expand":
            sizes[of_batch[0]] = -1  # an only one may hold heads beside the batch
        arguments[place] = sizes

    return patch


def _split(maker: GraphMaker, node: fx.Node, arguments: list[Any]) -> None:
    outputs = maker.program.known.outputs[node]
    dim = argument(node, "dim")
    sizes = [maker.program.size(axes[dim], maker.sizes) for axes in outputs]
    arguments[1] = sizes if isinstance(arguments[1], (list, tuple)) else sizes[0]


def _normalised(maker: GraphMaker, node: fx.Node, arguments: list[Any]) -> None:
    axes = maker.program.known.axes(node)[-len(arguments[1]) :]
    arguments[1] = [maker.program.size(one, maker.sizes) for one in axes]


def _unflattened(maker: GraphMaker, node: fx.Node, arguments: list[Any]) -> None:
    axes = maker.program.known.axes(node)[arguments[1] % len(maker.program.known.axes(arguments[0])) :]
    arguments[2] = [maker.resized(size, one) for one, size in zip(axes, arguments[2], strict=False)]


def _grouped(maker: GraphMaker, node: fx.Node, arguments: list[Any]) -> None:
    """A depthwise convolution has as many groups as channels."""
    if argument(node, "groups") > 1:
        names = [one.name for one in node.target._schema.arguments]  # type: ignore[union-attr]
        channels = maker.program.size(maker.program.known.axes(argument(node, "input"))[1], maker.sizes)
        per_group = maker.program.size(maker.program.known.axes(argument(node, "weight"))[1], maker.sizes)
        arguments[names.index("groups")] = channels // per_group


def _normalised_groups(maker: GraphMaker, node: fx.Node, arguments: list[Any]) -> None:
    arguments[1] = _groups(maker, node)


PATCHES: Final[Mapping[str, Patch]] = {
    **dict.fromkeys(("view", "reshape", "expand", "_unsafe_view"), _sized(1)),
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _grouped),
    "unflatten": _unflattened,
    **dict.fromkeys(("layer_norm", "rms_norm"), _normalised),
    "group_norm": _normalised_groups,
}


def _functional(target: Any) -> Any:
    """Returns the operation that writes no tensor, for one that writes its input (`relu_`)."""
    if not isinstance(target, torch._ops.OpOverload):
        return target
    name = target._schema.name.removeprefix("aten::")
    if not name.endswith("_") or name.endswith("__"):
        return target
    return getattr(getattr(torch.ops.aten, name[:-1]), target._overloadname)
