"""Laws of the convolutional macro space that are its own; what every space must obey is in conformance."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

import hwnas
from hwnas.benchmarks import tabular
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.modules.assemble import network

# The published network, TangleNAS toy_search_spaces/conv_macro/kernel_channel_bench.py, less a second ReLU after a ReLU.
PUBLISHED = (
    ("Conv2d", "relu"),
    ("Conv2d", "relu", "max_pool"),
    ("Conv2d", "relu", "dropout", "max_pool"),
    ("Conv2d", "relu"),
    ("Conv2d", "dropout", "flatten"),
    ("Linear", "relu"),
    ("Linear", "relu"),
    ("Linear", "relu"),
    ("Linear",),
)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("conv_macro")


@pytest.fixture(scope="module")
def built(space: SearchSpace) -> fx.GraphModule:
    """The layers of a network one by one."""
    channels, kernels = (32, 16, 128, 64), (7, 3, 5, 3)
    parts = {f"conv{n}.channels": option for n, option in enumerate(channels, start=1)}
    parts |= {f"conv{n}.kernel": option for n, option in enumerate(kernels, start=1)}
    return fx.symbolic_trace(network(space, space.arch(parts)))


def step(built: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return type(built.get_submodule(str(node.target))).__name__
    found = re.match(r"[a-z]+(_pool)?", node.name)
    assert found
    return found.group()


def test_there_are_6561_architectures(space: SearchSpace) -> None:
    assert space.size == 3**8 == 6561
    assert [choice.options for choice in space.choices if choice.name.endswith(".kernel")] == [(3, 5, 7)] * 4


def test_the_network_is_the_published_one(built: fx.GraphModule) -> None:
    nodes = [node for node in built.graph.nodes if node.op not in ("placeholder", "output")]
    assert [step(built, node) for node in nodes] == [name for layer in PUBLISHED for name in layer]
    assert [node.kwargs["p"] for node in nodes if node.name.startswith("dropout")] == [0.5, 0.5]
    linear = [module for module in built.modules() if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in linear] == [256, 128, 64, 10]


def test_there_are_biases_everywhere_and_no_batch_norm(built: fx.GraphModule) -> None:
    leaves = [module for module in built.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(leaves) == 9 and all(leaf.bias is not None for leaf in leaves)
    assert not list(built.buffers())


def test_the_fixed_convolution_has_six_by_six_outputs(built: fx.GraphModule) -> None:
    shapes = {}
    built.get_submodule("head.conv").register_forward_hook(lambda *call: shapes.update(fixed=tuple(call[2].shape)))
    assert built.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert shapes["fixed"] == (1, 256, 6, 6)


def test_parameters_are_those_counted_by_hand(built: fx.GraphModule) -> None:
    convolutions = 32 * (3 * 7 * 7 + 1) + 16 * (32 * 3 * 3 + 1) + 128 * (16 * 5 * 5 + 1) + 64 * (128 * 3 * 3 + 1)
    fixed = 256 * (64 * 7 * 7 + 1)
    linear = 256 * (6 * 6 * 256 + 1) + 128 * (256 + 1) + 64 * (128 + 1) + 10 * (64 + 1)
    assert sum(parameter.numel() for parameter in built.parameters()) == convolutions + fixed + linear == 3_338_906


@pytest.mark.parametrize("options", [{"resolution": 15}, {"features": 8}, {"classes": 0}, {"dropout": 1.0}])
def test_what_the_space_cannot_be_made_of_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(SpaceError, match="conv_macro needs images of at least 16 px"):
        hwnas.space("conv_macro", **options)


def test_the_published_table_has_every_architecture_and_the_largest_is_not_the_best(
    space: SearchSpace, bench_data: Path
) -> None:
    benchmark = tabular.conv_macro(bench_data)
    accuracy = benchmark.values("cifar10_test_acc", benchmark.rows_TC)
    assert len(accuracy) == space.size
    assert (accuracy == 0.1).sum() == 14
    largest = benchmark.values("cifar10_test_acc", space.encode([space.largest()]))[0]
    assert 1 + np.sum(accuracy > largest) == 606
