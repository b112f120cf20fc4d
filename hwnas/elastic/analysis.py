"""Which sizes of a traced network are elastic, and the network's parts with their choices."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import fx

from hwnas.core.choice import Choice
from hwnas.elastic.axes import Atom, freeze, leaves
from hwnas.elastic.blocks import Part, parts_of
from hwnas.elastic.elasticity import Elasticity
from hwnas.elastic.importance import IMPORTANCES, Importance
from hwnas.elastic.program import Program
from hwnas.elastic.rules import Known, argument, name_of, new_axes, sizes_of
from hwnas.elastic.trace import Trace
from hwnas.elastic.weights import Stored, can_be_sliced, ordered, stored
from hwnas.errors import SpaceError
from hwnas.spaces.compose import pick

# An elastic size that, halved, saves less than this share of its part's FLOPs is not worth a choice.
WORTH: Final = 0.02
# The most combinations of elastic sizes in one part: each is an operator that has to be measured.
MOST_OPERATORS: Final = 64
# Operations that only attention has.
OF_ATTENTION: Final = frozenset({"scaled_dot_product_attention", "softmax", "_softmax", "bmm", "matmul"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticPart:
    """A part of a network with its program, and the choices of its sizes by keyword."""

    part: Part
    program: Program
    choices: Mapping[str, Choice]


def elastic_parts(trace: Trace, elasticity: Elasticity, importance: Importance | None) -> list[ElasticPart]:
    """Returns the parts of a network, each with what is elastic in it. Units are in the order of importance."""
    known = _known(trace)
    parts = parts_of(trace)
    tensors = _stored(trace, known, (), IMPORTANCES["none"])
    rigid = [_program(trace, known, part, name, tensors) for part, name in zip(parts, _names(parts), strict=True)]
    users = _users(rigid)
    elastic = _elastic_atoms(users, known, trace, elasticity)
    tensors = _stored(trace, known, elastic, importance or IMPORTANCES[elasticity.importance])
    shared = _shared_names({atom: users[atom] for atom in elastic})
    result = []
    for one in rigid:
        own = one.all_atoms()
        atoms = tuple(atom for atom in elastic if atom in own)
        program = replace(
            one,
            stored={node: tensors[node] for node in one.stored},
            atoms=atoms,
            kernels=tuple(_kernels(one)) if elasticity.kernels else (),
            normed=any(atom.is_normed for atom in atoms),
        )
        choices = dict(_choices(program, elasticity, shared))
        result.append(ElasticPart(part=one.part, program=program, choices=choices))
    return result


def whole_program(trace: Trace, name: str) -> Program:
    """Returns the program of a whole network, in which nothing is elastic."""
    known = _known(trace)
    part = Part(trace.input, trace.operations)
    return _program(trace, known, part, name, _stored(trace, known, (), IMPORTANCES["none"]))


def _known(trace: Trace) -> Known:
    known = Known()
    for node in trace.nodes:
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor):
            known.outputs[node] = [new_axes(node, "" if node in trace.tensors else "it is the input's")]
        elif node.op == "call_function":
            known.add(node)
    freeze(known.axes(trace.output), "it is the output's")
    return known


def _names(parts: Sequence[Part]) -> Iterator[str]:
    """Yields a name of each part: the path of its module, or where it stands."""
    taken = set[str]()
    for number, part in enumerate(parts):
        end = "stem" if number == 0 else "head" if number == len(parts) - 1 else ""
        holds_others = sum(f"{other.path}.".startswith(f"{part.path}.") for other in parts) > 1
        name = part.block or (part.layer if holds_others else part.path) or end or part.layer or "between"
        if part.block and sum(other.block == part.block for other in parts) > 1:
            name += ".attention" if OF_ATTENTION & {name_of(node) for node in part.operations} else ".mlp"
        base, more = name, 2
        while name.replace(".", "_") in taken:
            name, more = f"{base}.{more}", more + 1
        taken.add(name.replace(".", "_"))
        yield name


def _program(trace: Trace, known: Known, part: Part, name: str, tensors: Mapping[fx.Node, Stored]) -> Program:
    """Returns the program of a part without elastic sizes."""
    program = Program(name, part, known)
    reads_ids = part.input is trace.input and not part.input.meta["val"].is_floating_point()
    return replace(
        program,
        stored={node: tensors[node] for node in program.nodes if node in tensors},
        vocabulary=_vocabulary(part) if reads_ids else None,
    )


def _vocabulary(part: Part) -> int:
    for node in part.operations:
        if name_of(node) == "embedding":
            return int(sizes_of(argument(node, "weight"))[0] or 1)
    raise SpaceError(
        "the model reads whole numbers that are no ids of an embedding; give an example of float32 numbers"
    )


def _users(programs: Sequence[Program]) -> dict[Atom, list[Program]]:
    """Returns the programs that have each atom, in the order of the network."""
    users: dict[Atom, list[Program]] = {}
    for program in programs:
        for atom in program.all_atoms():
            users.setdefault(atom, []).append(program)
    return users


def _elastic_atoms(
    users: Mapping[Atom, Sequence[Program]], known: Known, trace: Trace, elasticity: Elasticity
) -> list[Atom]:
    """Returns the atoms that become choices, in the order of the network; freezes the others."""
    weighed = {atom for node in trace.tensors for one in known.axes(node) for atom in leaves(one)}
    for atom in weighed:
        programs = users.get(atom, ())
        if not programs:
            atom.freeze("nothing uses it")
        elif len(programs) > 1 and not elasticity.streams and any(one.part.is_residual for one in programs):
            atom.freeze("blocks share it")
        elif len(elasticity.options(atom)) < 2 or (len(programs) == 1 and _saves(programs[0], atom) < WORTH):
            atom.freeze("it saves too little")
    for node in trace.tensors:
        for atom, reason in can_be_sliced(known.axes(node), [atom for atom in weighed if not atom.reason]):
            atom.freeze(reason)
    chosen = [atom for atom in users if atom in weighed and not atom.reason]
    parts = {id(program): program for atom in chosen for program in users[atom]}
    for part in parts.values():
        _leave_few(part, [atom for atom in chosen if any(one is part for one in users[atom])], elasticity)
    return [atom for atom in chosen if not atom.reason]


def _leave_few(program: Program, atoms: Sequence[Atom], elasticity: Elasticity) -> None:
    """Freezes those atoms of a part that save least, where too many operators would have to be measured."""
    cells = 1
    for atom in sorted(atoms, key=lambda atom: _saves(program, atom), reverse=True):
        cells *= len(elasticity.options(atom))
        if cells > MOST_OPERATORS:
            atom.freeze("other sizes of the same part save more")


def _saves(program: Program, atom: Atom) -> float:
    """Returns the share of a part's FLOPs that half of an atom's units save."""
    whole = program.cost({}, {}).flops
    return 1 - program.cost({atom: (atom.size or 1) // 2}, {}).flops / max(1, whole)


def _stored(trace: Trace, known: Known, elastic: Sequence[Atom], importance: Importance) -> dict[fx.Node, Stored]:
    """Returns all tensors with their units in the order of importance, the most important first."""
    trained = {
        name: (tensor, known.axes(node)) for node, (name, tensor) in trace.tensors.items() if name in trace.parameters
    }
    orders = {atom: torch.argsort(importance(atom, trained), descending=True, stable=True) for atom in elastic}
    return {
        node: stored(name, ordered(tensor, axes, orders), axes, elastic, name in trace.parameters, name in trace.frozen)
        for node, (name, tensor) in trace.tensors.items()
        for axes in [known.axes(node)]
    }


def _kernels(program: Program) -> Iterator[fx.Node]:
    """Yields the convolutions whose kernels can be cropped: square, odd, larger than 3, padded so that their centre stays."""
    for node in program.part.operations:
        if name_of(node) != "conv2d":
            continue
        weight = argument(node, "weight")
        if weight not in program.stored or len(weight.users) > 1:
            continue
        height, width = sizes_of(weight)[2:]
        if height is None or height != width or height <= 3 or height % 2 == 0:
            continue
        padding, half = argument(node, "padding"), height // 2
        is_centred = padding == "same" or (not isinstance(padding, str) and set(padding) == {half})
        if is_centred and set(argument(node, "dilation")) == {1} and program.stored[weight].along < 0:
            yield node


def _choices(program: Program, elasticity: Elasticity, shared: Mapping[Atom, str]) -> Iterator[tuple[str, Choice]]:
    """Yields keyword and choice of every elastic size of a part, the atoms first."""
    taken = dict[str, int]()

    def key(word: str) -> str:
        taken[word] = taken.get(word, 0) + 1
        return word if taken[word] == 1 else f"{word}{taken[word]}"

    for atom in program.atoms:
        options = elasticity.options(atom)
        if atom in shared:
            yield key("shared"), Choice(shared[atom], options)
        else:
            larger = "heads" if OF_ATTENTION & {name_of(node) for node in program.part.operations} else "groups"
            yield key(larger if program.has_larger_units(atom) else "width"), pick(*options)
    for node in program.kernels:
        yield key("kernel"), pick(*range(3, (sizes_of(argument(node, "weight"))[-1] or 1) + 1, 2))


def _shared_names(users: Mapping[Atom, Sequence[Program]]) -> dict[Atom, str]:
    """Returns the name of the choice of every atom that several parts have: after the part that makes it."""
    names = dict[Atom, str]()
    for atom, programs in users.items():
        if len(programs) > 1:
            base, more = f"{programs[0].name}.output", 2
            name = base
            while name in names.values():
                name, more = f"{base}{more}", more + 1
            names[atom] = name
    return names
