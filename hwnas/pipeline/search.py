"""A search, from a budget to measured models: profile, fit, train, explore, deploy. Every stage resumes."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.core.arch import Arch
from hwnas.core.cost import FloatArray, IntArray
from hwnas.core.operations import restricted
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError, DataError, HwnasError, RunError, SpaceError, TrainingError, UnknownNameError
from hwnas.latency.measurements import FEWEST_NETWORKS
from hwnas.latency.predictor import LatencyPredictor
from hwnas.pipeline.config import GRADIENT, Budget, SearchConfig, parse_budgets
from hwnas.pipeline.deploy import Deployment, deploy
from hwnas.pipeline.gradient import GradientStages, TrainedNetworks, parts_of
from hwnas.pipeline.limits import limits_of
from hwnas.pipeline.predict import Preflight, fit_table, measurements, preflight, usable_predictor, usable_table
from hwnas.profiler.device import Conditions, conditions_here
from hwnas.profiler.measure import GroupTimer
from hwnas.profiler.profile import network_subject, profile
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.table import read_table
from hwnas.runs.database import Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder, create_run
from hwnas.runs.front import FrontRow
from hwnas.spaces import load_space, reload_space
from hwnas.strategies.problem import Problem
from hwnas.strategies.registry import STRATEGIES
from hwnas.supernet.network import Supernet
from hwnas.train.data import Dataset, load_data
from hwnas.train.loop import NetworkJudge, Networks, SubnetJudge, load_supernet, save_supernet, train_supernet
from hwnas.train.recipes import RECIPES, Recipe
from hwnas.train.steps import usual_recipe


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
    everything else; by default this CPU, and what the largest network takes.

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


def configured(space: SearchSpace | str, config: SearchConfig) -> SearchSpace:
    """The space, loaded with the configuration's options where it is a name, and restricted as that says."""
    loaded = load_space(space, config.space_options) if isinstance(space, str) else space
    return restricted(loaded, fixed=config.fix, dropped=config.drop, tied=config.tie)


def start(config: SearchConfig, space: SearchSpace, out: Path, reporter: Reporter) -> SearchResult:
    """A new run. What can be refused is refused before the folder is made."""
    conditions, data = _checked_request(config, space)
    _check_sources(config, space, conditions, data)
    run = create_run(out, config.describe(), space.describe(), data.describe())
    return _Search(run, config, space, data, conditions, reporter).finish()


def resume(out: Path, reporter: Reporter, given: Mapping[str, Any]) -> SearchResult:
    """Goes on with a run as it was configured; `given` options that differ from that are an error."""
    run, config, space = reopen(out, given)
    conditions, data = _checked_request(config, space, run)
    return _Search(run, config, space, data, conditions, reporter).finish()


def reopen(out: Path, given: Mapping[str, Any]) -> tuple[RunFolder, SearchConfig, SearchSpace]:
    """A run, its configuration and its space. Raises RunError where `given` options differ from the configuration."""
    run = RunFolder(out)
    facts = run.read()
    try:
        config = SearchConfig(**facts["config"])
    except (KeyError, TypeError):
        raise RunError(f"{run.json}: not a configuration of this version; start again under another --out") from None
    for name, value in given.items():
        if getattr(config, name) != value:
            raise RunError(
                f"{out} was started with {name} = {getattr(config, name)}, not {value}; leave it out, or start anew"
            )
    return run, config, reload_space(facts["space"])


def conditions_of(config: SearchConfig) -> Conditions:
    """The conditions a search asks for, on this machine."""
    return conditions_here(
        config.device,
        threads=config.threads,
        batch=config.batch,
        precision=config.precision,
        runtime_options=config.runtime_options,
    )


def _checked_request(
    config: SearchConfig, space: SearchSpace, run: RunFolder | None = None
) -> tuple[Conditions, Dataset]:
    if config.strategy == GRADIENT:
        parts_of(config)
    elif config.strategy not in STRATEGIES:
        raise UnknownNameError("strategy", config.strategy, [*STRATEGIES, GRADIENT])
    if space.size < 2:
        raise SpaceError(f"{space.name} has only one architecture; there is nothing to search")
    return conditions_of(config), load_for(space, config, run)


