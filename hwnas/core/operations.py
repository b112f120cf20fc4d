"""Operations on spaces, values in and values out: fewer options, choices tied together, choices made conditional.

Every choice keeps its name, so a table or predictor of the space serves what is made of it. What was done is recorded
(`SearchSpace.operations`), so that files can make the space again. Names are patterns: `stage*.kernel`.
"""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from hwnas.core.choice import Choice, Condition, Option
from hwnas.core.choices import Choices
from hwnas.core.condition import conjunction, simplified
from hwnas.core.space import Operation, SearchSpace
from hwnas.errors import SpaceError


def keep(space: SearchSpace, pattern: str, options: Sequence[Option]) -> SearchSpace:
    """The choices that match keep only those of the options.

    Raises SpaceError where nothing matches, where nothing would be left, and where the first option goes that stands for
    a choice being switched off.
    """
    return _kept(space, {choice.name: set(options) for choice in _matching(space, pattern)})


def fix(space: SearchSpace, pattern: str, option: Option) -> SearchSpace:
    """The choices that match have one option. Raises SpaceError where one of them does not have it."""
    return keep(space, pattern, (option,))


def drop(space: SearchSpace, pattern: str, option: Option) -> SearchSpace:
    """The choices that match lose an option. Raises SpaceError where none has it, or one has no other."""
    having = [choice for choice in _matching(space, pattern) if option in choice.options]
    if not having:
        raise SpaceError(f"no choice that matches {pattern!r} has the option {option!r}")
    return _kept(space, {choice.name: set(choice.options) - {option} for choice in having})


def split(space: SearchSpace, name: str) -> dict[Option, SearchSpace]:
    """The space in parts, one for each option of a choice."""
    return {option: fix(space, name, option) for option in space.choice(name).options}


def tie(space: SearchSpace, pattern: str) -> SearchSpace:
    """The choices that match take the option of the first of them. Raises SpaceError where their options differ."""
    return _tied(space, [choice.name for choice in _matching(space, pattern)])


def condition(space: SearchSpace, pattern: str, when: Mapping[str, Sequence[Option]]) -> SearchSpace:
    """The choices that match are on only where all of `when` holds as well; elsewhere they have their first option.

    Raises SpaceError where other choices depend on them.
    """
    return _conditional(space, [choice.name for choice in _matching(space, pattern)], when)


def restricted(
    space: SearchSpace, *, fixed: Sequence[str] = (), dropped: Sequence[str] = (), tied: Sequence[str] = ()
) -> SearchSpace:
    """Operations in words: `PATTERN=OPTION` of what is fixed and dropped, `PATTERN` of what is tied. Raises SpaceError."""
    for text in fixed:
        space = fix(space, *_pattern_and_option(space, "--fix", text))
    for text in dropped:
        space = drop(space, *_pattern_and_option(space, "--drop", text))
    for pattern in tied:
        space = tie(space, pattern)
    return space


def replayed(space: SearchSpace, operations: Sequence[Operation]) -> SearchSpace:
    """The space after recorded operations. Raises SpaceError where they do not fit it any more."""
    for verb, *arguments in operations:
        if verb not in REPLAY:
            raise SpaceError(
                f"unknown operation {verb!r} on space {space.name}; this version knows {', '.join(REPLAY)}"
            )
        space = REPLAY[verb](space, *arguments)
    return space


# ---- parts


def _matching(space: SearchSpace, pattern: str) -> list[Choice]:
    found = [choice for choice in space.choices if fnmatchcase(choice.name, pattern)]
    if not found:
        raise SpaceError(f"no choice of {space.name} matches {pattern!r}; it has {', '.join(space.by_name)}")
    return found


def _pattern_and_option(space: SearchSpace, flag: str, text: str) -> tuple[str, Option]:
    """An option is known by how it is written: 7, 0.5, true, none."""
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
    """Only those options of each choice named, and of what is tied to it."""
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
    made = _consistent(space, smaller, (("keep", {name: list(left) for name, left in kept.items()}),))
    for choice in space.choices:
        has_other = made.choice(choice.name).options[0] != choice.options[0]
        if has_other and made.choice(choice.name).when and not _sees_switches(space, choice):
            raise SpaceError(
                f"{choice.name} cannot lose {choice.options[0]!r}, which is what it is where it is switched off; "
                f"keep it, or drop it from what switches {choice.name} off as well"
            )
    return made


def _sees_switches(space: SearchSpace, choice: Choice) -> bool:
    """Whether its layers see what switches the choice off; if not, they rely on its first option to say so."""
    switches = {name for clause in choice.when for name, _ in clause}
    return all(switches <= set(layer.scope) for layer in space.layers if choice.name in layer.scope)


def _consistent(space: SearchSpace, choices: tuple[Choice, ...], operations: tuple[Operation, ...]) -> SearchSpace:
    """Conditions speak only of options that are left; what can never be switched on has only its first option."""
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
                raise SpaceError(f"what is left of {space.name} cannot meet its requirements {space.requires}")
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
        raise SpaceError(f"a tie takes two choices; there is only {first.name}")
    for other in others:
        if other.options != first.options:
            raise SpaceError(f"{other.name} has options {other.options}, {first.name} {first.options}; drop some first")
    if {choice.tied_to for choice in space.choices} & set(names) or any(each.tied_to for each in (first, *others)):
        raise SpaceError(f"some of {', '.join(names)} are tied already; tie all of them at once")
    # The first one is on wherever any of them is, or it could not say what they are.
    conditions = [choice.when for choice in (first, *others)]
    when = () if () in conditions else tuple(dict.fromkeys(clause for each in conditions for clause in each))
    if set(when) != set(first.when) and not _sees_switches(space, first):
        raise SpaceError(
            f"{first.name} would stand where it is switched off; tie choices that are switched on by the same"
        )
    made = {first.name: replace(first, when=when)}
    made |= {other.name: replace(other, tied_to=first.name) for other in others}
    choices = tuple(made.get(choice.name, choice) for choice in space.choices)
    return _made(space, choices, space.requires, (("tie", list(names)),))


def _conditional(space: SearchSpace, names: Sequence[str], when: Mapping[str, Sequence[Option]]) -> SearchSpace:
    strange = sorted(set(when) - set(space.by_name))
    if strange:
        raise SpaceError(f"{space.name} has no choice {strange[0]!r}; it has {', '.join(space.by_name)}")
    deciding = {name for choice in space.choices for clause in choice.when for name, _ in clause}
    deciding |= {name for clause in space.requires for name, _ in clause} | {each.tied_to for each in space.choices}
    if deciding & set(names):
        raise SpaceError(f"{min(deciding & set(names))} decides about other choices; it cannot be made conditional")
    clause = tuple((name, tuple(options)) for name, options in when.items())
    choices = tuple(
        replace(choice, when=conjunction(choice.when, clause)) if choice.name in names else choice
        for choice in space.choices
    )
    operation = ("condition", list(names), {name: list(options) for name, options in when.items()})
    return _made(space, choices, space.requires, (operation,))


REPLAY: Final[Mapping[str, Callable[..., SearchSpace]]] = {"keep": _kept, "tie": _tied, "condition": _conditional}
