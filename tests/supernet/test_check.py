"""What cannot be mixed is found out before anything is trained."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.operator import Operator, OperatorCost, Shape, linear_cost
from hwnas.errors import SpaceError
from hwnas.operators.conv import ConvBlock, PoolClassifier
from hwnas.spaces.compose import compose, pick, place
from hwnas.supernet.check import require_mixable, require_partial
from hwnas.supernet.network import Supernet


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled(Operator):
    """A linear layer over channels whose output is divided by its width: no slice of a wider one, whatever it says."""

    kind: ClassVar[str] = "scaled"
    module: ClassVar[str] = f"{__name__}:ScaledModule"

    width: int

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        channels, height, width = self.input_shape
        positions = height * width
        return linear_cost(channels, self.width, positions) + linear_cost(self.width, channels, positions)

    @property
    def family(self) -> str:
        return "scaled"


class ScaledModule(nn.Module):
    def __init__(self, operator: Scaled) -> None:
        super().__init__()
        channels = operator.input_shape[0]
        self.expand, self.project = nn.Linear(channels, operator.width), nn.Linear(operator.width, channels)
        self.width = operator.width

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y: Tensor = self.project(torch.relu(self.expand(x_NCHW.movedim(1, -1)))) / self.width
        return y.movedim(-1, 1)


def test_an_operator_that_is_no_slice_of_its_family_is_named() -> None:
    space = compose(
        "odd",
        (1, 8, 8),
        2,
        [
            place("stem", ConvBlock, channels=8, stride=2),
            place("body", Scaled, width=pick(4, 8)),
            place("head", PoolClassifier, features=8, classes=2),
        ],
    )
    with pytest.raises(
        SpaceError, match=r"layer 'body': scaled\(.*width=4\) is no slice .* family 'scaled'; give it a fam"
    ):
        require_mixable(Supernet(space), torch.randn(2, 1, 8, 8), [space.smallest()])


def test_built_in_spaces_can_be_mixed_and_keep_the_mode_they_are_in() -> None:
    space = hwnas.space("mobilenet", resolution=16, width=0.25)
    supernet = Supernet(space).train()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    require_mixable(supernet, torch.randn(2, *space.input_shape), [space.sample(np.random.default_rng(0))])
    assert supernet.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_resolutions_are_refused_with_what_to_do() -> None:
    space = hwnas.space("ofa", resolutions=(16, 24), width=0.25)
    with pytest.raises(SpaceError, match=r"cannot be mixed; keep one option of the choice that decides the size"):
        require_mixable(Supernet(space), torch.randn(2, *space.input_shape), [space.smallest()])


def test_a_part_of_the_channels_needs_a_cell_that_can_be_given_one() -> None:
    cells = hwnas.space("nasbench201", resolution=8, width=6, cells=1)
    require_partial(cells, 3)
    with pytest.raises(SpaceError, match="nasbench201 has no cell whose operators can run on 1/5 of their channels"):
        require_partial(cells, 5)
    with pytest.raises(SpaceError, match="mobilenet has no cell"):
        require_partial(hwnas.space("mobilenet"), 2)
