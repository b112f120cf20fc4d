"""The conformance suite of spaces: a test class that inherits it runs every law of a space and of its networks."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import pytest

from hwnas.core.choice import Argument
from hwnas.core.space import SearchSpace
from hwnas.spaces import load_space
from hwnas.testing.laws import NotApplicableError
from hwnas.testing.network_laws import NETWORK_LAWS
from hwnas.testing.space_laws import SPACE_LAWS
from hwnas.testing.subject import SpaceSubject


class SpaceSuite:
    """Every law of a space. A subclass names the space: a built-in name, `FILE.py:build`, or a SearchSpace.

    Small options make the suite fast: few pixels, few channels, short stages.
    """

    space: ClassVar[str | SearchSpace]
    options: ClassVar[Mapping[str, Argument]] = {}

    @pytest.fixture
    def subject(self) -> SpaceSubject:
        """The space with its networks, made once for all laws."""
        suite: Any = type(self)
        return _subject(suite)

    @pytest.mark.parametrize("law", [*SPACE_LAWS, *NETWORK_LAWS])
    def test_law(self, subject: SpaceSubject, law: str) -> None:
        """Every law holds for the space."""
        try:
            (SPACE_LAWS.get(law) or NETWORK_LAWS[law])(subject)
        except NotApplicableError as reason:
            pytest.skip(str(reason))


@lru_cache(maxsize=1)
def _subject(suite: type[SpaceSuite]) -> SpaceSubject:
    return SpaceSubject(space_of(suite.space, suite.options))


def space_of(space: str | SearchSpace, options: Mapping[str, Argument]) -> SearchSpace:
    """Returns the space that a suite names."""
    return load_space(space, options) if isinstance(space, str) else space
