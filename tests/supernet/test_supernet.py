"""Laws of the supernet: entangled while it trains, independent once extracted."""

import copy

import numpy as np
import pytest
import torch

from hwnas.core.space import SearchSpace
from hwnas.supernet.network import Supernet


@pytest.fixture
def supernet(tiny_space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    return Supernet(tiny_space)


@pytest.fixture
def x(tiny_space: SearchSpace) -> torch.Tensor:
    return torch.randn(8, *tiny_space.input_shape, generator=torch.Generator().manual_seed(0))


def step(network: torch.nn.Module, *inputs: object) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()(*inputs).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_training_the_smallest_network_changes_the_largest(supernet: Supernet, x: torch.Tensor) -> None:
    smallest, largest = supernet.space.smallest(), supernet.space.largest()
    before = supernet.eval()(x, largest)
    step(supernet, x, smallest)
    assert not torch.allclose(supernet.eval()(x, largest), before)


def test_training_never_reaches_what_a_network_does_not_use(supernet: Supernet, x: torch.Tensor) -> None:
    smallest = supernet.space.smallest()
    step(supernet, x, smallest)
    standing = {layer.name.replace(".", "_") for layer in supernet.space.layers if layer.operator(smallest)}
    for name, layer in supernet.layers.items():
        fresh = all(torch.count_nonzero(buffer) == 0 for key, buffer in layer.named_buffers() if "running_mean" in key)
        assert fresh == (name not in standing)


def test_an_extracted_network_is_a_copy_that_later_training_does_not_change(
    supernet: Supernet, x: torch.Tensor
) -> None:
    arch = supernet.space.sample(np.random.default_rng(0))
    extracted = supernet.eval().uncalibrated(arch)
    before = extracted(x)
    step(supernet, x, arch)
    assert torch.equal(extracted(x), before)
    assert not torch.equal(supernet.eval()(x, arch), before)


def test_training_an_extracted_network_does_not_change_the_supernet(supernet: Supernet, x: torch.Tensor) -> None:
    arch = supernet.space.smallest()
    extracted = supernet.uncalibrated(arch)
    before = copy.deepcopy(supernet.state_dict())
    step(extracted, x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_an_extracted_network_trains_as_the_supernet_does(supernet: Supernet, x: torch.Tensor) -> None:
    arch = supernet.space.largest()
    supernet.double()
    extracted = supernet.uncalibrated(arch)
    step(extracted, x.double())
    step(supernet, x.double(), arch)
    again = supernet.uncalibrated(arch)
    for name, tensor in extracted.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extracting_keeps_mode_and_type(supernet: Supernet, training: bool, dtype: torch.dtype) -> None:
    extracted = supernet.to(dtype).train(training).uncalibrated(supernet.space.smallest())
    assert all(module.training == training for module in extracted.modules())
    assert {parameter.dtype for parameter in extracted.parameters()} == {dtype}
    assert all(parameter.requires_grad for parameter in extracted.parameters())


def test_a_supernet_is_read_back_from_its_state(supernet: Supernet, x: torch.Tensor) -> None:
    step(supernet, x, supernet.space.largest())
    again = Supernet(supernet.space)
    again.load_state_dict(copy.deepcopy(supernet.state_dict()))
    arch = supernet.space.largest()
    assert torch.equal(again.eval()(x, arch), supernet.eval()(x, arch))
