"""Laws of the moving average of weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hwnas
from hwnas.core.reporter import Silent
from hwnas.data.dataset import load_data
from hwnas.modules.assemble import network
from hwnas.tasks.registry import load_task
from hwnas.train.alone import train_network
from hwnas.train.average import averaged
from hwnas.train.recipes import BY_OPTIMIZER

TASK = load_task("classification")


def test_the_average_is_the_explicit_recursion() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average, expected = averaged(module, 0.5), {}
    for number in range(12):
        for tensor in module.state_dict().values():
            tensor.copy_(
                torch.full_like(tensor, number) if not tensor.is_floating_point() else torch.randn(tensor.shape)
            )
        average.update_parameters(module)
        decay = min(0.5, (1 + number) / (10 + number)) if number else 0.0
        for name, tensor in module.state_dict().items():
            before = expected.get(name, tensor)
            expected[name] = decay * before + (1 - decay) * tensor if tensor.is_floating_point() else tensor.clone()
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_network_alone_ends_with_its_average(ema: float, tmp_path: Path) -> None:
    space = hwnas.space("mobilenet", resolution=16, width=0.25)
    data = load_data("digits", space.input_shape, limit=64)
    torch.manual_seed(0)
    module = network(space, space.smallest())
    recipe, checkpoint = replace(BY_OPTIMIZER["sgd"], epochs=2, batch_size=32, ema=ema), tmp_path / "c.pt"
    train_network(module, data, TASK, recipe, seed=0, checkpoint=checkpoint, reporter=Silent(), what="training")
    kept = torch.load(checkpoint, weights_only=True)
    assert ("average" in kept) == bool(ema)
    own, state = kept["weights"], module.state_dict()
    ends = {name.removeprefix("module."): tensor for name, tensor in kept["average"].items()} if ema else own
    assert all(torch.equal(tensor, ends[name]) for name, tensor in state.items())
    assert all(torch.equal(tensor, own[name]) for name, tensor in state.items()) == (not ema)
