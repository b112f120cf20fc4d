"""Laws of the Once-for-All space that are its own; what every space must obey is in conformance."""

import numpy as np
import pytest

import hwnas
from hwnas.core.choice import Option
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.operators.conv import MBConv, Resize
from hwnas.predict.features import role_of


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("ofa", classes=1000)


def test_a_network_sees_its_images_at_the_resolution_it_chose(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for resolution in space.choice("resolution").options:
        arch = space.arch({**space.sample(rng), "resolution": resolution})
        resize, stem = (layer.operator(arch) for layer in space.layers[:2])
        assert stem.input_shape == (3, resolution, resolution)
        assert (resize is None) if resolution == 224 else isinstance(resize, Resize)


def test_stages_have_the_widths_and_gates_of_mobilenet_v3(space: SearchSpace) -> None:
    blocks = {layer.name: layer.operator(space.largest()) for layer in space.layers}
    found = [
        [(block.channels, block.squeeze_excite) for name, block in blocks.items() if name.startswith(f"stage{number}.")]
        for number in range(1, 6)
    ]
    assert found == [4 * [plan] for plan in ((24, False), (40, True), (80, False), (112, True), (160, True))]
    sizes = [blocks[f"stage{number}.block1"].output_shape[1] for number in range(1, 6)]
    assert sizes == [56, 28, 14, 14, 7]


def test_a_stage_keeps_as_many_blocks_as_its_depth_says(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for arch in (space.sample(rng) for _ in range(20)):
        standing = [layer.name for layer in space.layers if isinstance(layer.operator(arch), MBConv)]
        for number in range(1, 6):
            kept = [name for name in standing if name.startswith(f"stage{number}.")]
            assert kept == [f"stage{number}.block{block + 1}" for block in range(arch[f"stage{number}.depth"])]


def test_choices_have_the_same_roles_at_every_block(space: SearchSpace) -> None:
    for layer in space.layers:
        roles = {role_of(name, layer.name) for name in layer.scope}
        assert roles <= {"resolution", "depth", "kernel", "expansion"}
        assert not layer.name.startswith("stage") or {"resolution", "kernel", "expansion"} <= roles


def test_width_multiplies_every_width() -> None:
    half = hwnas.space("ofa", resolutions=(64,), width=0.5)
    blocks = (layer.operator(half.largest()) for layer in half.layers)
    assert {block.channels for block in blocks if isinstance(block, MBConv)} == {8, 12, 20, 40, 56, 80}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolutions": ()}, r"whole numbers of at least 16 px, not \[\]"),
        ({"resolutions": (12, 16)}, r"ofa needs resolutions that are whole numbers of at least 16 px, not \[12, 16\]"),
        ({"resolutions": (32.5,)}, r"of at least 16 px, not \[32.5\]"),
        ({"resolutions": (32, 32)}, "choice 'resolution' lists an option twice"),
        ({"width": 0}, "ofa cannot have width 0, 10 classes, 3 channels"),
        ({"width": float("nan")}, "ofa cannot have width nan"),
        ({"classes": 0}, "ofa cannot have width 1.0, 0 classes"),
    ],
)
def test_what_the_space_cannot_be_made_of_is_refused(options: dict[str, Option], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        hwnas.space("ofa", **options)
