"""A choice: one decision with a finite, ordered list of options, and what switches it on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hwnas.errors import SpaceError

OPTION_TYPES: Final = (bool, int, float, str)
Option = bool | int | float | str
# What a function that makes a space can be given.
Argument = Option | Sequence[Option]

# A clause holds when each choice it names has one of the options listed; a condition holds when any of its clauses does.
Clause = tuple[tuple[str, tuple[Option, ...]], ...]
Condition = tuple[Clause, ...]


def only_if(*clauses: Mapping[str, Sequence[Option]]) -> Condition:
    """A condition from mappings of choice name to the options that switch on; any one mapping suffices.

    >>> only_if({"stage1.depth": (2, 3)})
    ((('stage1.depth', (2, 3)),),)
    """
    return tuple(tuple((name, tuple(options)) for name, options in clause.items()) for clause in clauses)


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision.

    `when` is empty for a choice that is always on. It is judged on the options as drawn, before anything is
    switched off, so a choice that depends on a conditional one names both.

    `tied_to` names another choice, of the same options, whose option this one takes while it is on.
    """

    name: str
    options: tuple[Option, ...]
    when: Condition = ()
    tied_to: str = ""

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError(f"choice {self.name!r} has no options; give at least one")
        if len(set(self.options)) != len(self.options):
            raise SpaceError(f"choice {self.name!r} lists an option twice: {self.options}")
        for option in self.options:
            if not isinstance(option, OPTION_TYPES):
                raise SpaceError(f"choice {self.name!r}: option {option!r} is not a number or a string")
