"""A choice: one decision with a finite, ordered list of options, and the condition that switches the choice on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hwnas.errors import SpaceError

OPTION_TYPES: Final = (bool, int, float, str)
Option = bool | int | float | str
# An argument of a function that makes a space.
Argument = Option | Sequence[Option]

# A clause holds when each choice it names has one of the options listed; a condition holds when any of its clauses does.
Clause = tuple[tuple[str, tuple[Option, ...]], ...]
Condition = tuple[Clause, ...]


def only_if(*clauses: Mapping[str, Sequence[Option]]) -> Condition:
    """Returns a condition that holds where all options of any one mapping (choice name to options) match.

    >>> only_if({"stage1.depth": (2, 3)})
    ((('stage1.depth', (2, 3)),),)
    """
    return tuple(tuple((name, tuple(options)) for name, options in clause.items()) for clause in clauses)


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision.

    Options are checked once the choice has a name.

    `when` is empty for a choice that is always on. `when` is evaluated on the options as drawn, before any choice is
    switched off, so a choice that depends on a conditional choice must also name what that choice depends on.

    `tied_to` names another choice with the same options; while the tied choice is on, it takes that choice's option.
    """

    name: str
    options: tuple[Option, ...]
    when: Condition = ()
    tied_to: str = ""

    def __post_init__(self) -> None:
        if self.name:  # `compose.pick` has no name yet, and an error must name the place
            self._require_options()

    def _require_options(self) -> None:
        if not self.options:
            raise SpaceError(f"choice {self.name!r} has no options; give at least one")
        for option in self.options:
            if not isinstance(option, OPTION_TYPES):
                raise SpaceError(f"choice {self.name!r}: option {option!r} is not a number or a string")
        if len(set(self.options)) != len(self.options):
            raise SpaceError(f"choice {self.name!r} lists an option twice: {self.options}; leave one out")
