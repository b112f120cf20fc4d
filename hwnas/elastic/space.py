"""The space of a trained network and its smaller versions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.operator import Shape
from hwnas.core.space import SearchSpace, channels_of
from hwnas.elastic.analysis import ElasticPart, elastic_parts
from hwnas.elastic.elasticity import Elasticity
from hwnas.elastic.importance import Importance
from hwnas.elastic.operator import Traced
from hwnas.elastic.program import Program
from hwnas.elastic.rules import sizes_of
from hwnas.elastic.sources import first_tensor
from hwnas.elastic.trace import evaluating, traced
from hwnas.errors import SpaceError
from hwnas.modules.assemble import network
from hwnas.operators.conv import Resize
from hwnas.spaces.compose import Blocks, Place, compose, pick, place, stage
from hwnas.supernet.network import Supernet

# How far outputs of the largest network may be from the model's, as a share of the largest output.
TOLERANCE = 1e-3
# Parts that a note names.
NAMED = 3


def elasticize(
    model: nn.Module,
    example: Tensor,
    elasticity: Elasticity | None = None,
    *,
    importance: Importance | None = None,
) -> tuple[SearchSpace, Supernet]:
    """Returns the space of a network and its smaller versions, and a supernet that holds all of them in the network's weights.

    `example` is a batch of inputs of the model, (N, ...). The largest network of the space computes what the model computes; the
    model stays as it is. `importance` replaces the function that `elasticity` names. Raises SpaceError for a model that cannot
    be traced.
    """
    space = elastic_space(model, example, elasticity or Elasticity(), importance)
    return space, Supernet(space)


def elastic_space(
    model: nn.Module, example: Tensor, elasticity: Elasticity, importance: Importance | None = None
) -> SearchSpace:
    """Returns the space of a network and its smaller versions. New modules of its operators have the network's weights."""
    resolutions = elasticity.resolutions(example.shape[-1]) if example.dim() == 4 else ()
    examples = [example] + [F.interpolate(example, (size, size)) for size in resolutions[:-1]]
    traces = [elastic_parts(traced(model, one), elasticity, importance) for one in examples]
    parts = traces[0]
    for size, others in zip(resolutions, traces[1:], strict=False):
        if [(one.program.name, one.choices) for one in others] != [(one.program.name, one.choices) for one in parts]:
            raise SpaceError(f"other sizes are elastic at a resolution of {size}; leave it out of resolutions")
    variants = [[other[number].program for other in traces] for number in range(len(parts))]
    if not parts:
        raise SpaceError(f"{type(model).__name__} does nothing to its input; give a network with layers")
    resized = [place("input", Resize, resolution=pick(*resolutions))] if len(resolutions) > 1 else []
    space = compose(
        type(model).__name__,
        tuple(example.shape[1:]),
        channels_of(parts[-1].program.output_shape({})),
        [*resized, *_composed(parts, variants, elasticity)],
        vocabulary=parts[0].program.vocabulary,
    )
    _require_equal(space, model)
    return replace(space, notes=tuple(_notes_on_copies(parts, model)))


def _notes_on_copies(parts: Sequence[ElasticPart], model: nn.Module) -> Iterator[str]:
    """Yields a note where parts share a weight of a model: each of them has a copy."""
    names, users = dict[Tensor, list[str]](), dict[Tensor, list[str]]()
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, weight in own.items():
        names.setdefault(weight, []).append(name)
    for program in (one.program for one in parts):
        for weight in {own[stored.name]: None for stored in program.stored.values() if stored.name in own}:
            users.setdefault(weight, []).append(program.name)
    shared = [weight for weight, programs in users.items() if len(programs) > 1]
    if shared:
        largest = max(shared, key=Tensor.numel)
        alike = f" The same holds for {len(shared) - 1} more weights." if len(shared) > 1 else ""
        more = sum(weight.numel() * (len(users[weight]) - 1) for weight in shared)
        yield (
            f"{' and '.join(names[largest])}: one weight in your model, used by {_listed(users[largest])}; here each of these "
            f"parts has a copy, equal at first and trained apart.{alike} So networks have up to {more:,} parameters "
            f"({more * 4 / 2**20:,.1f} MiB in float32) more than with one weight"
        )


def _listed(names: Sequence[str]) -> str:
    """Returns names in words, the first few of many."""
    return " and ".join(names) if len(names) <= NAMED else f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"


@torch.no_grad()
def _require_equal(space: SearchSpace, model: nn.Module) -> None:
    """Raises SpaceError where the largest network of the space does not compute what the model computes."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, *space.input_shape)
    x = torch.randn(shape, generator=generator)
    if space.vocabulary is not None:
        x = torch.randint(space.vocabulary, shape, generator=generator)
    with evaluating(model):
        expected = first_tensor(model(x))
    output = network(space, space.largest()).eval()(x)
    furthest = float((output - expected).abs().max()) if output.shape == expected.shape else float("inf")
    if not furthest <= TOLERANCE * max(1e-6, float(expected.abs().max())):
        raise SpaceError(
            f"the trace of {type(model).__name__} does not compute what the model computes: outputs differ by {furthest:.2g}, of "
            f"up to {float(expected.abs().max()):.2g}; does its forward draw random numbers, or write into tensors?"
        )


def _composed(
    parts: Sequence[ElasticPart], variants: Sequence[Sequence[Program]], elasticity: Elasticity
) -> Iterator[Place | Blocks]:
    """Yields the parts in sequence, consecutive blocks that can be left out as one stage.

    `variants` are the programs of each part at all resolutions.
    """
    programs = {one.program.name: tuple(same) for one, same in zip(parts, variants, strict=True)}
    blocks = [list(run) for _, run in groupby(parts, key=lambda one: one.part.block or one.program.name)]
    stages = 0
    for key, run in groupby(blocks, key=_run_key):
        rows = list(run)
        if not key or not elasticity.depth or len(rows) == len(blocks):
            yield from (_place(one, programs) for row in rows for one in row)
            continue
        stages += 1
        yield stage(f"stage{stages}", elasticity.depths(len(rows)), partial(_places, rows, programs))


def _run_key(block: Sequence[ElasticPart]) -> str:
    """Returns one text for consecutive blocks that can be left out, which have residual connections alone; else an empty one."""
    can_be_left_out = block[0].part.block and all(one.part.is_residual and one.part.keeps_shape for one in block)
    return f"{sizes_of(block[0].part.input)}" if can_be_left_out else ""


Programs = Mapping[str, tuple[Program, ...]]


def _places(blocks: Sequence[Sequence[ElasticPart]], programs: Programs, number: int) -> list[Place]:
    return [_place(one, programs) for one in blocks[number - 1]]


def _place(one: ElasticPart, programs: Programs) -> Place:
    maker = partial(_operator, programs[one.program.name], tuple(one.choices))
    return Place(one.program.name, maker, one.choices)


def _operator(programs: Sequence[Program], keys: Sequence[str], *, input_shape: Shape, **sizes: Any) -> Traced:
    """Returns the operator at chosen sizes, by the program that was traced at the input's resolution."""
    chosen = tuple(int(sizes[key]) for key in keys)
    for program in programs:
        count = len(program.atoms)
        if program.input_shape(dict(zip(program.atoms, chosen, strict=False))) == tuple(input_shape):
            return Traced(input_shape=input_shape, program=program, units=chosen[:count], kernels=chosen[count:])
    raise SpaceError(f"no program of {programs[0].name} takes inputs of shape {tuple(input_shape)}")
