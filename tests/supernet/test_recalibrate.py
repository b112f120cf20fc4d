"""Recalibrated statistics are the plain average over the batches, computed here from what each norm really received."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.modules.assemble import network
from hwnas.supernet.network import Supernet
from hwnas.supernet.recalibrate import recalibrate


@pytest.fixture
def plain(tiny_space: SearchSpace) -> nn.Module:
    """In float64, with statistics that are far from the truth."""
    torch.manual_seed(0)
    module = network(tiny_space, tiny_space.sample(np.random.default_rng(1))).double()
    for norm in norms(module).values():
        norm.running_mean.normal_(5)
        norm.running_var.uniform_(5, 10)
        norm.num_batches_tracked.fill_(1_000)
    return module


@pytest.fixture
def batches(tiny_space: SearchSpace) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(count, *tiny_space.input_shape) for count in (6, 6, 6)]
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64) * (1 + i) + i for i, shape in enumerate(shapes)
    ]


def norms(module: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d)}


@torch.no_grad()
def averages(module: nn.Module, batches: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean over batches of each norm's input mean and unbiased variance, in train mode."""
    module = copy.deepcopy(module).train()
    received: dict[str, list[Tensor]] = {name: [] for name in norms(module)}
    for name, norm in norms(module).items():
        norm.register_forward_pre_hook(lambda _, args, name=name: received[name].append(args[0].clone()))
    for batch in batches:
        module(batch)
    return {
        name: (
            torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0),
            torch.stack([x.var((0, 2, 3), unbiased=True) for x in inputs]).mean(0),
        )
        for name, inputs in received.items()
    }


def test_statistics_are_the_average_over_the_batches_and_forget_the_past(plain, batches) -> None:
    expected = averages(plain, batches)
    recalibrate(plain, batches)
    for name, norm in norms(plain).items():
        torch.testing.assert_close(norm.running_mean, expected[name][0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(norm.running_var, expected[name][1], rtol=1e-10, atol=1e-12)


def test_recalibrating_changes_statistics_only(plain, batches) -> None:
    weights = copy.deepcopy(dict(plain.named_parameters()))
    for number, norm in enumerate(norms(plain).values()):
        norm.momentum = 0.01 * (number + 1)
    plain.train()
    recalibrate(plain, batches)
    assert not any(module.training for module in plain.modules())
    assert [norm.momentum for norm in norms(plain).values()] == [0.01 * (i + 1) for i in range(len(norms(plain)))]
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.grad is None


def test_recalibrating_twice_is_recalibrating_once(plain, batches) -> None:
    recalibrate(plain, batches)
    once = copy.deepcopy(plain.state_dict())
    recalibrate(plain, batches)
    assert all(torch.equal(tensor, once[name]) for name, tensor in plain.state_dict().items())


def test_the_order_of_batches_makes_no_difference(plain, batches) -> None:
    recalibrate(plain, batches)
    forward = copy.deepcopy(plain.state_dict())
    recalibrate(plain, batches[::-1])
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor, forward[name], rtol=1e-10, atol=1e-12)


def test_an_extracted_network_has_the_statistics_of_the_batches(tiny_space: SearchSpace, batches) -> None:
    supernet, inputs = Supernet(tiny_space), [batch.float() for batch in batches]
    arch = tiny_space.largest()
    expected = supernet.uncalibrated(arch)
    recalibrate(expected, inputs)
    extracted = supernet.extract(arch, inputs)
    assert not extracted.training
    for name, buffer in expected.named_buffers():
        assert torch.equal(buffer, extracted.get_buffer(name))
    with pytest.raises(SpaceError, match="statistics are taken over batches"):
        supernet.extract(arch, [])
