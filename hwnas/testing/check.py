"""Checks a space, its operators and its networks against their laws, without pytest: one verdict per law."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from hwnas.core.references import cause
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, Terminated
from hwnas.testing.laws import Laws, NotApplicableError, Subject
from hwnas.testing.network_laws import NETWORK_LAWS
from hwnas.testing.operator_laws import OPERATOR_LAWS
from hwnas.testing.space_laws import SPACE_LAWS
from hwnas.testing.subject import OperatorSubject, SpaceSubject, places_of_space

# Operators of a space that are built and run; of more, this many are drawn, every kind in turn.
OPERATORS: Final = 60
BETWEEN: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One law: whether it holds, and if not, what is wrong and where, or why it was not checked."""

    part: Literal["operators", "space", "networks"]
    law: str
    verdict: Literal["holds", "broken", "not checked"]
    detail: str = ""

    def describe(self) -> dict[str, Any]:
        """Returns the verdict as a mapping, fit for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdicts of a space, and how many of its operators were looked at one by one."""

    verdicts: tuple[Verdict, ...]
    operators: int
    looked_at: int

    @property
    def broken(self) -> tuple[Verdict, ...]:
        """The laws that do not hold."""
        return tuple(verdict for verdict in self.verdicts if verdict.verdict == "broken")

    def describe(self) -> dict[str, Any]:
        """Returns the report as a mapping, fit for JSON."""
        laws = [verdict.describe() for verdict in self.verdicts]
        return {"operators": self.operators, "looked_at": self.looked_at, "broken": len(self.broken), "laws": laws}


def check_space(space: SearchSpace, reporter: Reporter | None = None) -> Report:
    """Returns a verdict for every law of a space, of its operators and of its networks.

    Networks are checked where the operators hold their laws: their failures would only repeat what is wrong.
    """
    reporter = reporter or Silent()
    places = places_of_space(space)
    operators = OperatorSubject(places=places, most=OPERATORS)
    networks = SpaceSubject(space, between=BETWEEN)
    verdicts = _verdicts("operators", OPERATOR_LAWS, operators, space, reporter)
    verdicts += _verdicts("space", SPACE_LAWS, networks, space, reporter)
    if any(verdict.verdict == "broken" for verdict in verdicts):
        reason = "repair what is broken above first"
        verdicts += [Verdict(part="networks", law=law, verdict="not checked", detail=reason) for law in NETWORK_LAWS]
    else:
        verdicts += _verdicts("networks", NETWORK_LAWS, networks, space, reporter)
    return Report(verdicts=tuple(verdicts), operators=len(operators.every), looked_at=len(operators.sample))


def _verdicts(
    part: Literal["operators", "space", "networks"],
    laws: Laws[Subject],
    subject: Subject,
    space: SearchSpace,
    reporter: Reporter,
) -> list[Verdict]:
    words: list[tuple[str, Callable[[Subject], None]]] = list(laws.items())
    return [_verdict(part, law, check, subject, space) for law, check in reporter.track(words, f"laws of {part}")]


def _verdict(
    part: Literal["operators", "space", "networks"],
    law: str,
    check: Callable[[Subject], None],
    subject: Subject,
    space: SearchSpace,
) -> Verdict:
    try:
        check(subject)
    except NotApplicableError as reason:
        return Verdict(part=part, law=law, verdict="not checked", detail=str(reason))
    except Terminated:
        raise
    except HwnasError as error:
        return Verdict(part=part, law=law, verdict="broken", detail=str(error))
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        return Verdict(part=part, law=law, verdict="broken", detail=cause(error, space.reference.rpartition(":")[0]))
    return Verdict(part=part, law=law, verdict="holds")
