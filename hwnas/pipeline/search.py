"""A search, from a budget to measured models: profile, fit, train, explore, deploy. Every stage resumes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset
from hwnas.errors import BudgetError, TrainingError
from hwnas.pipeline.config import GRADIENT, Budget, SearchConfig, parse_budgets
from hwnas.pipeline.costs import Costs
from hwnas.pipeline.deploy import Deployment, deploy
from hwnas.pipeline.gradient import GradientStages, TrainedNetworks
from hwnas.pipeline.limits import limits_of
from hwnas.pipeline.predict import Preflight, preflight
from hwnas.pipeline.request import check_sources, checked_request, configured, load_trained, reopen
from hwnas.pipeline.target import Target
from hwnas.pipeline.trained_on import record_training
from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.database import Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder, create_run
from hwnas.runs.front import FrontRow
from hwnas.strategies.problem import Problem
from hwnas.strategies.registry import STRATEGIES
from hwnas.supernet.network import Supernet
from hwnas.train.devices import training_device
from hwnas.train.loop import NetworkJudge, Networks, SubnetJudge, load_supernet, save_supernet, train_supernet
from hwnas.train.recipes import RECIPES, Recipe
from hwnas.train.step import usual_recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The run folder, the front (fastest first), and the budget it was held to."""

    run: RunFolder
    front: tuple[FrontRow, ...]
    latency_budget_ms: float


def search(
    space: SearchSpace | str,
    data: str,
    *,
    device: str | None = None,
    latency_budget_ms: float | None = None,
    out: str | Path = "runs/search",
    config: SearchConfig | None = None,
    reporter: Reporter | None = None,
) -> SearchResult:
    """Searches a space for architectures that trade validation loss for latency, none over the budget when measured.

    `latency_budget_ms` is judged on the median by default. Where it or `device` is None, `config` says it, as it says
    everything else; by default this CPU, and what the largest network takes. A shipped device's name (`hwnas devices`) is
    searched for by its predictor: then nothing is measured, and the budget is held against the upper ends of intervals.

    Raises HwnasError; BudgetError where the budget cannot be met.
    """
    config = config or SearchConfig()
    space = configured(space, config)
    config = replace(config, space=space.reference, space_options=space.options, data=data)
    if device is not None:
        config = replace(config, device=device)
    if latency_budget_ms is not None:
        config = replace(config, latency_budget=f"{latency_budget_ms}ms")
    return start(config, space, Path(out), reporter or Silent())


def start(config: SearchConfig, space: SearchSpace, out: Path, reporter: Reporter) -> SearchResult:
    """A new run. What can be refused is refused before the folder is made."""
    target, data = checked_request(config, space)
    check_sources(config, space, target, data)
    run = create_run(out, config.describe(), space.describe(), data.describe())
    return _Search(run, config, space, data, target, reporter).finish()


def resume(out: Path, reporter: Reporter, given: Mapping[str, Any]) -> SearchResult:
    """Goes on with a run as it was configured; `given` options that differ from that are an error."""
    run, config, space = reopen(out, given)
    target, data = checked_request(config, space, run)
    return _Search(run, config, space, data, target, reporter).finish()


def trained_supernet(
    run: RunFolder, config: SearchConfig, space: SearchSpace, data: Dataset, reporter: Reporter
) -> Supernet:
    """The run's supernet, on the device it is trained on: loaded where it is trained already, else trained from the last
    checkpoint on.

    How it is trained, and on what, becomes `recipe` and `trained_on` of run.json. Raises UnknownNameError, DeviceError.
    """
    device = training_device(config.train_on)
    torch.manual_seed(config.seed)
    supernet = Supernet(space).to(device)
    if run.supernet.exists():
        load_supernet(supernet, run.supernet)
        return supernet
    if config.supernet is not None:
        load_trained(supernet, Path(config.supernet), data)
    else:
        recipe = training_recipe(config, supernet)
        run.write(run.read() | {"recipe": asdict(recipe)})
        record_training(run, device, reporter)
        train_supernet(supernet, data, recipe, seed=config.seed, checkpoint=run.checkpoint, reporter=reporter)
    save_supernet(supernet, run.supernet)
    run.checkpoint.unlink(missing_ok=True)
    return supernet


