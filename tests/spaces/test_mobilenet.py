"""Laws of the MobileNet space that are its own; what every space must obey is in conformance."""

import numpy as np
import pytest

import hwnas
from hwnas.core.choice import Option
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Stage
from hwnas.errors import ArchError, SpaceError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.operators.dense import PixelClassifier


def archs(space: SearchSpace, count: int = 30) -> list:
    rng = np.random.default_rng(0)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(count))]


def blocks(space: SearchSpace, arch) -> dict[str, MBConv]:
    operators = {layer.name: layer.operator(arch) for layer in space.layers}
    return {name: operator for name, operator in operators.items() if isinstance(operator, MBConv)}


@pytest.fixture(scope="module", params=[16, 32, 63, 64, 224])
def space(request) -> SearchSpace:
    return hwnas.space("mobilenet", resolution=request.param)


def test_defaults_are_small_colour_images_and_ten_classes() -> None:
    space = hwnas.space("mobilenet")
    assert (space.name, space.input_shape, space.classes) == ("mobilenet", (3, 32, 32), 10)


def test_the_default_space_is_profiled_with_at_most_300_operators() -> None:
    assert len(hwnas.space("mobilenet").operators()) <= 300


def test_depth_says_how_many_blocks_stand_in_a_stage(space) -> None:
    for arch in archs(space):
        standing = list(blocks(space, arch))
        for stage in (part for part in space.wiring.parts if isinstance(part, Stage)):
            depth = int(arch[stage.depth])
            assert [name for name in standing if name.startswith(f"{stage.name}.")] == [
                layer.name for layer in stage.blocks[:depth]
            ]


def test_the_first_block_of_a_stage_has_no_shortcut_and_the_others_have(space) -> None:
    for name, block in blocks(space, space.largest()).items():
        assert block.shortcut == (not name.endswith(".block1"))
        assert not block.shortcut or block.input_shape == block.output_shape


def test_a_block_is_what_its_choices_say(space) -> None:
    for arch in archs(space, 10):
        for name, block in blocks(space, arch).items():
            stage = name.partition(".")[0]
            assert block.channels == arch[f"{stage}.width"]
            assert (block.kernel, block.expansion) == (arch[f"{name}.kernel"], arch[f"{name}.expansion"])


def test_a_choice_of_a_block_is_on_exactly_where_the_block_stands(space) -> None:
    for arch in archs(space):
        standing = set(blocks(space, arch))
        named = {name.rpartition(".")[0] for name in arch if name.endswith(".kernel")}
        for block in named:
            required = {name: option for name, option in arch.items() if name != f"{block}.kernel"}
            if block in standing:
                with pytest.raises(ArchError):
                    space.arch(required)
            else:
                assert space.arch(required) == arch


def test_an_image_shrinks_but_never_to_a_dot(space) -> None:
    head = space.layers[-1].operator(space.largest())
    assert isinstance(head, PoolClassifier)
    assert 2 <= head.input_shape[1] <= space.input_shape[1] // 8 + 1


def test_width_multiplies_every_width_and_keeps_multiples_of_four() -> None:
    widths = {}
    for width in (0.1, 0.35, 1.0, 1.4, 2.0):
        space = hwnas.space("mobilenet", width=width)
        stem = space.layers[0].operator({})
        assert isinstance(stem, ConvBlock)
        options = [option for choice in space.choices if choice.name.endswith(".width") for option in choice.options]
        widths[width] = [stem.channels, *options]
        assert all(option % 4 == 0 and option >= 4 for option in widths[width])
    assert widths[2.0] == [2 * option for option in widths[1.0]]
    assert len(widths[0.1]) < len(widths[1.0])  # equal options are one option


@pytest.mark.parametrize(("squeeze_excite", "gates"), [("none", {False}), ("all", {True}), ("choice", {False, True})])
def test_squeeze_excite_is_nowhere_everywhere_or_chosen(squeeze_excite, gates) -> None:
    space = hwnas.space("mobilenet", squeeze_excite=squeeze_excite)
    found = {block.squeeze_excite for arch in archs(space) for block in blocks(space, arch).values()}
    assert found == gates


def test_a_stage_has_squeeze_excite_throughout_or_not_at_all() -> None:
    space = hwnas.space("mobilenet", squeeze_excite="choice")
    for arch in archs(space):
        for name, block in blocks(space, arch).items():
            assert block.squeeze_excite == arch[f"{name.partition('.')[0]}.squeeze_excite"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 15}, "mobilenet needs images of at least 16 px, not 15"),
        ({"resolution": 32.5}, "mobilenet's resolution is 32.5, not a whole number"),
        ({"resolution": "big"}, "mobilenet's resolution is 'big', not a whole number"),
        ({"classes": 2.0}, "mobilenet's classes is 2.0, not a whole number"),
        ({"squeeze_excite": "some"}, "squeeze_excite is 'some'; known: none, all, choice"),
        ({"width": 0}, "mobilenet cannot have width 0, 10 classes, 3 channels"),
        ({"width": float("nan")}, "mobilenet cannot have width nan"),
        ({"width": float("inf")}, "mobilenet cannot have width inf"),
        ({"width": "wide"}, "mobilenet with {'width': 'wide'}: TypeError"),
        ({"classes": 0}, "mobilenet cannot have width 1.0, 0 classes"),
        ({"channels": 0}, "mobilenet cannot have width 1.0, 10 classes, 0 channels"),
        ({"kernel": 3}, "space 'mobilenet' has no option 'kernel'; it has resolution, channels, classes, width"),
    ],
)
def test_what_the_space_cannot_be_made_of_is_refused(options: dict[str, Option], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        hwnas.space("mobilenet", **options)


# ---- the dense head


@pytest.mark.parametrize(("resolution", "scale"), [(16, 4), (32, 4), (64, 16), (224, 16)])
def test_a_dense_head_gives_a_class_per_pixel_at_the_resolution_of_the_image(resolution: int, scale: int) -> None:
    space = hwnas.space("mobilenet", resolution=resolution, classes=5, head="dense")
    assert space.output_shape == (5, resolution, resolution)
    for arch in archs(space, 5):
        head = space.layers[-1].operator(arch)
        assert isinstance(head, PixelClassifier)
        assert head.scale == scale


def test_a_dense_head_changes_nothing_but_the_last_stride_and_the_head() -> None:
    classifier, dense = hwnas.space("mobilenet"), hwnas.space("mobilenet", head="dense")
    assert dense.choices == classifier.choices
    arch = classifier.largest()
    strides = [[block.stride for block in blocks(space, arch).values()] for space in (classifier, dense)]
    assert [pair for pair in zip(*strides, strict=True) if pair[0] != pair[1]] == [(2, 1)]


def test_spaces_with_a_classifier_are_what_they_were() -> None:
    """Tables, predictors and runs made before the dense head hold these fingerprints."""
    assert hwnas.space("mobilenet").fingerprint == "b4dd4f18b643dddf"
    assert hwnas.space("mobilenet", head="classifier").fingerprint == "b4dd4f18b643dddf"
    assert hwnas.space("mobilenet", resolution=64, squeeze_excite="choice").fingerprint == "50211b9e8e7de09c"


@pytest.mark.parametrize("resolution", [30, 72])
def test_a_dense_head_needs_a_resolution_that_its_strides_divide(resolution: int) -> None:
    with pytest.raises(SpaceError, match=rf"dense head needs images of a multiple of (4|16) px, not {resolution}"):
        hwnas.space("mobilenet", resolution=resolution, head="dense")


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(SpaceError, match="head is 'box'; known: classifier, dense"):
        hwnas.space("mobilenet", head="box")
