"""The stages of a search: preflight, search, measure, finish, deploy. Each takes what the run folder has already."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, final

from hwnas.core.reporter import Reporter
from hwnas.errors import BudgetError
from hwnas.evaluate.training import NetworkTraining
from hwnas.pipeline.alteration import Alteration
from hwnas.pipeline.checked import CheckedRequest
from hwnas.pipeline.costs import made_costs
from hwnas.pipeline.deploy import Deployment, test, thinned, undominated, write_classes
from hwnas.pipeline.evaluations import Evaluations, expected_costs
from hwnas.pipeline.final import FinalTraining
from hwnas.pipeline.models import Exporter
from hwnas.pipeline.preflight import Goal, Preflight
from hwnas.pipeline.reading import write_reading
from hwnas.pipeline.report import write_report
from hwnas.pipeline.result import SearchResult
from hwnas.pipeline.rows import write_rows
from hwnas.pipeline.settle import Settling
from hwnas.pipeline.sources import Predictors
from hwnas.pipeline.supernet import new_supernet, recipe_of
from hwnas.pipeline.teacher import teacher_of
from hwnas.pipeline.trained_on import record_threads, record_training
from hwnas.pipeline.warm_start import MOST, GivenRows, WarmStart
from hwnas.pipeline.weights import RunWeights
from hwnas.pipeline.worth import FrontScores, Worth, worth_of
from hwnas.runs.database import FINAL, SEARCH, Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow
from hwnas.strategies.workshop import Training, Workshop
from hwnas.train.teacher import Teacher


@final
@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of one run; with an `alteration` it goes on under another request."""

    run: RunFolder
    checked: CheckedRequest
    reporter: Reporter
    alteration: Alteration | None = None

    def finish(self) -> SearchResult:
        """Goes through all stages. Raises HwnasError; BudgetError where a budget cannot be met."""
        with self.run.locked(), closing(RunDatabase(self.run.database)) as database:
            self._keep_warm_start()
            goal, deployment = self._preflight(database)
            if not self.run.front.exists():
                record_threads(self.run, self.reporter)
            if not self.checked.request.strategy.trains_weights:
                with self.run.stage("train"):
                    _ = self.weights.supernet
            elif not self.run.front.exists():
                record_training(self.run, self.weights.device, self.reporter)
            chosen, missed = self._searched(goal, deployment)
            front = self._deployed(deployment, chosen) if chosen else []
            if missed:
                if self.run.read().get("earlier_requests"):
                    self.reporter.note(
                        f"`hwnas search --resume --back --out {self.run.path}` goes on by the request before"
                    )
                raise missed[0]
        for target in self.checked.targets:
            if not target.timed:
                self.reporter.note(
                    f"not timed: latencies of {target.name} are predicted, and budgets are held against the upper ends of their "
                    f"intervals; `hwnas bundle {self.run.path}` packs them to be measured there"
                )
        first = next(iter(deployment.latencies))
        budgets_ms = [budget_ms[first] for budget_ms in goal.budgets_ms if first in budget_ms]
        return SearchResult(
            run=self.run,
            front=tuple(front),
            latency_budget_ms=max(budgets_ms, default=None),
            warnings=tuple(self.run.read().get("warnings", ())),
        )

    @cached_property
    def weights(self) -> RunWeights:
        """The weights of the run, as far as they are asked for."""
        return RunWeights(self.run, self.checked, self.reporter, trains=True)

    def _preflight(self, database: RunDatabase) -> tuple[Goal, Deployment]:
        checked, run = self.checked, self.run
        request = checked.request
        predictors = Predictors(run=run, sources=checked.sources, seed=request.seed, reporter=self.reporter)
        with run.stage("profile and fit"):
            predicted = {need.name: predictors.get(need) for need in checked.sources.needs}
        costs = made_costs(checked, predicted)
        latencies = {need.name: costs.predicted[need.name] for need in checked.sources.needs if need.kind == "latency"}
        preflight = Preflight(
            space=checked.space,
            request=request.goal,
            targets=checked.targets,
            predictors=predictors,
            latencies=latencies,
            costs=costs.all,
            metrics=checked.task.metrics,
            reporter=self.reporter,
        )
        with run.stage("preflight"):
            try:
                anew = self.alteration is not None and self.alteration.changes_budgets
                goal = preflight.goal({} if anew else run.read())
            except BudgetError:
                self._keep_predictors()
                raise
        facts = run.read()
        if self.alteration is not None:
            facts = self.alteration.applied(run, database, goal, checked.space, checked.targets)
        run.write(facts | _facts_of(goal, next(iter(latencies))))
        deployment = Deployment(
            run=run,
            space=checked.space,
            data=checked.data,
            task=checked.task,
            goal=goal,
            latencies={
                name: (target, cost) for (name, cost), target in zip(latencies.items(), checked.targets, strict=True)
            },
            networks=self.weights.networks,
            database=database,
            exporter=Exporter(run=run, space=checked.space, data=checked.data, targets=checked.targets),
            seed=request.seed,
            reporter=self.reporter,
        )
        return goal, deployment

    def _keep_predictors(self) -> None:
        needs = self.checked.sources.needs
        files = [self.run.predictor_of(need.kind, need.target.name) for need in needs]
        measured = [self.run.table_of(need.target.name) for need in needs]
        if self.alteration is None and any(path.exists() for path in measured):
            again = " ".join(f"--predictor {path}" for path in files if path.exists())
            self.reporter.note(f"what was measured is kept: search again with {again}")

    def _keep_warm_start(self) -> None:
        """Copies what the search was given: it is not needed again."""
        source = self.checked.request.start.warm_start
        if source is not None and not self.run.warm_start.exists():
            WarmStart.gathered(source, self.checked.space).save(self.run.warm_start)

    def _given(self, goal: Goal, database: RunDatabase) -> GivenRows | None:
        """Returns what the search begins with. Metrics that hold for the run's own weights become evaluations of the run."""
        if self.checked.request.start.warm_start is None:
            return None
        warm, space = WarmStart.load(self.run.warm_start), self.checked.space
        rows_NC, known = space.encode([one.arch for one in warm.evaluations]), database.evaluations(SEARCH)
        if not warm.holds_for(self.run, tuple(self.weights.evaluator.stages), [one.name for one in goal.metrics]):
            most = MOST if warm.is_run else len(rows_NC)
            if not known:
                self.reporter.note(
                    f"--warm-start {warm.source}: {min(len(rows_NC), most)} networks, or those of them within the limits, are "
                    "evaluated first"
                )
            return GivenRows(rows_NC, most)
        new = [one for one in warm.evaluations if one.arch.id not in known]
        # Costs first: a process that is killed in between finds both to be missing.
        database.add_costs(expected_costs(space, goal.costs, {one.arch.id: one.arch for one in new}))
        database.add_evaluations(SEARCH, new)
        if new:
            self.reporter.note(f"--warm-start {warm.source}: has the same weights, so its {len(new)} evaluations hold")
        return GivenRows(rows_NC, len(rows_NC))

    def _searched(self, goal: Goal, deployment: Deployment) -> tuple[dict[str, Evaluation], list[BudgetError]]:
        """Architectures within the budgets, by id, and the budgets that none was within: the others are worth having."""
        strategy = self.checked.request.strategy
        wanted = getattr(strategy, "evaluations", 0) * max(1, len(goal.budgets_ms))
        given = self._given(goal, deployment.database)
        known = deployment.database.evaluations(SEARCH)
        evaluations = Evaluations(
            space=self.checked.space,
            database=deployment.database,
            shared=lambda: self.weights.evaluator,
            metrics=goal.metrics,
            costs=goal.costs,
            weights=self.run.weights,
            reporter=self.reporter,
            known=known,
            earlier=dict(islice(known.items(), self.run.read().get("earlier_evaluations", 0))),
            ticks=iter(self.reporter.track(range(wanted), "evaluating architectures")),
        )
        settling = Settling(
            deployment=deployment,
            strategy=strategy,
            workshop=self._workshop(),
            evaluations=evaluations,
            given=given,
        )
        chosen, missed = dict[str, Evaluation](), list[BudgetError]()
        for budget_ms in goal.budgets_ms or ({},):
            try:
                chosen |= {evaluation.arch.id: evaluation for evaluation in settling.settle(budget_ms)}
            except BudgetError as error:
                missed.append(error)
        facts = self.run.read()
        if probed := evaluations.probed(facts.get("probed", ())):
            self.run.write(facts | {"probed": probed})
        return chosen, missed

    def _workshop(self) -> Workshop:
        checked = self.checked
        request = checked.request
        self.run.searches.mkdir(exist_ok=True)
        training = Training(
            data=checked.data,
            task=checked.task,
            recipe=recipe_of(request.training, checked.space),
            device=self.weights.device,
            new_supernet=lambda: new_supernet(checked.space, request.training, checked.data, request.seed),
            supernet=lambda: self.weights.supernet,
        )
        return Workshop(seed=request.seed, folder=self.run.searches, reporter=self.reporter, training=training)

    def _deployed(self, deployment: Deployment, chosen: Mapping[str, Evaluation]) -> list[FrontRow]:
        """Finishes the networks that no other beats, exports them, and writes the front."""
        front, final = undominated(deployment, list(chosen.values())), self.checked.request.final
        kept = front if final.final == "none" else thinned(deployment, front, final.final_networks)
        left_out = len(front) - len(kept)
        if left_out:
            self.reporter.note(
                f"{len(kept)} of {len(front)} networks are trained further, spread over the front (--final-networks "
                f"{final.final_networks})"
            )
        with self.run.stage("final training"):
            finished = self._final(deployment).finished(kept)
        front = undominated(deployment, finished)
        with self.run.stage("deploy"):
            self._export(deployment, front)
            self.run.write(self.run.read() | self._worth(deployment, front).describe())
            write_classes(deployment, front)
            rows = write_rows(deployment, front)
        with self.run.stage("report"):
            write_reading(deployment)
            write_report(self.run)
        close = sum(row.within_noise for row in rows)
        if close:
            self.reporter.note(
                f"{close} of {len(rows)} networks are within their budgets by less than the noise of a measurement (± in the "
                f"table): `hwnas verify` measures them again"
            )
        beaten = len(chosen) - left_out - len(rows)
        if beaten:
            self.reporter.note(
                f"{beaten} of {len(chosen)} networks within their budgets are beaten by others of the front"
            )
        return rows

    def _worth(self, deployment: Deployment, front: Sequence[Evaluation]) -> Worth:
        database = deployment.database
        tests = database.tests(SEARCH) | database.tests(FINAL)
        scores = FrontScores(
            validation=[evaluation.metrics for evaluation in front],
            test=[tests[evaluation.arch.id] for evaluation in front],
            networks=len(database.evaluations(SEARCH)),
        )
        return worth_of(
            scores,
            self.checked.data,
            self.checked.task,
            self.checked.space.output_shape,
            classes_weigh_alike=self.checked.classes_weigh_alike,
        )

    def _export(self, deployment: Deployment, front: Sequence[Evaluation]) -> None:
        """Writes the models of networks with their final weights, and runs them on the test split."""
        is_final = self.checked.request.final.final != "none"
        for evaluation in self.reporter.track(front, "exporting models"):
            if is_final or not all(path.exists() for path in deployment.exporter.files(evaluation.arch.id)):
                predicted_ms = deployment.predicted_ms(evaluation.arch)
                deployment.exporter.export(evaluation, deployment.networks(evaluation), predicted_ms)
        if is_final:
            test(deployment, FINAL, front)

    def _final(self, deployment: Deployment) -> FinalTraining:
        checked = self.checked
        request = checked.request
        return FinalTraining(
            run=self.run,
            space=checked.space,
            data=checked.data,
            task=checked.task,
            request=request.final,
            recipe=recipe_of(request.training, checked.space),
            networks=self.weights.networks,
            teacher=self._teacher() if request.final.is_taught else None,
            database=deployment.database,
            validation=self.weights.validation,
            recalibrate=self.weights.recalibrate,
            device=self.weights.device,
            seed=request.seed,
            reporter=self.reporter,
        )

    def _teacher(self) -> Teacher | None:
        """Returns the teacher of final training: the one of --teacher, or the largest network of the run's supernet."""
        checked = self.checked
        if checked.request.final.final_teacher == "external":
            training = NetworkTraining(
                data=checked.data,
                task=checked.task,
                recipe=recipe_of(checked.request.training, checked.space),
                seed=checked.request.seed,
                device=self.weights.device,
                folder=self.run.teacher,
                reporter=self.reporter,
            )
            return teacher_of(checked.request.training, checked.space, training)
        largest: Teacher = self.weights.networks_of("supernet").network(checked.space.largest())
        return largest


def _facts_of(goal: Goal, first: str) -> dict[str, Any]:
    """Returns what run.json stores of a goal; `first` is the name of the latency on the first device."""
    budgets_ms = [budget_ms[first] for budget_ms in goal.budgets_ms if first in budget_ms]
    return {
        "goal": goal.describe(),
        "latency_budget_ms": max(budgets_ms, default=None),
        "latency_budgets_ms": budgets_ms,
    }
