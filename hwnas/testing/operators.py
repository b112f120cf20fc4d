"""The conformance suite of operators: a test class that inherits it runs every law of operators."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import pytest

from hwnas.core.choice import Argument
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.testing.operator_laws import OPERATOR_LAWS
from hwnas.testing.spaces import space_of
from hwnas.testing.subject import OperatorSubject, places_of_list, places_of_space


class OperatorSuite:
    """Every law of operators. A subclass names a space, whose operators are taken, or lists operators.

    Operators of one family in a list are taken as those of one layer, which share weights in a supernet.
    """

    space: ClassVar[str | SearchSpace | None] = None
    options: ClassVar[Mapping[str, Argument]] = {}
    operators: ClassVar[Sequence[Operator]] = ()

    @pytest.fixture
    def subject(self) -> OperatorSubject:
        """The operators, by place; each is built and run once for all laws."""
        suite: Any = type(self)
        return _subject(suite)

    def test_there_are_operators(self, subject: OperatorSubject) -> None:
        """A suite without operators checks nothing."""
        assert subject.every, "name a space, or list operators"

    @pytest.mark.parametrize("law", OPERATOR_LAWS)
    def test_law(self, subject: OperatorSubject, law: str) -> None:
        """Every law holds for the operators."""
        OPERATOR_LAWS[law](subject)


@lru_cache(maxsize=1)
def _subject(suite: type[OperatorSuite]) -> OperatorSubject:
    if suite.space is None:
        return OperatorSubject(places_of_list(suite.operators))
    return OperatorSubject(places_of_space(space_of(suite.space, suite.options)))
