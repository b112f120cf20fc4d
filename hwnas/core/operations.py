"""Operations that return a new space: keep, fix or drop options, tie choices, make choices conditional, split, add, quantise.

Every choice keeps its name, so tables and predictors of the original space work for the new one. `SearchSpace.operations`
records the operations, so that files can make the space again. Names of choices are patterns such as `stage*.kernel`.
"""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from hwnas.core.choice import Choice, Condition, Option
from hwnas.core.choices import Choices
from hwnas.core.condition import conjunction, joint, simplified
from hwnas.core.layer import Layer, Options
from hwnas.core.operator import Operator
from hwnas.core.precise import FLOAT32, PRECISIONS, Precise
from hwnas.core.space import Operation, SearchSpace
from hwnas.core.wiring import with_layers
from hwnas.errors import SpaceError, UnknownNameError, did_you_mean

# The end of the name of a choice that is the precision of a layer.
PRECISION: Final = "precision"


def keep(space: SearchSpace, pattern: str, options: Sequence[Option]) -> SearchSpace:
    """Returns the space in which matching choices keep only the given options.

    Raises SpaceError where no choice matches, where a choice would have no option left, or where a choice would lose the
    first option, which stands for "switched off".
    """
    return _kept(space, {choice.name: set(options) for choice in _matching(space, pattern)})


def fix(space: SearchSpace, pattern: str, option: Option) -> SearchSpace:
    """Returns the space in which matching choices have one option. Raises SpaceError where a choice lacks the option."""
    return keep(space, pattern, (option,))


def drop(space: SearchSpace, pattern: str, option: Option) -> SearchSpace:
    """Returns the space in which matching choices lose an option.

    Raises SpaceError where no choice has the option, or where a choice has no other option.
    """
    affected = [choice for choice in _matching(space, pattern) if option in choice.options]
    if not affected:
        raise SpaceError(f"no choice that matches {pattern!r} has the option {option!r}")
    return _kept(space, {choice.name: set(choice.options) - {option} for choice in affected})


def split(space: SearchSpace, name: str) -> dict[Option, SearchSpace]:
    """Returns one part of the space per option of a choice."""
    return {option: fix(space, name, option) for option in space.choice(name).options}


def tie(space: SearchSpace, pattern: str) -> SearchSpace:
    """Returns the space in which matching choices take the option of the first of them.

    Raises SpaceError where the options of the choices differ.
    """
    return _tied(space, [choice.name for choice in _matching(space, pattern)])


def condition(space: SearchSpace, pattern: str, when: Mapping[str, Sequence[Option]]) -> SearchSpace:
    """Returns the space in which matching choices are on only where `when` holds, too; else they take their first option.

    Raises SpaceError where other choices depend on a matching choice.
    """
    return _conditional(space, [choice.name for choice in _matching(space, pattern)], when)


def add(space: SearchSpace, choices: Mapping[str, Sequence[Option]]) -> SearchSpace:
    """Returns the space with further choices, by name, that no layer reads. Raises SpaceError for a name that it has."""
    return _added(space, choices)


def with_precisions(space: SearchSpace, precisions: Sequence[str]) -> SearchSpace:
    """Returns the space with a choice `LAYER.precision` for every layer that can be quantised: its precision in the model file.

    `fp32` is float32, `int8` quantises convolutions and matrix products with what stands between them (SimQ-NAS, Sridhar et
    al. 2023). The choice is on where the layer is not empty; where it is off, it takes the first precision. Raises
    UnknownNameError for another precision, SpaceError where a layer has the choice already.
    """
    for precision in precisions:
        if precision not in PRECISIONS:
            raise UnknownNameError("precision of a block", precision, list(PRECISIONS))
    return _with_precisions(space, precisions)


def precision_choices(space: SearchSpace) -> dict[str, str]:
    """Returns the choice of the precision of every layer that has one, by the layer's name (`with_precisions`)."""
    return {layer.name: layer.make.choice for layer in space.layers if isinstance(layer.make, _InPrecision)}


def with_float32(space: SearchSpace, options: Mapping[str, Option]) -> dict[str, Option]:
    """Returns the options of an architecture of the same space without precisions, with the precisions of a float32 network.

    Every choice of a precision that `options` lack is `fp32`, or its first option where it has no `fp32`.
    """
    choices = (space.choice(name) for name in precision_choices(space).values())
    missing = [choice for choice in choices if choice.name not in options and not choice.tied_to]
    return {**options, **{one.name: FLOAT32 if FLOAT32 in one.options else one.options[0] for one in missing}}


def restricted(
    space: SearchSpace, *, fixed: Sequence[str] = (), dropped: Sequence[str] = (), tied: Sequence[str] = ()
) -> SearchSpace:
    """Applies operations in the syntax of the command line: `PATTERN=OPTION` to fix or drop, `PATTERN` to tie.

    Raises SpaceError.
    """
    for text in fixed:
        space = fix(space, *_pattern_and_option(space, "--fix", text))
    for text in dropped:
        space = drop(space, *_pattern_and_option(space, "--drop", text))
    for pattern in tied:
        space = tie(space, pattern)
    return space


