"""The conformance suite of runtimes: a test class that inherits it runs every law on each device that is usable here."""

from typing import ClassVar

import pytest

from hwnas.testing.laws import NotApplicableError
from hwnas.testing.runtime_laws import RUNTIME_LAWS, RuntimeSubject


class RuntimeSuite:
    """Every law of a runtime. A subclass names the runtime: a built-in name or `FILE.py:RUNTIME`."""

    runtime: ClassVar[str]

    @pytest.fixture
    def subject(self) -> RuntimeSubject:
        """The runtime, with real networks to load."""
        return RuntimeSubject(self.runtime)

    @pytest.mark.parametrize("law", RUNTIME_LAWS)
    def test_law(self, subject: RuntimeSubject, law: str) -> None:
        """Every law holds for the runtime."""
        try:
            RUNTIME_LAWS[law](subject)
        except NotApplicableError as reason:
            pytest.skip(str(reason))
