"""Rules of torch operations: how the axes of an output follow from those of the inputs.

A rule unites atoms that must be equal in size, freezes those whose size is fixed, and returns the axes of the output. An
operation without a rule freezes all it touches, so a model with unknown operations is correct, only less elastic.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import fx

from hwnas.elastic.axes import Axis, axis, freeze, full_size, regrouped, unite

Axes = list[Axis]
SPATIAL: Final = "it counts positions"


class Known:
    """The axes of the values that are known so far, by node: of one tensor, of several, or of none for a number."""

    def __init__(self) -> None:
        self.outputs: dict[fx.Node, list[Axes]] = {}

    def axes(self, node: Any) -> Axes:
        """Returns the axes of a tensor; none for a number."""
        outputs = self.outputs.get(node, []) if isinstance(node, fx.Node) else []
        return outputs[0] if outputs else []

    def add(self, node: fx.Node) -> None:
        """Works out the axes of a node's output. Raises nothing: what is not understood is frozen."""
        value, name = node.meta.get("val"), name_of(node).rstrip("_")
        if not isinstance(value, (torch.Tensor, list, tuple)):
            self.outputs[node] = []
        elif name in RULES:
            self.outputs[node] = [RULES[name](self, node, *_bound(node))]
        else:
            several: Callable[..., list[Axes]] = SEVERAL.get(name, _frozen)
            self.outputs[node] = several(self, node, *_bound(node))


def name_of(node: fx.Node) -> str:
    """Returns an operation's name without its overload: `conv2d`, `getitem`."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.removeprefix("aten::")
    return str(getattr(target, "__name__", target))


def sizes_of(node: fx.Node) -> list[int | None]:
    """Returns the sizes of a traced tensor; None where one depends on the batch."""
    return [size if isinstance(size, int) else None for size in node.meta["val"].shape]


def new_axes(node: fx.Node, reason: str = "") -> Axes:
    """Returns new axes of a traced tensor's sizes."""
    return [axis(size, reason) for size in sizes_of(node)]


def _bound(node: fx.Node) -> list[Any]:
    """Returns all arguments of an operation in the schema's order, defaults included."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return list(node.args)
    arguments = node.target._schema.arguments
    written = list(node.args)
    return written + [node.kwargs.get(one.name, one.default_value) for one in arguments[len(written) :]]


def argument(node: fx.Node, name: str) -> Any:
    """Returns an argument of a torch operation by its name in the schema."""
    assert isinstance(node.target, torch._ops.OpOverload)
    names = [one.name for one in node.target._schema.arguments]
    return _bound(node)[names.index(name)]


def tensors_in(value: Any) -> list[fx.Node]:
    """Returns the nodes in an argument, which may be a list."""
    if isinstance(value, fx.Node):
        return [value]
    return [node for one in value for node in tensors_in(one)] if isinstance(value, (list, tuple)) else []


def _frozen(known: Known, node: fx.Node, *arguments: Any) -> list[Axes]:
    """Freezes all that an operation reads and makes."""
    reason, value = f"{name_of(node)} has no rule", node.meta["val"]
    for one in tensors_in(arguments):
        for axes in known.outputs.get(one, []):
            freeze(axes, reason)
    values = [value] if isinstance(value, torch.Tensor) else value
    return [[axis(size if isinstance(size, int) else None, reason) for size in one.shape] for one in values]


def _same(known: Known, node: fx.Node, x: Any, *_: Any) -> Axes:
    return known.axes(x)


def _elementwise(known: Known, node: fx.Node, *arguments: Any) -> Axes:
    return _broadcast(len(sizes_of(node)), [known.axes(one) for one in arguments])


def _broadcast(count: int, inputs: Sequence[Axes]) -> Axes:
    """Unites axes by torch's broadcasting, from the last axis on; an axis of size 1 fits every size. Returns `count` axes."""
    result: Axes = [()] * count
    for axes in inputs:
        for number, one in enumerate(reversed(axes), start=1):
            if one and result[-number]:
                unite(result[-number], one)
            result[-number] = result[-number] or one
    return result