def replayed(space: SearchSpace, operations: Sequence[Operation]) -> SearchSpace:
    """Returns the space after recorded operations. Raises SpaceError where an operation no longer fits the space."""
    for verb, *arguments in operations:
        if verb not in REPLAY:
            raise SpaceError(
                f"unknown operation {verb!r} on space {space.name}; this version knows {', '.join(REPLAY)}"
            )
        space = REPLAY[verb](space, *arguments)
    return space


# ---- parts


def _matching(space: SearchSpace, pattern: str) -> list[Choice]:
    matching = [choice for choice in space.choices if fnmatchcase(choice.name, pattern)]
    if not matching:
        close = did_you_mean(pattern, space.by_name)
        raise SpaceError(f"no choice of {space.name} matches {pattern!r}; it has {', '.join(space.by_name)}{close}")
    return matching


def _pattern_and_option(space: SearchSpace, flag: str, text: str) -> tuple[str, Option]:
    """Splits `PATTERN=OPTION`. An option is written as in Python or JSON: 7, 0.5, true, none."""
    pattern, equals, written = text.rpartition("=")
    if not equals:
        raise SpaceError(f"{flag} {text!r} is not PATTERN=OPTION; write {flag} 'stage*.kernel=7'")
    options = [option for choice in _matching(space, pattern) for option in choice.options]
    for option in options:
        if written in (str(option), json.dumps(option)):
            return pattern, option
    known = ", ".join(dict.fromkeys(map(str, options)))
    raise SpaceError(f"{flag} {text!r}: no choice that matches {pattern!r} has the option {written}; options: {known}")


def _kept(space: SearchSpace, options: Mapping[str, Set[Option] | Sequence[Option]]) -> SearchSpace:
    """Returns the space with only these options of each named choice, and of the choices tied to it."""
    by_leader = {space.choice(name).tied_to or name: allowed for name, allowed in options.items()}
    kept = {
        choice.name: tuple(option for option in choice.options if option in by_leader[choice.tied_to or choice.name])
        for choice in space.choices
        if (choice.tied_to or choice.name) in by_leader
    }
    for name, left in kept.items():
        if not left:
            raise SpaceError(f"{name} would have no option left; it has {space.choice(name).options}")
    smaller = tuple(replace(choice, options=kept.get(choice.name, choice.options)) for choice in space.choices)
    result = _consistent(space, smaller, (("keep", {name: list(left) for name, left in kept.items()}),))
    for choice in space.choices:
        new = result.choice(choice.name)
        if new.options[0] != choice.options[0] and new.when and not _sees_switches(space, choice):
            raise SpaceError(
                f"{choice.name} cannot lose {choice.options[0]!r}, its option where it is switched off; keep that option, "
                f"or drop options that switch {choice.name} off as well"
            )
    return result


def _sees_switches(space: SearchSpace, choice: Choice) -> bool:
    """Returns True if every layer of the choice has the switches of the choice in its scope.

    Other layers rely on the first option to tell that the choice is switched off, but for a precision, which is off only where
    it changes nothing.
    """
    switches = {name for clause in choice.when for name, _ in clause}
    layers = [layer for layer in space.layers if choice.name in layer.scope]
    precise = precision_choices(space)
    return all(switches <= set(layer.scope) or precise.get(layer.name) == choice.name for layer in layers)


def _consistent(space: SearchSpace, choices: tuple[Choice, ...], operations: tuple[Operation, ...]) -> SearchSpace:
    """Returns the space in which conditions name only options that are left.

    A choice that can never be switched on keeps only its first option.
    """
    while True:
        by_name = {choice.name: choice for choice in choices}
        conditions = [simplified(choice.when, by_name) for choice in choices]
        smaller = tuple(
            replace(choice, when=when or ())
            if when is not None
            else replace(choice, options=choice.options[:1], when=(), tied_to="")
            for choice, when in zip(choices, conditions, strict=True)
        )
        if smaller == choices:
            requires = simplified(space.requires, by_name)
            if requires is None:
                raise SpaceError(
                    f"no architecture left in {space.name} can meet its requirements {space.requires}; keep more options"
                )
            return _made(space, choices, requires, operations)
        choices = smaller


def _made(
    space: SearchSpace, choices: tuple[Choice, ...], requires: Condition, operations: tuple[Operation, ...]
) -> SearchSpace:
    return replace(
        space, choices=Choices(choices, requires), requires=requires, operations=(*space.operations, *operations)
    )


