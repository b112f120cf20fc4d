"""Conformance suites: the laws that every part of hwnas obeys, for parts of your own, too.

| part | suite | in the test file |
|---|---|---|
| space | `hwnas.testing.spaces.SpaceSuite` | `space = "FILE.py:build"`, `options = {...}` |
| operator | `hwnas.testing.operators.OperatorSuite` | `space = "FILE.py:build"`, or `operators = (MyOperator(...), ...)` |
| runtime | `hwnas.testing.runtimes.RuntimeSuite` | `runtime = "FILE.py:RUNTIME"` |
| task | `hwnas.testing.tasks` | see the module |
| cost | `hwnas.testing.costs` | see the module |
| evaluator | `hwnas.testing.evaluators` | see the module |
| strategy | `hwnas.testing.strategies` | see the module |
| data set | `hwnas.testing.datasets` | see the module |

A test file inherits a suite, and with it all its laws:

    from hwnas.testing.spaces import SpaceSuite

    class TestMine(SpaceSuite):
        space = "my_space.py:build"
        options = {"resolution": 16}

`pytest` runs them, one test per law. The suites need pytest, which hwnas itself does not. The laws of spaces, operators and
runtimes are plain functions that raise ConformanceError (`space_laws`, `network_laws`, `operator_laws`, `runtime_laws`), so
`hwnas check FILE.py:build` (`check`) runs them without pytest.
"""

import sys

if sys.modules.get("pytest"):  # not where an import of pytest is blocked
    import pytest

    # Failing laws then show the values that they compared.
    pytest.register_assert_rewrite(
        *(f"{__name__}.{suite}" for suite in ("costs", "datasets", "evaluators", "operators", "strategies", "tasks"))
    )