def _check_sources(config: SearchConfig, space: SearchSpace, conditions: Conditions, data: Dataset) -> None:
    """Raises where a predictor, table or supernet that is to be used cannot be."""
    if config.predictor is not None:
        usable_predictor(Path(config.predictor), space, conditions.describe())
    elif config.table is not None:
        usable_table(Path(config.table), space, conditions.describe())
    elif config.networks < min(FEWEST_NETWORKS, space.size):
        raise HwnasError(f"--networks {config.networks} is too few to fit a predictor; give at least {FEWEST_NETWORKS}")
    if config.supernet is not None:
        _load_trained(Supernet(space), Path(config.supernet), data)


def _load_trained(supernet: Supernet, folder: Path, data: Dataset) -> None:
    """The supernet of another folder. Raises RunError unless it was trained on this very training split."""
    run = RunFolder(folder)
    facts = run.read()
    if facts.get("data", {}).get("digest") != data.digest():
        raise RunError(
            f"{folder}: trained on other data than this ({facts['config']['data']}, seed {facts['config']['seed']}, "
            f"limit {facts['config']['limit_images']}); test data would be among it: give the same data options"
        )
    load_supernet(supernet, run.supernet)


def load_for(space: SearchSpace, config: SearchConfig, run: RunFolder | None = None) -> Dataset:
    """The data of a search, as the space takes it.

    Raises DataError where it does not fit the space, or is not what `run` was started with.
    """
    data = load_data(
        config.data,
        space.input_shape,
        classes=space.classes,
        vocabulary=space.vocabulary,
        seed=config.seed,
        limit=config.limit_images,
    )
    if run is not None and run.read().get("data", {}).get("digest") != data.digest():
        raise DataError(f"{config.data} has changed since {run.path} was started; restore it, or start anew")
    return data