def _convolution(known: Known, node: fx.Node, x: Any, weight: Any, bias: Any, *_: Any) -> Axes:
    input_axes, (out, per_group, *kernel) = known.axes(x), known.axes(weight)
    groups = argument(node, "groups")
    freeze(kernel, SPATIAL)
    if groups == 1:
        unite(input_axes[1], per_group)
    elif not per_group and full_size(input_axes[1]) == full_size(out) == groups:
        unite(input_axes[1], out)
    else:
        freeze((input_axes[1], out, per_group), "it is convolved in groups")
    _along(known, out, bias)
    return [input_axes[0], out, *(axis(size, SPATIAL) for size in sizes_of(node)[2:])]


def _linear(known: Known, node: fx.Node, x: Any, weight: Any, bias: Any = None) -> Axes:
    out, inputs = known.axes(weight)
    unite(known.axes(x)[-1], inputs)
    _along(known, out, bias)
    return [*known.axes(x)[:-1], out]


def _addmm(known: Known, node: fx.Node, bias: Any, x: Any, weight: Any, *_: Any) -> Axes:
    inputs, out = known.axes(weight)
    unite(known.axes(x)[-1], inputs)
    unite(known.axes(bias)[-1], out)
    return [known.axes(x)[0], out]


def _along(known: Known, one: Axis, *vectors: Any) -> None:
    for vector in vectors:
        if isinstance(vector, fx.Node):
            unite(one, known.axes(vector)[-1])


def _transposed(known: Known, node: fx.Node, x: Any, weight: Any, bias: Any, *_: Any) -> Axes:
    """A transposed convolution's weight has the input's channels first."""
    input_axes, (inputs, out, *kernel) = known.axes(x), known.axes(weight)
    freeze(kernel, SPATIAL)
    unite(input_axes[1], inputs)
    if argument(node, "groups") > 1:
        freeze((inputs, out), "it is convolved in groups")
        out = axis(sizes_of(node)[1], "it is convolved in groups")
    _along(known, out, bias)
    return [input_axes[0], out, *(axis(size, SPATIAL) for size in sizes_of(node)[2:])]


def _batch_norm(known: Known, node: fx.Node, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, *_: Any) -> Axes:
    _along(known, known.axes(x)[1], weight, bias, mean, variance)
    return known.axes(x)


def _layer_norm(known: Known, node: fx.Node, x: Any, shape: Sequence[Any], weight: Any, bias: Any, *_: Any) -> Axes:
    if len(shape) > 1:
        freeze(known.axes(x)[-len(shape) :], "it is normalised with other axes")
    _along(known, known.axes(x)[-1], weight, bias)
    _norm(known.axes(x)[-1])
    return known.axes(x)


def _rms_norm(known: Known, node: fx.Node, x: Any, shape: Sequence[Any], weight: Any, *_: Any) -> Axes:
    return _layer_norm(known, node, x, shape, weight, None)


