"""Laws of templates: they do what `functional_call` does, and keep nothing of a call."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from hwnas.supernet.template import Template


class Tied(nn.Module):
    """Two linear layers with one weight, dropout, and a batch-norm that is made in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.norm.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(nn.functional.dropout(self.norm(self.first(x)), 0.5, self.training))


class Failing(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no")


def template_of(make: type[nn.Module], *arguments: int) -> Template:
    with torch.device("meta"):
        return Template(make(*arguments))


def tensors_of(template: Template) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=generator).requires_grad_("running" not in name)
        for name, shape in template.shapes.items()
    }


@pytest.mark.parametrize("training", [True, False])
def test_a_template_computes_what_functional_call_does(training: bool) -> None:
    """Outputs, gradients and statistics are equal; tied parameters are one."""
    template, x = template_of(Tied), torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    ours, theirs = tensors_of(template), tensors_of(template)
    assert "second.weight" not in ours
    outputs = []
    for tensors, run in (
        (ours, lambda: template(ours, x, training=training)),
        (theirs, lambda: functional_call(copy.deepcopy(template.module).train(training), theirs, (x,))),
    ):
        torch.manual_seed(0)
        outputs.append(run())
        (outputs[-1] * x).sum().backward()
        assert all(tensor.grad is not None for tensor in tensors.values() if tensor.requires_grad)
    assert torch.equal(*outputs)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor.grad, theirs[name].grad, rtol=0, atol=0)
        assert torch.equal(tensor, theirs[name])


@pytest.mark.parametrize("make", [nn.Linear, Failing])
def test_a_template_has_no_storage_after_a_call_even_one_that_fails(make: type[nn.Linear]) -> None:
    template = template_of(make, 4, 4)
    with pytest.raises(ValueError, match="no") if make is Failing else nullcontext():
        template(tensors_of(template), torch.ones(2, 4), training=True)
    assert {parameter.device.type for parameter in template.module.parameters()} == {"meta"}


def test_a_template_is_in_the_mode_of_its_last_call() -> None:
    template = template_of(Tied)
    for training in (True, False, True):
        template(tensors_of(template), torch.ones(2, 4), training=training)
        assert {module.training for module in template.module.modules()} == {training}