def _tied(space: SearchSpace, names: Sequence[str]) -> SearchSpace:
    first, *others = (space.choice(name) for name in names)
    if not others:
        raise SpaceError(f"a tie needs two choices; only {first.name} matches")
    for other in others:
        if other.options != first.options:
            raise SpaceError(f"{other.name} has options {other.options}, {first.name} {first.options}; drop some first")
    if {choice.tied_to for choice in space.choices} & set(names) or any(choice.tied_to for choice in (first, *others)):
        raise SpaceError(f"some of {', '.join(names)} are tied already; tie all of them at once")
    # The first choice must be on wherever any of them is, because it decides the option of the others.
    conditions = [choice.when for choice in (first, *others)]
    when = () if () in conditions else tuple(dict.fromkeys(clause for condition in conditions for clause in condition))
    if set(when) != set(first.when) and not _sees_switches(space, first):
        raise SpaceError(
            f"{first.name} would have an effect where it is switched off; tie choices with the same conditions"
        )
    tied = {first.name: replace(first, when=when)}
    tied |= {other.name: replace(other, tied_to=first.name) for other in others}
    choices = tuple(tied.get(choice.name, choice) for choice in space.choices)
    return _made(space, choices, space.requires, (("tie", list(names)),))


def _conditional(space: SearchSpace, names: Sequence[str], when: Mapping[str, Sequence[Option]]) -> SearchSpace:
    unknown = sorted(set(when) - set(space.by_name))
    if unknown:
        close = did_you_mean(unknown[0], space.by_name)
        raise SpaceError(f"{space.name} has no choice {unknown[0]!r}; it has {', '.join(space.by_name)}{close}")
    deciding = {name for choice in space.choices for clause in choice.when for name, _ in clause}
    deciding |= {name for clause in space.requires for name, _ in clause} | {choice.tied_to for choice in space.choices}
    if deciding & set(names):
        raise SpaceError(f"other choices depend on {min(deciding & set(names))}, so it cannot be made conditional")
    clause = tuple((name, tuple(options)) for name, options in when.items())
    choices = tuple(
        replace(choice, when=conjunction(choice.when, clause)) if choice.name in names else choice
        for choice in space.choices
    )
    operation = ("condition", list(names), {name: list(options) for name, options in when.items()})
    return _made(space, choices, space.requires, (operation,))


def _added(space: SearchSpace, choices: Mapping[str, Sequence[Option]]) -> SearchSpace:
    new = [Choice(name, tuple(options)) for name, options in choices.items()]
    operation = ("add", {choice.name: list(choice.options) for choice in new})
    return _made(space, (*space.choices, *new), space.requires, (operation,))


def _with_precisions(space: SearchSpace, precisions: Sequence[str]) -> SearchSpace:
    choices: dict[str, Choice] = {}
    for layer in space.layers:
        cells = dict(layer.cells(space.by_name))
        if placed := {index for index, operator in cells.items() if operator and operator.is_quantisable}:
            when = _where(space, layer, placed)
            choices[layer.name] = Choice(f"{layer.name}.{PRECISION}", tuple(precisions), when)

    def changed(layer: Layer) -> Layer:
        if layer.name not in choices:
            return layer
        name = choices[layer.name].name
        return replace(layer, scope=(*layer.scope, name), make=_InPrecision(layer, name))

    all_choices = Choices((*space.choices, *choices.values()), space.requires)
    operation = ("precisions", list(precisions))
    wiring = with_layers(space.wiring, changed)
    return replace(space, choices=all_choices, wiring=wiring, operations=(*space.operations, operation))


def _where(space: SearchSpace, layer: Layer, cells: Set[tuple[int, ...]]) -> Condition:
    """Returns a condition that holds where a layer's options are one of `cells`.

    It names each choice by itself, so it may hold more often. A choice that is off takes its first option: the choice is named
    only where that is in no cell, and with what switches it on.
    """
    result: Condition = ()
    for axis, name in enumerate(layer.scope):
        choice = space.choice(space.choice(name).tied_to or name)
        indices = {index[axis] for index in cells}
        if len(indices) == len(choice.options) or (choice.when and 0 in indices):
            continue
        literal = (choice.name, tuple(choice.options[i] for i in sorted(indices)))
        result = joint(joint(result, ((literal,),)), choice.when)
    return result


@dataclass(frozen=True, slots=True)
class _InPrecision:
    """Makes the operators of a layer in the precision that a choice names."""

    layer: Layer
    choice: str

    def __call__(self, options: Options) -> Operator | None:
        operator, precision = self.layer.operator(options), str(options[self.choice])
        if operator is None or precision == FLOAT32 or not operator.is_quantisable:
            return operator
        return Precise(input_shape=operator.input_shape, inner=operator, precision=precision)


REPLAY: Final[Mapping[str, Callable[..., SearchSpace]]] = {
    "keep": _kept,
    "tie": _tied,
    "condition": _conditional,
    "add": _added,
    "precisions": _with_precisions,
}
