"""Laws of `hwnas check`: one verdict per law, exit code 2 where one is broken, and no need of pytest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import ConformanceError
from hwnas.spaces import load_space
from hwnas.testing.check import OPERATORS, check_space
from hwnas.testing.laws import NotApplicableError, naming, require
from hwnas.testing.network_laws import NETWORK_LAWS
from hwnas.testing.operator_laws import OPERATOR_LAWS
from hwnas.testing.space_laws import SPACE_LAWS
from hwnas.testing.subject import SpaceSubject

WRONG = Path(__file__).with_name("wrong.py")
LAWS = [*OPERATOR_LAWS, *SPACE_LAWS, *NETWORK_LAWS]
WITHOUT_PYTEST = "import sys\nsys.modules['pytest'] = None\nfrom hwnas.__main__ import main\nsys.argv = ['hwnas', *sys.argv[1:]]\nmain()"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that cannot import pytest."""
    return subprocess.run([sys.executable, "-c", WITHOUT_PYTEST, *arguments], capture_output=True, text=True)


def test_a_space_that_is_right_holds_every_law() -> None:
    report = check_space(load_space(f"{WRONG}:right"))
    assert [verdict.law for verdict in report.verdicts] == LAWS
    assert {verdict.verdict for verdict in report.verdicts} == {"holds"}
    assert report.operators == report.looked_at == 4


def test_a_broken_law_names_place_operator_and_both_values_and_networks_wait() -> None:
    report = check_space(load_space(f"{WRONG}:free"))
    broken = {verdict.law: verdict.detail for verdict in report.broken}
    assert "body: free(" in broken["declared FLOPs, parameters and statistics are the module's"]
    assert "cost().flops is 0, and its module has 18,432" in str(broken)
    networks = [verdict for verdict in report.verdicts if verdict.part == "networks"]
    assert {verdict.verdict for verdict in networks} == {"not checked"}
    assert {verdict.detail for verdict in networks} == {"repair what is broken above first"}


def test_of_many_operators_some_are_looked_at_and_the_report_says_so() -> None:
    space = load_space("mobilenet", {"resolution": 16, "width": 0.5})
    report = check_space(space)
    assert report.looked_at == OPERATORS < report.operators == len(space.operators())
    assert not report.broken


def test_the_command_exits_with_2_and_a_line_per_law_without_pytest() -> None:
    outcome = run("check", f"{WRONG}:free")
    assert outcome.returncode == 2
    lines = outcome.stdout.splitlines()
    assert len(lines) == len(LAWS) + 1
    assert lines[1].startswith(
        "broken      operators: declared FLOPs, parameters and statistics are the module's: body: free("
    )
    assert lines[-1].endswith("laws hold; built and ran 4 of 4 operators")
    assert f"{WRONG}:free breaks 2 of {len(LAWS)} laws" in outcome.stderr


def test_the_command_gives_json_and_exits_with_0_where_all_laws_hold() -> None:
    outcome = run("check", f"{WRONG}:right", "--json")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert (report["broken"], report["operators"]) == (0, 4)
    assert [law["law"] for law in report["laws"]] == LAWS


def test_a_space_that_does_not_exist_is_refused_in_one_line() -> None:
    outcome = run("check", "mobilnet")
    assert outcome.returncode == 2
    assert "did you mean 'mobilenet'?" in outcome.stderr and outcome.stderr.count("\n") == 1


def test_an_error_in_somebodys_code_becomes_one_that_names_the_place() -> None:
    with pytest.raises(ConformanceError, match="^stem: ZeroDivisionError: division by zero$"), naming("stem"):
        1 / 0  # noqa: B018
    with pytest.raises(ConformanceError, match="^first$"), naming("stem"):
        require(False, "first")


def test_a_space_whose_choices_were_tied_says_why_a_law_says_nothing_of_it() -> None:
    space = load_space(f"{WRONG}:right")
    from hwnas.core.operations import condition

    conditional = condition(
        load_space("conv_macro", {"resolution": 16, "features": 16}), "conv4.kernel", {"conv1.kernel": (5,)}
    )
    law = SPACE_LAWS["normalising does not change a network"]
    law(SpaceSubject(space))
    with pytest.raises(NotApplicableError, match="changes networks on purpose"):
        law(SpaceSubject(conditional))
