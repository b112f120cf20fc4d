"""Going on with a run under another request: what is known stays, and what no longer holds is forgotten."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.requests import flag, option_names
from hwnas.core.space import SearchSpace
from hwnas.errors import RunError
from hwnas.pipeline.goal import GoalRequest
from hwnas.pipeline.options import FinalRequest, SourcesRequest
from hwnas.pipeline.preflight import Goal
from hwnas.pipeline.request import CHANGEABLE, SearchRequest, plain, search_request
from hwnas.pipeline.sources import Sources
from hwnas.pipeline.target import Target
from hwnas.runs.database import SEARCH, RunDatabase
from hwnas.runs.folder import RunFolder

# The options that a run may go on with others of, whatever its strategy.
ALTERABLE: Final = (
    "device",
    *option_names(GoalRequest),
    *option_names(SourcesRequest),
    *option_names(FinalRequest),
    *CHANGEABLE,
)
# The facts of run.json that are of one request.
OF_A_REQUEST: Final = ("tightened", "warnings")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """A run's request, and the one that it goes on with."""

    before: SearchRequest
    after: SearchRequest

    @property
    def differing(self) -> dict[str, tuple[Any, Any]]:
        """The options that differ, by name, each before and after."""
        before, after = self.before.options(), self.after.options()
        names = [name for name in {**before, **after} if plain(before.get(name)) != plain(after.get(name))]
        return {name: (before.get(name), after.get(name)) for name in names}

    @property
    def is_one(self) -> bool:
        """True where an option differs that decides what a search finds."""
        return any(name not in CHANGEABLE for name in self.differing)

    @property
    def is_of_budgets(self) -> bool:
        """True where budgets must be turned into milliseconds anew."""
        return not self._keeps("latency_budget", "budget_on", "device")

    def require_possible(self, where: Path) -> None:
        """Raises RunError for an option that trained weights or evaluations depend on."""
        strategies = (self.before.strategy, self.after.strategy)
        own = [name for strategy in strategies for name in ("strategy", *option_names(type(strategy)))]
        allowed = ALTERABLE if any(each.trains_weights for each in strategies) else (*ALTERABLE, *own)
        differing = self.differing
        for name in ("strategy", *differing):  # the strategy first: with it, its options differ
            if name in differing and name not in allowed:
                before, after = differing[name]
                raise RunError(
                    f"{where} was started with {flag(name)} {before}, not {after}; leave it out, or start anew"
                )
        first, new = self.before.devices.device[0], self.after.devices.device[0]
        if self.after.strategy.trains_weights and first != new:
            raise RunError(
                f"{where} was started with --device {first}, and --strategy {self.after.strategy_reference} has trained for it; "
                f"give --device {first} first, or start anew"
            )

    def require_useful(self, sources: Sources) -> None:
        """Raises RunError for a file or a number of networks for predictors, where the run has all that it needs."""
        for name in option_names(SourcesRequest):
            given = name in self.differing and self.differing[name][1]
            if given and not sources.open_needs:
                raise RunError(
                    f"{flag(name)} {_told(given)}: the run has predictors of all that it needs; leave it out, or start anew with "
                    f"--supernet and {flag(name)}"
                )

    def words(self) -> str:
        """Returns what differs, in words."""
        return ", ".join(
            f"{flag(name)} {after} instead of {before}" for name, (before, after) in self.differing.items()
        )

    def apply(
        self, run: RunFolder, database: RunDatabase, goal: Goal, space: SearchSpace, targets: tuple[Target, ...]
    ) -> None:
        """Makes the new request the run's; what the old one found stays, where it holds.

        A process that is killed in here leaves a run of the old request, which finds again what is missing.
        """
        run.front.unlink(missing_ok=True)
        if not self._keeps("device"):
            database.forget_tests()  # the first device's precision decides what they are of
        if not self._keeps(*option_names(FinalRequest)):
            database.forget_final()
            shutil.rmtree(run.final, ignore_errors=True)
        if not self._keeps("device", *option_names(FinalRequest)):
            shutil.rmtree(run.path / "models", ignore_errors=True)
        known = database.evaluations(SEARCH)
        rows_NC = space.encode([evaluation.arch for evaluation in known.values()])
        columns = {name: cost.values(rows_NC) for name, cost in goal.costs.items()} if known else {}
        database.add_costs(
            {
                arch_id: {name: float(values_N[number]) for name, values_N in columns.items()}
                for number, arch_id in enumerate(known)
            }
        )
        self._record(run, len(known), targets)

    def _record(self, run: RunFolder, known: int, targets: tuple[Target, ...]) -> None:
        facts = {name: value for name, value in run.read().items() if name not in OF_A_REQUEST}
        earlier = {"request": facts["request"], "until": datetime.now(UTC).isoformat(timespec="seconds")}
        changed = {
            "request": self.after.describe(),
            "earlier_requests": [*facts.get("earlier_requests", ()), earlier],
            "earlier_evaluations": known,
            "first_device": facts.get("first_device", facts["devices"][0]["name"]),
            "devices": [target.describe() for target in targets],
        }
        run.write(facts | changed)

    def _keeps(self, *names: str) -> bool:
        return not any(name in self.differing for name in names)


def _told(value: Any) -> str:
    """Returns an option's value as people write it."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def alteration_of(before: SearchRequest, options: Mapping[str, Any], where: Path) -> Alteration:
    """Returns how a run's request changes by options that are given by name; the others stay as they were.

    Raises RunError for options that cannot change, HwnasError for options that cannot be.
    """
    flat = before.options()
    if options.get("strategy", before.strategy_reference) != before.strategy_reference:
        for name in option_names(type(before.strategy)):
            del flat[name]
    if "device" in options and plain(options["device"]) != plain(flat["device"]):
        flat |= {"table": (), "predictor": ()}  # the run has copied what served the devices so far
    alteration = Alteration(before=before, after=search_request({**flat, **options}))
    alteration.require_possible(where)
    return alteration