def _group_norm(known: Known, node: fx.Node, x: Any, groups: int, weight: Any, bias: Any, *_: Any) -> Axes:
    """Keeps groups whole, so that the norm of a group is the same with fewer groups."""
    channels = known.axes(x)[1]
    _along(known, channels, weight, bias)
    if groups == 1:
        _norm(channels)
    else:
        _, per_group = regrouped([channels], [groups, (full_size(channels) or 1) // groups])
        freeze([per_group], "it is normalised in groups")
    return known.axes(x)


def _norm(one: Axis) -> None:
    for atom in one:
        atom.norm()


def _embedding(known: Known, node: fx.Node, weight: Any, ids: Any, *_: Any) -> Axes:
    freeze(known.axes(weight)[:1], "it counts ids")
    return [*known.axes(ids), known.axes(weight)[1]]


def _pool(known: Known, node: fx.Node, x: Any, *_: Any) -> Axes:
    """Keeps the batch and the channels."""
    count = 2 if len(known.axes(x)) == len(sizes_of(node)) else 1
    freeze(known.axes(x)[count:], SPATIAL)
    return [*known.axes(x)[:count], *(axis(size, SPATIAL) for size in sizes_of(node)[count:])]


def _mean(known: Known, node: fx.Node, x: Any, dim: Any, keepdim: bool = False, *_: Any) -> Axes:
    """Takes the mean, which is defined for any number of entries."""
    axes = known.axes(x)
    reduced = range(len(axes)) if dim is None else [one % len(axes) for one in ([dim] if isinstance(dim, int) else dim)]
    for number in reduced:
        _norm(axes[number])
    return [() if number in reduced else one for number, one in enumerate(axes) if keepdim or number not in reduced]


def _softmax(known: Known, node: fx.Node, x: Any, dim: int, *_: Any) -> Axes:
    freeze([known.axes(x)[dim]], "a softmax is taken along it")
    return known.axes(x)


def _permute(known: Known, node: fx.Node, x: Any, dims: Sequence[int]) -> Axes:
    return [known.axes(x)[dim] for dim in dims]


def _transpose(known: Known, node: fx.Node, x: Any, first: int, second: int) -> Axes:
    axes = list(known.axes(x))
    axes[first], axes[second] = axes[second], axes[first]
    return axes


def _t(known: Known, node: fx.Node, x: Any) -> Axes:
    return known.axes(x)[::-1]


def _unsqueeze(known: Known, node: fx.Node, x: Any, dim: int) -> Axes:
    axes = list(known.axes(x))
    axes.insert(dim % (len(axes) + 1), ())
    return axes


def _reshape(known: Known, node: fx.Node, x: Any, *_: Any) -> Axes:
    return regrouped(known.axes(x), sizes_of(node))


def _expand(known: Known, node: fx.Node, x: Any, *_: Any) -> Axes:
    axes, sizes = known.axes(x), sizes_of(node)
    axes = [()] * (len(sizes) - len(axes)) + axes
    return [one or axis(size, "it is repeated") for one, size in zip(axes, sizes, strict=True)]


def _split(known: Known, node: fx.Node, x: Any, _: Any, dim: int = 0) -> list[Axes]:
    """Splits an axis into equal parts: the number of parts is its major atom."""
    axes, outputs = known.axes(x), node.meta["val"]
    sizes = [one.shape[dim] for one in outputs]
    if len(set(sizes)) > 1 or not isinstance(sizes[0], int):
        return _frozen(known, node, x)
    major, *rest = regrouped([axes[dim]], [len(sizes), sizes[0]])
    freeze([major], "it is split into parts")
    part = list(axes)
    part[dim] = rest[0]
    return [part] * len(sizes)


def _unbind(known: Known, node: fx.Node, x: Any, dim: int = 0) -> list[Axes]:
    axes = list(known.axes(x))
    freeze([axes.pop(dim)], "its entries are taken apart")
    return [axes] * len(node.meta["val"])


def _select(known: Known, node: fx.Node, x: Any, dim: int, _: Any) -> Axes:
    axes = list(known.axes(x))
    freeze([axes.pop(dim)], "one of its entries is read")
    return axes


def _slice(known: Known, node: fx.Node, x: Any, dim: int, *_: Any) -> Axes:
    axes, size = list(known.axes(x)), sizes_of(node)[dim]
    if size == full_size(axes[dim]):
        return axes
    freeze([axes[dim]], "a part of it is read")
    axes[dim] = axis(size, "it is a part")
    return axes


def _cat(known: Known, node: fx.Node, tensors: Sequence[Any], dim: int = 0) -> Axes:
    first, *others = [known.axes(one) for one in tensors]
    result = list(first)
    for axes in (first, *others):
        freeze([axes[dim]], "it is joined with others")
        for number, (one, other) in enumerate(zip(result, axes, strict=True)):
            if number != dim % len(result):
                unite(one, other)
    result[dim] = axis(sizes_of(node)[dim], "it is joined with others")
    return result


def _stack(known: Known, node: fx.Node, tensors: Sequence[Any], dim: int = 0) -> Axes:
    result = _broadcast(len(sizes_of(node)) - 1, [known.axes(one) for one in tensors])
    result.insert(dim % (len(result) + 1), axis(len(tensors), "it is joined with others"))
    return result


def _pad(known: Known, node: fx.Node, x: Any, *_: Any) -> Axes:
    changed = [full_size(one) != size for one, size in zip(known.axes(x), sizes_of(node), strict=True)]
    freeze([one for one, changes in zip(known.axes(x), changed, strict=True) if changes], "it is padded")
    return [
        axis(size, "it is padded") if changes else one
        for one, size, changes in zip(known.axes(x), sizes_of(node), changed, strict=True)
    ]


def _matmul(known: Known, node: fx.Node, x: Any, y: Any) -> Axes:
    left, right = known.axes(x), known.axes(y)
    if min(len(left), len(right)) < 2:
        return _frozen(known, node, x, y)[0]
    freeze([left[-1], right[-2]], "it is summed over by a product of activations")
    batches = _broadcast(len(sizes_of(node)) - 2, [left[:-2], right[:-2]])
    return [*batches, left[-2], right[-1]]


def _attention(known: Known, node: fx.Node, query: Any, key: Any, value: Any, mask: Any = None, *_: Any) -> Axes:
    """Keeps all but the heads as they are; with grouped queries, the heads of a group stay together."""
    queries, keys, values = (known.axes(one) for one in (query, key, value))
    freeze([*(one for axes in (queries, keys, values) for one in axes[-2:])], "attention reads all of it")
    for number in range(len(queries) - 2):
        unite(keys[number], values[number])
        heads, groups = full_size(queries[number]), full_size(keys[number])
        if heads == groups or heads is None or groups is None:
            unite(queries[number], keys[number])
        else:
            unite(queries[number], (*keys[number], *axis(heads // groups, "a group of queries shares a key")))
    for number, one in enumerate(reversed(known.axes(mask)), start=1):
        if one and number > 2:
            unite(one, queries[-number])
    return [*queries[:-1], values[-1]]


def _getitem(known: Known, node: fx.Node, x: Any, number: Any) -> Axes:
    return known.outputs[x][number] if isinstance(number, int) else _frozen(known, node, x)[0]


def _new(known: Known, node: fx.Node, *_: Any) -> Axes:
    return new_axes(node, "it is made in this size")


Rule = Callable[..., Axes]
_UNARY: Final = (
    *(
        "relu",
        "relu6",
        "gelu",
        "silu",
        "sigmoid",
        "tanh",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "leaky_relu",
        "elu",
        "selu",
    ),
    *(
        "celu",
        "mish",
        "softplus",
        "softsign",
        "logsigmoid",
        "clamp",
        "clamp_min",
        "clamp_max",
        "neg",
        "abs",
        "exp",
        "log",
    ),
    *("sqrt", "rsqrt", "reciprocal", "erf", "cos", "sin", "square", "round", "floor", "bitwise_not", "logical_not"),
    *(
        "dropout",
        "alpha_dropout",
        "feature_dropout",
        "contiguous",
        "clone",
        "alias",
        "detach",
        "to",
        "_to_copy",
        "type_as",
    ),
)
_BINARY: Final = (
    *(
        "add",
        "sub",
        "rsub",
        "mul",
        "div",
        "true_divide",
        "floor_divide",
        "remainder",
        "pow",
        "maximum",
        "minimum",
        "lerp",
    ),
    *("where", "masked_fill", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "__and__", "__or__"),
    *("bitwise_and", "bitwise_or", "addcmul"),
)
_MADE: Final = (
    *(
        "arange",
        "full",
        "zeros",
        "ones",
        "empty",
        "new_ones",
        "new_zeros",
        "new_full",
        "zeros_like",
        "ones_like",
        "full_like",
    ),
    *("scalar_tensor", "tensor", "lift_fresh_copy"),
)
RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_UNARY, _same),
    **dict.fromkeys(_BINARY, _elementwise),
    **dict.fromkeys(_MADE, _new),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "_unsafe_view", "squeeze"), _reshape),
    **dict.fromkeys(("matmul", "bmm"), _matmul),
    **dict.fromkeys(("mean", "amax", "amin"), _mean),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax"), _softmax),
    **dict.fromkeys(
        ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool1d", "avg_pool2d"), _pool
    ),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "upsample_nearest2d", "upsample_bilinear2d"), _pool),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    "linear": _linear,
    "addmm": _addmm,
    "batch_norm": _batch_norm,
    "instance_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "embedding": _embedding,
    "permute": _permute,
    "transpose": _transpose,
    "t": _t,
    "unsqueeze": _unsqueeze,
    "expand": _expand,
    "select": _select,
    "slice": _slice,
    "cat": _cat,
    "stack": _stack,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "scaled_dot_product_attention": _attention,
    "getitem": _getitem,
}
# Rules of operations that give several tensors.
SEVERAL: Final[Mapping[str, Callable[..., list[Axes]]]] = {
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    "unbind": _unbind,
}