def trained_supernet(
    run: RunFolder, config: SearchConfig, space: SearchSpace, data: Dataset, reporter: Reporter
) -> Supernet:
    """The run's supernet: loaded where it is trained already, else trained from the last checkpoint on.

    How it is trained becomes `recipe` of run.json.
    """
    torch.manual_seed(config.seed)
    supernet = Supernet(space)
    if run.supernet.exists():
        load_supernet(supernet, run.supernet)
        return supernet
    if config.supernet is not None:
        _load_trained(supernet, Path(config.supernet), data)
    else:
        recipe = training_recipe(config, supernet)
        run.write(run.read() | {"recipe": asdict(recipe)})
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
    conditions: Conditions
    reporter: Reporter

    def finish(self) -> SearchResult:
        with self.run.locked(), closing(RunDatabase(self.run.database)) as database:
            with self.run.stage("profile and fit"):
                predictor = self._predictor()
            with self.run.stage("preflight"):
                ready = self._preflight(predictor)
            if self.config.strategy == GRADIENT:
                front = self._by_gradient(predictor, ready, database)
            else:
                front = self._by_evaluation(predictor, ready[0], database)
        return SearchResult(run=self.run, front=tuple(front), latency_budget_ms=max(each.budget_ms for each in ready))

    def _by_evaluation(self, predictor: LatencyPredictor, ready: Preflight, database: RunDatabase) -> list[FrontRow]:
        """Trains a supernet, and lets a strategy choose which of its networks to judge."""
        with self.run.stage("train"):
            supernet = trained_supernet(self.run, self.config, self.space, self.data, self.reporter)
        judge = SubnetJudge(supernet, self.data)
        with self.run.stage("search"):
            self._explore(predictor, ready, judge, database)
        with self.run.stage("deploy"):
            return deploy(self._deployment(predictor, judge, database, ready.budget_ms), self.reporter)

    def _by_gradient(
        self, predictor: LatencyPredictor, ready: Sequence[Preflight], database: RunDatabase
    ) -> list[FrontRow]:
        """Trains a supernet together with the probabilities of its options, for every budget."""
        judge = NetworkJudge(self.data, torch.device("cpu"))
        networks = TrainedNetworks(self.run, self.space, judge)
        budgets_ms = [each.budget_ms for each in ready]
        recipe = training_recipe(self.config, Supernet(self.space))
        self.run.write(self.run.read() | {"recipe": asdict(recipe)})
        stages = GradientStages(
            config=self.config,
            deployment=self._deployment(predictor, networks, database, max(budgets_ms)),
            judge=judge,
            recipe=recipe,
            new_supernet=self._new_supernet,
            reporter=self.reporter,
        )
        return stages.finish(budgets_ms)

    def _new_supernet(self) -> Supernet:
        """As another folder has trained it, or untrained."""
        torch.manual_seed(self.config.seed)
        supernet = Supernet(self.space)
        if self.config.supernet is not None:
            _load_trained(supernet, Path(self.config.supernet), self.data)
        return supernet

    def _deployment(
        self, predictor: LatencyPredictor, networks: Networks, database: RunDatabase, budget_ms: float
    ) -> Deployment:
        return Deployment(
            run=self.run,
            space=self.space,
            data=self.data,
            conditions=self.conditions,
            predictor=predictor,
            networks=networks,
            database=database,
            budget_ms=budget_ms,
            budget_on=self.config.budget_on,
            seed=self.config.seed,
        )

    # ---- latency

    def _predictor(self) -> LatencyPredictor:
        conditions = self.conditions.describe()
        if self.run.predictor.exists():
            return usable_predictor(self.run.predictor, self.space, conditions)
        if self.config.predictor is not None:
            predictor = usable_predictor(Path(self.config.predictor), self.space, conditions)
        else:
            self._table()
            unconverged = len(read_table(self.run.table).unconverged)
            if unconverged:
                self.reporter.note(f"{unconverged} measurements of the table did not converge: is the device busy?")
            # Winners are measured in any case; the predictor's held-out error says what noise has done to it.
            predictor = fit_table(self.run.table, self.space, allow_unconverged=True)
        predictor.save(self.run.predictor)
        return predictor

    def _table(self) -> None:
        if self.config.table is not None:
            usable_table(Path(self.config.table), self.space, self.conditions.describe())
            shutil.copyfile(self.config.table, self.run.table)
            return
        profile(
            self.space,
            self.conditions,
            self.run.table,
            networks=self.config.networks,
            reporter=self.reporter,
            seed=self.config.seed,
        )

    def _preflight(self, predictor: LatencyPredictor) -> list[Preflight]:
        """Of every budget, each resolved once and for all."""
        facts = self.run.read()
        budgets = parse_budgets(self.config.latency_budget)
        if "latency_budgets_ms" in facts:
            budgets = [Budget(milliseconds=budget_ms) for budget_ms in facts["latency_budgets_ms"]]
        largest_ms = self._largest_ms() if any(budget.milliseconds is None for budget in budgets) else 0.0
        limits = limits_of(self.config)
        try:
            ready = [
                preflight(predictor, self.space, budget, self.config.budget_on, largest_ms=largest_ms, limits=limits)
                for budget in budgets
            ]
        except BudgetError:
            self.reporter.note(f"what was measured is kept: search again with --predictor {self.run.predictor}")
            raise
        budgets_ms = [each.budget_ms for each in ready]
        known = {"latency_budget_ms": max(budgets_ms), "latency_budgets_ms": budgets_ms}
        self.run.write(facts | known | {"conditions": self.conditions.describe()})
        error = predictor.report.get("held_out", {}).get("mape", float("nan"))
        of = f" of {predictor.report['source']}, none of this space" if predictor.report.get("cold") else ""
        self.reporter.note(
            f"latency of {self.space.name} here ({self.config.budget_on}): {ready[0].fastest_ms:.4g} to "
            f"{ready[0].slowest_ms:.4g} ms, predicted within {100 * error:.1f} % on held-out networks{of}; the budget of "
            f"{' and of '.join(f'{budget_ms:.4g} ms' for budget_ms in budgets_ms)} can be met"
        )
        return ready

    def _largest_ms(self) -> float:
        """The largest network's latency: from the table, or measured now."""
        if self.run.table.exists():
            found = measurements(read_table(self.run.table), self.space).of_network(
                self.space.encode([self.space.largest()])[0], self.config.budget_on
            )
            if found is not None:
                return found
        subject = network_subject(self.space, self.space.largest(), self.conditions)
        rng = np.random.default_rng(self.config.seed)
        timer = GroupTimer(subject, Protocol(), self.conditions.threads, self.reporter, rng)
        ((row,), _) = next(timer.groups([subject]))
        return float(row[f"{self.config.budget_on}_ms"])

    # ---- accuracy

    def _explore(
        self, predictor: LatencyPredictor, ready: Preflight, judge: SubnetJudge, database: RunDatabase
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

        problem = search_problem(self.config, self.space, predictor, ready, loss)
        STRATEGIES[self.config.strategy](problem, evaluations=self.config.evaluations, seed=self.config.seed)


def search_problem(
    config: SearchConfig,
    space: SearchSpace,
    predictor: LatencyPredictor,
    ready: Preflight,
    loss: Callable[[IntArray], FloatArray],
) -> Problem:
    """What a strategy is to solve: predicted latency, the budget on its interval's upper end, the other limits."""
    limits = {limit.cost: partial(limit.over, space) for limit in limits_of(config)}
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