def training_recipe(config: SearchConfig, supernet: Supernet) -> Recipe:
    """The recipe of a configuration, with its epochs and, where it has one, its learning rate."""
    recipe = RECIPES[usual_recipe(supernet) if config.recipe == "auto" else config.recipe]
    return replace(recipe, epochs=config.epochs, learning_rate=config.learning_rate or recipe.learning_rate)


@dataclass(frozen=True, slots=True)
class _Search:
    """The stages of one run, each from what the folder has already."""

    run: RunFolder
    config: SearchConfig
    space: SearchSpace
    data: Dataset
    target: Target
    reporter: Reporter

    def finish(self) -> SearchResult:
        with self.run.locked(), closing(RunDatabase(self.run.database)) as database:
            costs = Costs(
                run=self.run, config=self.config, space=self.space, target=self.target, reporter=self.reporter
            )
            with self.run.stage("profile and fit"):
                predictor, energy = costs.latency(), costs.energy()
            with self.run.stage("preflight"):
                ready = self._preflight(costs, predictor, energy)
            if self.config.strategy == GRADIENT:
                front = self._by_gradient(predictor, energy, ready, database)
            else:
                front = self._by_evaluation(predictor, energy, ready[0], database)
        if not self.target.timed:
            self.reporter.note(
                f"not timed: of {self.config.device} latencies are predicted, and budgets held against the upper ends of their "
                f"intervals; copy {self.run.path} to that device, and `hwnas verify` it there"
            )
        return SearchResult(run=self.run, front=tuple(front), latency_budget_ms=max(each.budget_ms for each in ready))

    def _by_evaluation(
        self, predictor: LatencyPredictor, energy: LatencyPredictor | None, ready: Preflight, database: RunDatabase
    ) -> list[FrontRow]:
        """Trains a supernet, and lets a strategy choose which of its networks to judge."""
        with self.run.stage("train"):
            supernet = trained_supernet(self.run, self.config, self.space, self.data, self.reporter)
        judge = SubnetJudge(supernet, self.data)
        with self.run.stage("search"):
            self._explore(predictor, energy, ready, judge, database)
        with self.run.stage("deploy"):
            return deploy(self._deployment(predictor, energy, judge, database, ready.budget_ms), self.reporter)

    def _by_gradient(
        self,
        predictor: LatencyPredictor,
        energy: LatencyPredictor | None,
        ready: Sequence[Preflight],
        database: RunDatabase,
    ) -> list[FrontRow]:
        """Trains a supernet together with the probabilities of its options, for every budget."""
        device = training_device(self.config.train_on)
        if not self.run.front.exists():
            record_training(self.run, device, self.reporter)
        judge = NetworkJudge(self.data, device)
        networks = TrainedNetworks(self.run, self.space, judge)
        budgets_ms = [each.budget_ms for each in ready]
        recipe = training_recipe(self.config, Supernet(self.space))
        self.run.write(self.run.read() | {"recipe": asdict(recipe)})
        stages = GradientStages(
            config=self.config,
            deployment=self._deployment(predictor, energy, networks, database, max(budgets_ms)),
            judge=judge,
            recipe=recipe,
            new_supernet=self._new_supernet,
            reporter=self.reporter,
        )
        return stages.finish(budgets_ms)

    def _new_supernet(self) -> Supernet:
        """As another folder has trained it, or untrained; on the CPU."""
        torch.manual_seed(self.config.seed)
        supernet = Supernet(self.space)
        if self.config.supernet is not None:
            load_trained(supernet, Path(self.config.supernet), self.data)
        return supernet

    def _deployment(
        self,
        predictor: LatencyPredictor,
        energy: LatencyPredictor | None,
        networks: Networks,
        database: RunDatabase,
        budget_ms: float,
    ) -> Deployment:
        return Deployment(
            run=self.run,
            space=self.space,
            data=self.data,
            target=self.target,
            predictor=predictor,
            networks=networks,
            database=database,
            budget_ms=budget_ms,
            budget_on=self.config.budget_on,
            seed=self.config.seed,
            energy=energy,
        )

    def _preflight(self, costs: Costs, predictor: LatencyPredictor, energy: LatencyPredictor | None) -> list[Preflight]:
        """Of every budget, each resolved once and for all."""
        facts = self.run.read()
        budgets = parse_budgets(self.config.latency_budget)
        if "latency_budgets_ms" in facts:
            budgets = [Budget(milliseconds=budget_ms) for budget_ms in facts["latency_budgets_ms"]]
        largest_ms = costs.largest_ms(predictor) if any(budget.milliseconds is None for budget in budgets) else 0.0
        limits = limits_of(self.config, energy)
        try:
            ready = [
                preflight(predictor, self.space, budget, self.config.budget_on, largest_ms=largest_ms, limits=limits)
                for budget in budgets
            ]
        except BudgetError:
            if self.run.table.exists():
                again = f"--predictor {self.run.predictor}"
                if energy is not None:
                    again += f" --energy-predictor {self.run.energy_predictor}"
                self.reporter.note(f"what was measured is kept: search again with {again}")
            raise
        budgets_ms = [each.budget_ms for each in ready]
        known = {"latency_budget_ms": max(budgets_ms), "latency_budgets_ms": budgets_ms}
        self.run.write(facts | known)
        error = predictor.report.get("held_out", {}).get("mape", float("nan"))
        of = f" of {predictor.report['source']}, none of this space" if predictor.report.get("cold") else ""
        self.reporter.note(
            f"latency of {self.space.name} {self.target.place} ({self.config.budget_on}): {ready[0].fastest_ms:.4g} to "
            f"{ready[0].slowest_ms:.4g} ms, predicted within {100 * error:.1f} % on held-out networks{of}; the budget of "
            f"{' and of '.join(f'{budget_ms:.4g} ms' for budget_ms in budgets_ms)} can be met"
        )
        return ready

    def _explore(
        self,
        predictor: LatencyPredictor,
        energy: LatencyPredictor | None,
        ready: Preflight,
        judge: SubnetJudge,
        database: RunDatabase,
    ) -> None:
        """Replays what was evaluated before: the strategy asks for the same architectures again, and the database answers."""
        known = database.evaluations()
        ticks = iter(self.reporter.track(range(self.config.evaluations), "evaluating architectures"))

        def loss(rows_NC: IntArray) -> FloatArray:
            result = []
            for row in rows_NC:
                next(ticks, None)
                arch = self.space.decode(row)
                if arch.id not in known:
                    known[arch.id] = _evaluated(arch, judge, float(predictor.predict_ms(row[None])[0]))
                    database.add_evaluation(known[arch.id])
                result.append(known[arch.id].loss_val)
            return np.array(result)

        problem = search_problem(self.config, self.space, predictor, ready, loss, energy)
        STRATEGIES[self.config.strategy](problem, evaluations=self.config.evaluations, seed=self.config.seed)


def search_problem(
    config: SearchConfig,
    space: SearchSpace,
    predictor: LatencyPredictor,
    ready: Preflight,
    loss: Callable[[IntArray], FloatArray],
    energy: LatencyPredictor | None = None,
) -> Problem:
    """What a strategy is to solve: predicted latency, the budget on its interval's upper end, the other limits."""
    limits = {limit.cost: partial(limit.over, space) for limit in limits_of(config, energy)}
    return Problem(
        space=space,
        latency_ms=predictor.predict_ms,
        loss=loss,
        limits={"latency": lambda rows: predictor.upper_ms(rows, config.budget_on) / ready.budget_ms - 1} | limits,
        fastest_C=space.encode([ready.fastest])[0],
    )


def _evaluated(arch: Arch, judge: SubnetJudge, predicted_ms: float) -> Evaluation:
    score = judge.validation(arch)
    if not np.isfinite(score.loss):
        raise TrainingError(f"network {arch.id} of the trained supernet has loss {score.loss}; train with a lower rate")
    return Evaluation(arch, score.loss, score.accuracy, predicted_ms)
