"""Laws of operations on spaces: what is left is what was asked for, and files can make it again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.operations import condition, drop, fix, keep, replayed, restricted, split, tie
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, SpaceError
from hwnas.operators.cells import NormClassifier
from hwnas.operators.conv import ConvBlock, MBConv
from hwnas.spaces import reload_space
from hwnas.spaces.compose import compose, pick, place, stage


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.5)


def names(space: SearchSpace, part: str) -> list[str]:
    return [choice.name for choice in space.choices if part in choice.name]


@given(st.data())
@settings(max_examples=60)
def test_what_is_left_is_the_architectures_with_the_kept_options(tied_spaces, every_row, data) -> None:
    space = data.draw(tied_spaces)
    choice = data.draw(st.sampled_from([choice for choice in space.choices if not choice.when]))
    options = data.draw(st.sets(st.sampled_from(choice.options), min_size=1))
    try:
        smaller = keep(space, choice.name, list(options))
    except SpaceError as error:
        assert "switched off" in str(error)
        return
    before = {space.decode(row) for row in every_row(space)}
    after = {smaller.decode(row) for row in every_row(smaller)}
    # Where the first option of a tied choice is gone, the choice is another one where it is switched off.
    if all(smaller.choice(each.name).options[0] == each.options[0] for each in space.choices if each.when):
        assert after == {arch for arch in before if arch[choice.name] in options}
    assert len(after) == smaller.size


def test_a_dropped_option_is_nowhere_and_the_others_are(space: SearchSpace) -> None:
    smaller = drop(space, "stage*.kernel", 7)
    for name in names(space, "kernel"):
        assert smaller.choice(name).options == (3, 5)
    assert names(smaller, "") == names(space, "")
    assert drop(smaller, "stage1.*.kernel", 5).choice("stage1.block1.kernel").options == (3,)


def test_what_a_fixed_depth_never_reaches_has_one_option(space: SearchSpace) -> None:
    shallow = fix(space, "stage*.depth", 1)
    assert all(shallow.choice(name).options == (3,) for name in names(space, "block2.kernel"))
    assert all(shallow.choice(name).when == () for name in names(space, "block1.kernel"))
    # Four stages of one block: two widths (stage 1 has one), three kernels, three expansions.
    assert shallow.size == int(np.prod([len(c.options) for c in space.choices if "width" in c.name])) * 9**4


def test_tied_choices_have_one_option_in_every_architecture(space: SearchSpace) -> None:
    tied = tie(space, "stage*.kernel")
    rng = np.random.default_rng(0)
    for arch in [tied.smallest(), tied.largest(), *(tied.sample(rng) for _ in range(50))]:
        standing = {
            arch[name] for name in names(space, "kernel") if int(arch[name.split(".")[0] + ".depth"]) >= int(name[12])
        }
        assert len(standing) == 1
    leader = names(space, "kernel")[0]
    arch = tied.arch(
        {name: option for name, option in tied.largest().items() if name == leader or "kernel" not in name}
    )
    assert arch == tied.largest()


def test_an_architecture_that_breaks_a_tie_is_refused(space: SearchSpace) -> None:
    tied = tie(space, "stage*.kernel")
    with pytest.raises(ArchError, match=r"'stage2.block1.kernel' cannot be 3: it is tied to 'stage1.block1.kernel'"):
        tied.arch({**tied.largest(), "stage2.block1.kernel": 3})


def test_a_smaller_space_knows_the_architectures_of_the_larger_that_it_kept(space: SearchSpace) -> None:
    smaller = drop(space, "stage*.kernel", 3)
    rng = np.random.default_rng(0)
    shared = [space.decode(row) for row in space.spread_rows(rng, 300)]
    on = [
        {
            name: arch[name]
            for name in names(space, "kernel")
            if int(arch[name.split(".")[0] + ".depth"]) >= int(name[12])
        }
        for arch in shared
    ]
    kept = [arch for arch, kernels in zip(shared, on, strict=True) if 3 not in kernels.values()]
    assert 0 < len(kept) < len(shared)
    for arch in kept:
        assert [layer.operator(smaller.arch(arch)) for layer in smaller.layers] == [
            layer.operator(arch) for layer in space.layers
        ]
    with pytest.raises(ArchError, match=r"'stage1.block1.kernel' cannot be 3; options: \(5, 7\)"):
        smaller.arch(space.smallest())


def test_a_conditional_choice_is_free_only_where_the_condition_holds(space: SearchSpace) -> None:
    bound = condition(space, "stage1.block1.expansion", {"stage1.block1.kernel": [7]})
    rows = bound.sample_rows(np.random.default_rng(0), 500)
    archs = [bound.decode(row) for row in rows]
    assert {arch["stage1.block1.expansion"] for arch in archs if arch["stage1.block1.kernel"] != 7} == {3}
    assert {arch["stage1.block1.expansion"] for arch in archs if arch["stage1.block1.kernel"] == 7} == {3, 4, 6}
    assert bound.size * 9 == space.size * 5


def test_a_space_is_the_sum_of_its_parts(space: SearchSpace) -> None:
    parts = split(space, "stage2.depth")
    assert list(parts) == list(space.choice("stage2.depth").options)
    assert sum(part.size for part in parts.values()) == space.size


def test_what_was_done_survives_json(space: SearchSpace) -> None:
    made = tie(drop(fix(space, "stage1.depth", 2), "stage*.expansion", 6), "stage2.*.kernel")
    made = condition(made, "stage3.block1.kernel", {"stage3.block1.expansion": [4]})
    again = reload_space(json.loads(json.dumps(made.describe())))
    assert again.fingerprint == made.fingerprint != space.fingerprint
    assert again.operations == made.operations


def test_operations_are_written_as_patterns_and_options(space: SearchSpace) -> None:
    written = restricted(space, fixed=["stage1.depth=2"], dropped=["stage*.kernel=7"], tied=["stage2.*.kernel"])
    assert (
        written.fingerprint
        == tie(drop(fix(space, "stage1.depth", 2), "stage*.kernel", 7), "stage2.*.kernel").fingerprint
    )
    gated = hwnas.space("mobilenet", resolution=16, squeeze_excite="choice")
    assert restricted(gated, fixed=["*.squeeze_excite=true"]).choice("stage1.squeeze_excite").options == (True,)
    assert restricted(gated, dropped=["*.squeeze_excite=True"]).choice("stage1.squeeze_excite").options == (False,)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"dropped": ["stage*.kernel"]}, r"--drop 'stage\*.kernel' is not PATTERN=OPTION; write --drop 'stage\*.kernel=7'"),
        ({"dropped": ["*.kernl=7"]}, r"no choice of mobilenet matches '\*.kernl'; it has stage1.depth, "),
        ({"dropped": ["*.kernel=9"]}, r"--drop '\*.kernel=9': no choice .* has the option 9; options: 3, 5, 7"),
        ({"fixed": ["stage4.depth=3"]}, "--fix 'stage4.depth=3': no choice .* has the option 3; options: 1, 2"),
        ({"fixed": ["*.depth=3"]}, r"stage4.depth would have no option left; it has \(1, 2\)"),
        ({"tied": ["stage1.block1.*"]}, "stage1.block1.expansion has options .*, stage1.block1.kernel .*; drop some first"),
        ({"tied": ["stage1.depth"]}, "a tie needs two choices; only stage1.depth matches"),
        ({"tied": ["stage1.*.kernel", "*.kernel"]}, "are tied already; tie all of them at once"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(space: SearchSpace, written, message) -> None:
    with pytest.raises(SpaceError, match=message):
        restricted(space, **written)


def test_what_decides_about_others_is_not_made_conditional(space: SearchSpace) -> None:
    with pytest.raises(SpaceError, match=r"other choices depend on stage1\.depth, so it cannot be made conditional"):
        condition(space, "stage1.depth", {"stage2.depth": [1]})
    with pytest.raises(SpaceError, match="can never hold together"):
        condition(space, "stage1.block2.kernel", {"stage1.depth": [1]})


def test_an_option_that_stands_for_absence_stays() -> None:
    cells = hwnas.space("nasbench201", cells=1)
    with pytest.raises(SpaceError, match="edge0 cannot lose 'none', its option where it is switched off"):
        drop(cells, "edge0", "none")
    assert drop(cells, "edge*", "none").size == 4**6  # nothing can be switched off any more
    with pytest.raises(SpaceError, match="edge0 would have an effect where it is switched off"):
        tie(cells, "edge[01]")
    assert "none" not in drop(cells, "edge3", "none").choice("edge3").options
    with pytest.raises(SpaceError, match="can meet its requirements"):
        keep(cells, "edge[345]", ["none"])


def test_a_condition_on_a_tied_choice_names_what_switches_it() -> None:
    made = compose(
        "made",
        (8, 8, 8),
        10,
        [
            stage("s", (1, 2), lambda n: place(f"b{n}", MBConv, channels=8, kernel=pick(3, 5), expansion=2)),
            place("z", ConvBlock, channels=8, kernel=pick(1, 5)),
            place("head", NormClassifier, classes=10),
        ],
    )
    with pytest.raises(SpaceError, match="switching choices off switches other choices; where a choice depends"):
        condition(tie(made, "b*.kernel"), "z.kernel", {"b2.kernel": [3]})
    with pytest.raises(SpaceError, match="made has no choice 'nope'"):
        condition(made, "z.kernel", {"nope": [1]})


def test_an_operation_of_a_later_version_is_refused(space: SearchSpace) -> None:
    with pytest.raises(SpaceError, match="unknown operation 'merge' on space mobilenet; this version knows keep, tie"):
        replayed(space, [["merge", "a", "b"]])
    assert replace(space).operations == ()
