"""Going on with a run under another request: what is known stays, and what no longer holds is forgotten."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.requests import flag, option_names
from hwnas.core.space import SearchSpace
from hwnas.errors import RunError
from hwnas.pipeline.evaluations import expected_costs
from hwnas.pipeline.goal import GoalRequest
from hwnas.pipeline.options import FinalRequest, SourcesRequest
from hwnas.pipeline.preflight import Goal
from hwnas.pipeline.request import CHANGEABLE, SearchRequest, plain, search_request, stored_request
from hwnas.pipeline.sources import Sources
from hwnas.pipeline.target import Target
from hwnas.profiler.request import CARRIED
from hwnas.runs.database import SEARCH, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.strategies.problem import trains_alone
from hwnas.strategies.registry import load_strategy_class

# The options of final training that a trained network depends on.
HOW_FINAL: Final = tuple(name for name in option_names(FinalRequest) if name != "final_networks")
# The options that may differ when a run goes on, whatever its strategy, and those that may not where the strategy trains weights.
ALTERABLE: Final = ("device", *option_names(GoalRequest), *option_names(SourcesRequest), *option_names(FinalRequest))
FIXED_BY_WEIGHTS: Final = ("budget_on",)
# The options that name files with measurements, which a run copies.
FILES: Final = ("table", "predictor")
# What run.json says of the search that the request before asked for.
OF_THE_SEARCH: Final = ("tightened", "warnings")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """A change of a run's request, from `before` to `after`."""

    before: SearchRequest
    after: SearchRequest

    @property
    def differing(self) -> dict[str, tuple[Any, Any]]:
        """The options that differ, by name, each before and after; files that are no longer needed do not count."""
        before, after = self.before.options(), self.after.options()
        pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
        return {
            name: (old, new)
            for name, (old, new) in pairs.items()
            if plain(old) != plain(new) and (new or name not in FILES)
        }

    @property
    def changes_the_search(self) -> bool:
        """True where an option differs that the result depends on."""
        return any(name not in CHANGEABLE for name in self.differing)

    @property
    def changes_budgets(self) -> bool:
        """True where budgets must be turned into milliseconds anew."""
        return self._changes("latency_budget", "budget_on", "device")

    def require_possible(self, where: Path) -> None:
        """Raises RunError for an option that trained weights or evaluations depend on."""
        strategies = (self.before.strategy, self.after.strategy)
        allowed = {*ALTERABLE, *CHANGEABLE}
        if any(strategy.trains_weights for strategy in strategies):
            allowed -= {*FIXED_BY_WEIGHTS}
            if all(map(trains_alone, strategies)):
                allowed.add("evaluations")  # no network's weights depend on how many others are trained
        else:
            allowed |= {"strategy", *(name for each in strategies for name in option_names(type(each)))}
        differing = self.differing
        for name in ("strategy", *differing):  # the strategy first: with it, its options differ
            if name in differing and name not in allowed:
                before, after = map(in_words, differing[name])
                condition = name in CARRIED
                advice = f"give it with the device, --device cpu+{name}={after}" if condition else "leave it out"
                raise RunError(f"{where} was started with {flag(name)} {before}, not {after}; {advice}, or start anew")
        first, new = self.before.devices.device[0], self.after.devices.device[0]
        if self.after.strategy.trains_weights and first != new:
            raise RunError(
                f"{where} was started with --device {first}, and --strategy {self.after.strategy_reference} has trained for it; "
                f"give --device {first} first, or start anew"
            )

    def require_useful(self, sources: Sources, where: Path) -> None:
        """Raises RunError for predictors, or networks to fit one, where the run has all that it needs."""
        for name in option_names(SourcesRequest):
            after = self.after.options()[name]
            if after and self._changes(name) and not self._changes("device") and not sources.open_needs:
                raise RunError(
                    f"{flag(name)} {in_words(after)}: {where} has predictors of all that it needs; leave it out, or start anew "
                    f"with --supernet {where}"
                )

    def words(self) -> str:
        """Returns what differs, in words."""
        return ", ".join(
            f"{flag(name)} {in_words(after)} instead of {in_words(before)}"
            for name, (before, after) in self.differing.items()
        )

    def applied(
        self, run: RunFolder, database: RunDatabase, goal: Goal, space: SearchSpace, targets: tuple[Target, ...]
    ) -> dict[str, Any]:
        """Forgets what does not hold under the new request. Returns the facts of run.json under it, to be written at once.

        A process that is killed before they are written leaves a run of the old request, which finds again what is missing.
        """
        facts = run.read()
        pictures = [run.front.with_suffix(end) for end in (".png", ".html")]
        pictures += [
            run.hypervolume,
            run.hypervolume_table,
            run.importance.with_suffix(".png"),
            run.report,
            run.measured_front,
        ]
        for path in (run.front, run.classes, run.importance, *pictures):
            path.unlink(missing_ok=True)
        if self._changes("device"):
            database.forget_tests()  # the first device's precision decides what they are of
        if self._changes(*HOW_FINAL):
            database.forget_final()
            shutil.rmtree(run.final, ignore_errors=True)
            shutil.rmtree(run.path / "models", ignore_errors=True)
        if self._changes("device"):
            shutil.rmtree(run.path / "models", ignore_errors=True)
        known = self._expected(database, goal, space)
        only_longer = set(self.differing) <= {
            "evaluations",
            "until_converged",
            *option_names(FinalRequest),
            *CHANGEABLE,
        }
        earlier = {"request": facts["request"], "until": datetime.now(UTC).isoformat(timespec="seconds")}
        return {name: value for name, value in facts.items() if name not in OF_THE_SEARCH} | {
            "request": self.after.describe(),
            "earlier_requests": [*facts.get("earlier_requests", ()), earlier],
            # A longer search is what it would have been from the start; other searches may use what was found before.
            "earlier_evaluations": facts.get("earlier_evaluations", 0) if only_longer else known,
            "earlier_measurements": database.last_measurement(),
            "first_device": facts.get("first_device", facts["devices"][0]["name"]),
            "devices": [target.describe() for target in targets],
        }

    def _expected(self, database: RunDatabase, goal: Goal, space: SearchSpace) -> int:
        """Stores the costs of all evaluated architectures as the new goal has them. Returns how many there are."""
        archs = {arch_id: evaluation.arch for arch_id, evaluation in database.evaluations(SEARCH).items()}
        database.add_costs(expected_costs(space, goal.costs, archs))
        return len(archs)

    def _changes(self, *names: str) -> bool:
        return any(name in self.differing for name in names)


def alteration_of(run: RunFolder, before: SearchRequest, options: Mapping[str, Any]) -> Alteration:
    """Returns how a run's request changes by options that are given by name; the others stay as they were.

    Raises RunError for options that cannot change, HwnasError for options that cannot be.
    """
    flat = before.options()
    if "strategy" in options:
        kept = option_names(load_strategy_class(options["strategy"]))
        flat = {
            name: value
            for name, value in flat.items()
            if name in kept or name not in option_names(type(before.strategy))
        }
    if "goal" in run.read():
        flat |= dict.fromkeys(FILES, ())  # the run has predictors of its own by now
    alteration = Alteration(before=before, after=search_request({**flat, **options}))
    alteration.require_possible(run.path)
    return alteration


def alteration_back(run: RunFolder, before: SearchRequest) -> Alteration:
    """Returns the change to the request that the run had before. Raises RunError where it had only one."""
    facts = run.read()
    if not facts.get("earlier_requests"):
        raise RunError(f"{run.path} had no other request before; leave out --back")
    after = stored_request({**facts, "request": facts["earlier_requests"][-1]["request"]}, run.json)
    return Alteration(before=before, after=replace(after, sources=before.sources))


def in_words(value: Any) -> str:
    """Returns an option's value as people write it."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
