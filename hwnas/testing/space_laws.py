"""The laws of spaces that need no weights: choices, scopes, conditions, shapes, and costs of built networks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from hwnas.core.arrays import IntArray
from hwnas.core.choice import Option
from hwnas.core.layer import Layer
from hwnas.core.operations import keep
from hwnas.core.operator import Operator, Shape
from hwnas.core.space import channels_of
from hwnas.core.wiring import Flow, Graph
from hwnas.modules.assemble import assembled
from hwnas.modules.precise import precisions_of
from hwnas.spaces.recipe import recipe_choices
from hwnas.testing.laws import Laws, NotApplicableError, require
from hwnas.testing.subject import SpaceSubject

ROWS: Final = 200
# Raw combinations of options that are enumerated to check a space's size.
ENUMERATED: Final = 20_000


def rows_are_inverse(subject: SpaceSubject) -> None:
    space = subject.space
    rows = space.sample_rows(np.random.default_rng(0), ROWS)
    again = space.encode([space.decode(row) for row in rows])
    different = np.flatnonzero((again != rows).any(1))
    require(not len(different), f"row {_first(rows, different)} is decoded and encoded as {_first(again, different)}")
    normal = space.normalise(rows)
    different = np.flatnonzero((normal != rows).any(1))
    require(not len(different), f"a drawn row {_first(rows, different)} is normalised to {_first(normal, different)}")


def archs_survive_json(subject: SpaceSubject) -> None:
    for arch in subject.archs:
        again = subject.space.arch(json.loads(arch.key))
        require(again == arch, f"architecture {arch.key} is read back as {again.key}")


def size_is_no_less_than_samples(subject: SpaceSubject) -> None:
    seen = len(np.unique(subject.space.sample_rows(np.random.default_rng(0), 5_000), axis=0))
    require(subject.space.size >= seen, f"the size is {subject.space.size}, and samples show {seen} architectures")


def size_is_what_enumeration_counts(subject: SpaceSubject) -> None:
    """Looks at a part of a large space: some choices, drawn by chance, keep one option."""
    space = subject.space
    rng = np.random.default_rng(0)
    sizes = [len(choice.options) for choice in space.choices]
    for name in rng.permutation([choice.name for choice in space.choices]):
        if np.prod(sizes, dtype=float) <= ENUMERATED:
            break
        space = keep(space, name, space.choice(name).options[:1])
        sizes = [len(choice.options) for choice in space.choices]
    every = np.unique(space.normalise(np.indices(sizes).reshape(len(sizes), -1).T), axis=0)
    require(space.size == len(every), f"the size of a part is {space.size}, and enumeration counts {len(every)}")


def scope_decides_alone(subject: SpaceSubject) -> None:
    # A layer is given the options of its scope and nothing else, so making every cell is the check.
    for layer, cells in subject.cells.items():
        for index, operator in cells:
            known = operator is None or isinstance(operator, Operator)
            require(
                known, f"layer {layer!r} makes a {type(operator).__name__} of options {index}; make an Operator or None"
            )


def scope_makes_a_difference(subject: SpaceSubject) -> None:
    for layer in subject.space.layers:
        shape = [len(subject.space.choice(name).options) for name in layer.scope]
        keys = np.empty(shape, dtype=object)
        for index, operator in subject.cells[layer.name]:
            keys[index] = operator and operator.key
        for axis, name in enumerate(layer.scope):
            if shape[axis] > 1:
                differs = bool((keys != keys.take([0], axis)).any())
                require(differs, f"layer {layer.name!r} does not depend on {name!r}; take it out of the layer's scope")


def normalising_changes_no_network(subject: SpaceSubject) -> None:
    space = subject.space
    if any(verb in ("tie", "condition") for verb, *_ in space.operations):
        raise NotApplicableError("a tie or a condition that was added later changes networks on purpose")
    sizes = [len(choice.options) for choice in space.choices]
    raw = np.random.default_rng(0).integers(0, sizes, (ROWS, len(sizes)))
    for drawn, normal in zip(raw, space.normalise(raw), strict=True):
        same = subject.computed(_named(subject, drawn)) == subject.computed(_named(subject, normal))
        require(same, f"options {_named(subject, drawn)} are normalised to those of another network: {list(normal)}")


def archs_differ_where_networks_do(subject: SpaceSubject) -> None:
    space = subject.space
    shaping = [choice for choice in space.choices if choice.name not in recipe_choices(space)]
    for arch in subject.archs:
        expressions = subject.computed(arch)
        for choice in shaping:
            for option in choice.options:
                changed = space.decode(space.encode([{**arch, choice.name: option}])[0])
                if changed.key == arch.key:
                    continue
                same = subject.computed(changed) == expressions
                require(
                    not same,
                    f"{choice.name!r} = {option!r} makes another architecture, but the same network, of {arch.key}",
                )


def layers_fit(subject: SpaceSubject) -> None:
    space = subject.space
    for arch in subject.archs:
        shape = space.wiring.run(tuple(space.input_shape), _Fitting(arch))
        given, stated = subject.counts(arch).output_shape, space.output_shape
        require(shape == stated == given, f"network {arch.key}: its output is {shape}, as built {given}, not {stated}")
        require(
            channels_of(shape) == space.classes, f"the output is {shape}, and the space has {space.classes} classes"
        )


def network_costs_are_measured(subject: SpaceSubject) -> None:
    for arch in subject.archs:
        counted, parts = subject.counts(arch), precisions_of(assembled(subject.space, arch))
        measured = {
            "flops": counted.cost.flops,
            "params": counted.cost.params,
            "bytes": counted.weight_bytes(parts),
        }
        for name, value in measured.items():
            stated = subject.space.cost(name, arch)
            require(stated == value, f"network {arch.key}: {name} are {stated:,} by its operators, {value:,} as built")


def network_peaks_are_measured(subject: SpaceSubject) -> None:
    bound = any(isinstance(part, Graph) for part in subject.space.wiring.parts)  # exact only where there is no cell
    for arch in subject.archs:
        stated, measured = subject.space.cost("peak", arch), subject.counts(arch).peak_bytes
        holds = stated >= measured if bound else stated == measured
        require(holds, f"network {arch.key}: the peak is {stated:,} bytes by its operators, {measured:,} as built")


def ends_are_ends(subject: SpaceSubject) -> None:
    space = subject.space
    rows = space.spread_rows(np.random.default_rng(0), 2_000)
    flops = space.costs("flops", rows)
    least, most = (space.cost("flops", arch) for arch in (space.smallest(), space.largest()))
    require(least <= flops.min(), f"the smallest architecture has {least:,} FLOPs, another has {int(flops.min()):,}")
    require(most >= flops.max(), f"the largest architecture has {most:,} FLOPs, another has {int(flops.max()):,}")


def equal_keys_are_equal_operators(subject: SpaceSubject) -> None:
    for layer, cells in subject.cells.items():
        for _, operator in cells:
            if operator is not None:
                other = subject.operators[operator.key]
                require(other == operator, f"layer {layer!r}: {operator!r} has the key of another operator, {other!r}")


SPACE_LAWS: Final[Laws[SpaceSubject]] = {
    "rows and architectures are each other's inverse": rows_are_inverse,
    "an architecture survives JSON": archs_survive_json,
    "the size is at least what samples show": size_is_no_less_than_samples,
    "the size is what enumeration counts": size_is_what_enumeration_counts,
    "a layer is decided by its scope alone": scope_decides_alone,
    "every choice of a scope makes a difference": scope_makes_a_difference,
    "normalising does not change a network": normalising_changes_no_network,
    "architectures differ exactly where networks do": archs_differ_where_networks_do,
    "operators of one key are equal": equal_keys_are_equal_operators,
    "a layer takes what the layer before it gives": layers_fit,
    "costs are those of the built network": network_costs_are_measured,
    "the peak is that of the built network": network_peaks_are_measured,
    "the smallest and the largest architecture are the ends": ends_are_ends,
}


@final
@dataclass(frozen=True)
class _Fitting(Flow[Shape]):
    """The flow of shapes, each compared with the input that the next layer declares."""

    options: Mapping[str, Option]

    def layer(self, layer: Layer, value: Shape) -> Shape | None:
        operator = layer.operator(self.options)
        if operator is None:
            return None
        taken = tuple(operator.input_shape)
        require(taken == value, f"layer {layer.name!r}: {operator.key} takes {taken}, and is given {value}")
        return tuple(operator.output_shape)

    def total(self, graph: str, source: Shape, terms: Sequence[Shape]) -> Shape:
        require(set(terms) <= {source}, f"graph {graph!r} adds shapes {sorted(set(terms))} to {source}")
        return source


def _named(subject: SpaceSubject, row: IntArray) -> dict[str, Option]:
    """The options of a row by name, not normalised."""
    return {choice.name: choice.options[i] for choice, i in zip(subject.space.choices, row, strict=True)}


def _first(rows: IntArray, numbers: IntArray) -> list[int] | None:
    return rows[numbers[0]].tolist() if len(numbers) else None
