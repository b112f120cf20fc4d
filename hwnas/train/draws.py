"""Draws of the networks that a step of supernet training trains. Imports no torch.

The first network of a step learns from the labels, and teaches the others of that step, if any.

Shapes: C choices.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import BoolArray
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain, Stage

# Networks of a step, from the step's generator, the number of the step and the number of all steps.
Draw = Callable[[np.random.Generator, int, int], list[Arch]]
# Draws of random networks until one meets the space's requirements.
MOST_DRAWS: Final = 1000


def sandwich(space: SearchSpace, random_subnets: int) -> Draw:
    """Returns a draw of the largest, the smallest and random networks (BigNAS, Yu et al. 2020, section 3)."""
    smallest, largest = space.smallest(), space.largest()

    def draw(rng: np.random.Generator, step: int, steps: int) -> list[Arch]:
        return [largest, smallest, *(space.sample(rng) for _ in range(random_subnets))]

    return draw


def largest_and_random(space: SearchSpace, random_subnets: int) -> Draw:
    """Returns a draw of the largest and random networks (InstaTune, Sridhar et al. 2023, section 3.2)."""
    largest = space.largest()

    def draw(rng: np.random.Generator, step: int, steps: int) -> list[Arch]:
        return [largest, *(space.sample(rng) for _ in range(random_subnets))]

    return draw


def single_path(space: SearchSpace, random_subnets: int) -> Draw:
    """Returns a draw of one random network per step (SPOS, Guo et al. 2020, section 3.2)."""

    def draw(rng: np.random.Generator, step: int, steps: int) -> list[Arch]:
        return [space.sample(rng)]

    return draw


def alternating(space: SearchSpace, random_subnets: int) -> Draw:
    """Returns a draw of the largest network in even steps, and of one random network in odd steps (ATS of whittle)."""
    largest = space.largest()

    def draw(rng: np.random.Generator, step: int, steps: int) -> list[Arch]:
        return [space.sample(rng) if step % 2 else largest]

    return draw


def progressive(space: SearchSpace, random_subnets: int) -> Draw:
    """Returns a draw by phases of equal length (Once-for-All, Cai et al. 2020, section 3.3).

    The first phase has the largest network alone. Then kernels, depths, and all other choices become free, one after the
    other; a step trains the largest network and random ones that differ from it in free choices. A phase for choices that
    the space does not have is left out.
    """
    largest = space.largest()
    free = list(_phases(space))

    def draw(rng: np.random.Generator, step: int, steps: int) -> list[Arch]:
        phase = min(step * len(free) // steps, len(free) - 1)
        if not free[phase].any():
            return [largest]
        return [largest, *(_sample(space, rng, largest, free[phase]) for _ in range(random_subnets))]

    return draw


# The recipe names the draw. A new one is a function above and a line here.
DRAWS: Final[Mapping[str, Callable[[SearchSpace, int], Draw]]] = {
    "sandwich": sandwich,
    "single-path": single_path,
    "largest-and-random": largest_and_random,
    "alternating": alternating,
    "progressive": progressive,
}


def _phases(space: SearchSpace) -> Iterator[BoolArray]:
    """Yields the choices that are free in each phase; (C,) each, in the order of the space's choices."""
    depths = set(_depths(space.wiring))
    kernel_C = np.array([choice.name.rpartition(".")[2] == "kernel" for choice in space.choices], dtype=bool)
    depth_C = np.array([choice.name in depths for choice in space.choices], dtype=bool)
    several_C = np.array([len(choice.options) > 1 for choice in space.choices], dtype=bool)
    free_C = np.zeros(len(space.choices), dtype=bool)
    yield free_C
    for group_C in (kernel_C, depth_C, ~(kernel_C | depth_C)):
        if (group_C & several_C).any():
            free_C = free_C | group_C
            yield free_C


def _depths(chain: Chain) -> Iterator[str]:
    """Yields the names of the choices that decide how many blocks of a stage are kept."""
    for part in chain.parts:
        if isinstance(part, Stage):
            yield part.depth
            yield from _depths(Chain(part.blocks))
        elif isinstance(part, Chain):
            yield from _depths(part)


def _sample(space: SearchSpace, rng: np.random.Generator, largest: Arch, free_C: BoolArray) -> Arch:
    """Draws every free choice with equal probability; the others have the options of the largest network."""
    (largest_C,) = space.encode([largest])
    counts_C = [len(choice.options) for choice in space.choices]
    for _ in range(MOST_DRAWS):
        rows_1C = space.normalise(np.where(free_C, rng.integers(counts_C), largest_C)[None])
        if space.meets_requirements(rows_1C)[0]:
            return space.decode(rows_1C[0])
    return largest
