"""Laws of residual blocks that start as the identity."""

import pytest
import torch

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.supernet.identity import start_as_identity
from hwnas.supernet.network import Supernet


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25, squeeze_excite="choice")


@pytest.mark.parametrize("train", [True, False])
def test_every_residual_block_starts_as_the_identity(space: SearchSpace, train: bool) -> None:
    torch.manual_seed(0)
    supernet = Supernet(space)
    start_as_identity(supernet)
    assert supernet.training
    supernet.train(train)
    for layer in space.layers:
        for _, operator in layer.cells(space.by_name):
            if operator is not None and getattr(operator, "shortcut", False):
                x = torch.randn(2, *operator.input_shape)
                assert torch.equal(supernet.elastic(layer)(x, operator), x)


def test_only_the_last_norms_of_residual_blocks_change(space: SearchSpace) -> None:
    supernet = Supernet(space)
    before = {name: parameter.clone() for name, parameter in supernet.named_parameters()}
    start_as_identity(supernet)
    changed = {name for name, parameter in supernet.named_parameters() if not torch.equal(parameter, before[name])}
    blocks = {layer.name.replace(".", "_") for layer in space.layers if ".block" in layer.name}
    residual = {name for name in blocks if not name.endswith("block1")}
    assert {name.split(".")[1] for name in changed} == residual
    assert all(name.endswith("project_norm/weight") for name in changed) and len(changed) == len(residual)


def test_a_block_that_starts_as_the_identity_learns() -> None:
    space = hwnas.space("mobilenet", resolution=16, width=0.25)
    supernet = Supernet(space)
    start_as_identity(supernet)
    supernet(torch.randn(4, *space.input_shape), space.largest()).square().sum().backward()
    scales = [p for name, p in supernet.named_parameters() if name.endswith("project_norm/weight") and not p.any()]
    assert scales and all(scale.grad.abs().sum() > 0 for scale in scales)


def test_spaces_without_residual_batch_norms_stay_as_they_are() -> None:
    space = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    supernet = Supernet(space)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    start_as_identity(supernet)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
