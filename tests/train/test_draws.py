"""Laws of the networks that a step of supernet training trains."""

from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.spaces import load_space
from hwnas.train.draws import DRAWS

STEPS = 40


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


def drawn(space: SearchSpace, name: str, steps: int = STEPS) -> list[list[Arch]]:
    draw, rng = DRAWS[name](space, 2), np.random.default_rng(0)
    return [draw(rng, step, steps) for step in range(steps)]


def is_on(space: SearchSpace, arch: Arch, name: str) -> bool:
    clauses = space.choice(name).when
    return not clauses or any(all(arch[other] in options for other, options in clause) for clause in clauses)


def test_a_sandwich_is_the_largest_the_smallest_and_random_networks(space: SearchSpace) -> None:
    for archs in drawn(space, "sandwich", 3):
        assert archs[:2] == [space.largest(), space.smallest()] and len(archs) == 4


def test_single_path_trains_one_network_per_step(space: SearchSpace) -> None:
    steps = drawn(space, "single-path")
    assert {len(archs) for archs in steps} == {1}
    assert len({archs[0] for archs in steps}) > STEPS / 2


def test_alternating_steps_train_the_largest_and_a_random_network_in_turn(space: SearchSpace) -> None:
    steps = drawn(space, "alternating")
    assert {len(archs) for archs in steps} == {1}
    assert {archs[0] for archs in steps[::2]} == {space.largest()}
    assert len({archs[0] for archs in steps[1::2]}) > STEPS / 4


def test_progressive_phases_restrict_the_draws(space: SearchSpace) -> None:
    """The largest network alone, then kernels, depths and all other choices become free."""
    largest, steps = space.largest(), drawn(space, "progressive")
    assert all(archs == [largest] for archs in steps[:10])
    assert all(archs[0] == largest and len(archs) == 3 for archs in steps[10:])
    differing = []
    for start in (10, 20, 30):
        archs = [arch for archs in steps[start : start + 10] for arch in archs]
        # A block that the depth drops has its first options.
        on = [(arch, name) for arch in archs for name in arch if is_on(space, arch, name)]
        differing.append({name.rpartition(".")[2] for arch, name in on if arch[name] != largest[name]})
    assert differing == [{"kernel"}, {"kernel", "depth"}, {"kernel", "depth", "expansion", "width"}]


def test_a_phase_for_choices_that_a_space_lacks_is_left_out() -> None:
    tokens = load_space(f"{Path(__file__).parent / 'token_space.py'}:build")
    steps = drawn(tokens, "progressive")
    assert [len(archs) for archs in steps] == [1] * 20 + [3] * 20


@pytest.mark.parametrize("name", DRAWS)
def test_every_draw_meets_the_requirements_of_its_space(name: str) -> None:
    space = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    archs = [arch for archs in drawn(space, name, 8) for arch in archs]
    assert space.meets_requirements(space.encode(archs)).all()
