"""The strategy `gradient`: one warm-up, then for every budget a search, a derived network, its training and its time.

All that is done is in the run folder, by epoch or by network, and what follows from it is worked out again: so a resumed
run goes on from there.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import nn

from hwnas.core.arch import Arch
from hwnas.core.costs import PEAK
from hwnas.core.files import replace_file
from hwnas.core.optimum import Limit
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import BudgetError, HwnasError, TrainingError
from hwnas.modules.assemble import network
from hwnas.pipeline.config import SearchConfig
from hwnas.pipeline.deploy import Deployment, deployed, measure
from hwnas.pipeline.limits import limits_of, possible_limits
from hwnas.pipeline.plots import draw_searches
from hwnas.runs.database import Evaluation
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow
from hwnas.strategies.gradient.constraint import Constraint, latency_constraint, sum_constraint
from hwnas.strategies.gradient.penalties import Penalty, penalty
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import Sampler, sampler
from hwnas.strategies.gradient.search import GradientSearch, Phase, Schedule
from hwnas.strategies.gradient.selectors import Selection, Selector, selector
from hwnas.strategies.gradient.tuning import tuned, validation_loss
from hwnas.supernet.check import require_mixable, require_partial
from hwnas.supernet.network import Supernet
from hwnas.train.alone import train_network
from hwnas.train.loop import NetworkJudge, load_weights, save_weights
from hwnas.train.recipes import Recipe

# The share of a supernet's rate at which a network that comes from it is trained further (DARTS-PT, Wang et al. 2021).
FINETUNING: Final = 0.1
# Derivations for one budget, each under a tighter bound.
ATTEMPTS: Final = 8
# Architectures, besides the smallest, that a mixture is compared with before it is trained.
CHECKED: Final = 3
# More than the tolerance of the integer program, so that a network that was over is not derived again.
TIGHTER: Final = 1e-5
# Selectors that run the supernet as a mixture.
MIXING: Final = ("perturbation", "perturbation-tuned", "zero-shot")
# Of the options, for the second half of a progressive search.
PROGRESSIVE: Final = 0.5


@final
@dataclass(frozen=True, slots=True)
class TrainedNetworks:
    """Networks that were trained by themselves, each from its own file in the run folder."""

    run: RunFolder
    space: SearchSpace
    judge: NetworkJudge

    def extract(self, arch: Arch) -> nn.Module:
        """In eval mode. Raises RunError where the file is missing or damaged."""
        module = network(self.space, arch)
        load_weights(module, self.run.weights(arch.id), "search again under another --out")
        return self.judge.prepared(module)


def parts_of(config: SearchConfig) -> tuple[Sampler, Penalty, Selector]:
    """What the configuration names. Raises UnknownNameError, and HwnasError for what does not go together."""
    if config.sampler == "uniform" and (config.progressive or config.unrolled):
        raise HwnasError("--sampler uniform trains no probabilities: neither --progressive nor --unrolled goes with it")
    if config.partial_channels > 1 and config.epochs < 2:
        raise HwnasError("--partial-channels needs 2 --epochs or more: in the second half all channels are trained")
    if config.penalty == "none" and config.penalty_weight is not None:
        raise HwnasError("--penalty none has no weight; leave --penalty-weight out")
    if config.final == "none" and config.final_epochs != SearchConfig().final_epochs:
        raise HwnasError("--final none trains nothing further; leave --final-epochs out")
    chosen = penalty(config.penalty)
    if config.penalty_weight is not None:
        chosen = replace(chosen, weight=config.penalty_weight)
    usual = "magnitude" if config.sampler != "uniform" else "evolution"
    return sampler(config.sampler), chosen, selector(usual if config.selector == "auto" else config.selector)


def phases_of(config: SearchConfig) -> tuple[Phase, ...]:
    """As options fall out, channels come in. The second phase trains them all, whatever the first left out, so that a
    network can be derived by its weights and trained from them."""
    return Phase(partial=config.partial_channels), Phase(kept=PROGRESSIVE if config.progressive else 1.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GradientStages:
    """The stages of one run after its preflight. `new_supernet` makes the supernet as it is before any training of this run,
    on the CPU; what is trained is on the device of `judge`. `deployment.networks` are `TrainedNetworks`."""

    config: SearchConfig
    deployment: Deployment
    judge: NetworkJudge
    recipe: Recipe
    new_supernet: Callable[[], Supernet]
    reporter: Reporter

    def finish(self, budgets_ms: Sequence[float]) -> list[FrontRow]:
        """The front of the networks derived for the budgets, each within its own when measured.

        Raises BudgetError where none is for one of them, TrainingError.
        """
        run = self.deployment.run
        run.searches.mkdir(exist_ok=True)
        with run.stage("warm up"):
            self._require_mixable()
            self._search(min(budgets_ms)).warm_up(self._warmed)
        chosen: dict[str, float] = {}
        missed: list[BudgetError] = []
        for budget_ms in sorted(budgets_ms):
            try:
                found = self._within(budget_ms).arch.id
            except BudgetError as error:  # the others are worth having
                missed.append(error)
                continue
            if found in chosen:
                self.reporter.note(f"{found} is also the network for {budget_ms:.4g} ms")
            chosen.setdefault(found, budget_ms)
        draw_searches(run)
        front = deployed(self.deployment, chosen) if chosen else []
        if missed:
            raise missed[0]
        for arch_id in chosen.keys() - {row.arch_id for row in front}:
            self.reporter.note(f"{arch_id}, found for {chosen[arch_id]:.4g} ms, is beaten by another of the front")
        return front

    def _require_mixable(self) -> None:
        """Raises SpaceError before anything is trained, unless neither sampler nor selector runs two options at once.

        On the CPU: a GPU by default rounds what it convolves to ten bits, about as much as is tolerated here.
        """
        job, (supernet, relaxation) = self.deployment, self._untrained()
        if self.config.partial_channels > 1:
            require_partial(job.space, self.config.partial_channels)
        drawn = relaxation.draw(1.0, torch.Generator().manual_seed(self.config.seed))
        if max(len(each.options) for each in drawn.values()) > 1 or self.config.selector in MIXING:
            rng = np.random.default_rng(self.config.seed)
            archs = [job.space.smallest(), *(job.space.sample(rng) for _ in range(CHECKED))]
            require_mixable(supernet, job.data.inputs(job.data.train.raw[:2]), archs)

    # ---- one budget

    def _within(self, budget_ms: float) -> Evaluation:
        """A network that is within the budget when measured: derived again, under a tighter bound, until one is.

        Where the device is not here, it is so by prediction, as the first one is.
        """
        job = replace(self.deployment, budget_ms=budget_ms)
        with job.run.stage("search"):
            search = self._searched(budget_ms)
        tried: list[dict[str, Any]] = []
        bound_ms, least_ms = budget_ms, inf
        for _ in range(ATTEMPTS):
            with job.run.stage("derive and train"):
                try:
                    arch = self._derived(search, bound_ms)
                except BudgetError:
                    if not tried:
                        raise
                    break  # nothing is predicted to be within so tight a bound
                evaluation = self._trained(arch, search.supernet)
            with job.run.stage("deploy"):
                if arch.id not in job.database.winners():
                    measure(job, [evaluation], self.reporter)
            measured_ms = job.database.winners()[arch.id].statistic_ms(job.budget_on)
            judged_ms = job.judged_ms(arch, measured_ms)
            upper_ms = float(job.predictor.upper_ms(job.space.encode([arch]), job.budget_on)[0])
            tried.append({"arch_id": arch.id, "upper_ms": upper_ms, "measured_ms": measured_ms})
            least_ms = min(least_ms, judged_ms)
            self._record(budget_ms, tried)
            if judged_ms <= budget_ms:
                return evaluation
            bound_ms = (1 - TIGHTER) * upper_ms * budget_ms / judged_ms
            self.reporter.note(
                f"{arch.id}: predicted up to {upper_ms:.4g} ms, takes {judged_ms:.4g} ms, over the budget of "
                f"{budget_ms:.4g} ms: deriving again for at most {bound_ms:.4g} ms"
            )
        job.database.forget_winners(each["arch_id"] for each in tried)  # so that a resumed run measures anew
        raise BudgetError(
            f"none of {len(tried)} networks stayed within {budget_ms:.4g} ms when measured; the fastest took {least_ms:.4g} ms "
            f"({job.budget_on}); if the device is busy, --resume measures again when it is not; else allow more"
        )

    def _record(self, budget_ms: float, tried: Sequence[dict[str, Any]]) -> None:
        """Every network derived for a budget, the last of them within it, becomes part of run.json."""
        facts = self.deployment.run.read()
        facts.setdefault("derived", {})[_name(budget_ms)] = list(tried)
        self.deployment.run.write(facts)

    def _searched(self, budget_ms: float) -> GradientSearch:
        search, checkpoint = self._search(budget_ms), self._file(budget_ms, "pt")
        if not checkpoint.exists() and self._warmed.exists():
            replace_file(checkpoint, self._warmed.read_bytes())
        self.reporter.note(f"searching for {budget_ms:.4g} ms")
        history = search.run(checkpoint)
        constraints = [constraint.name for constraint in search.constraints]
        facts = {"budget_ms": budget_ms, "constraints": constraints, "epochs": [asdict(epoch) for epoch in history]}
        replace_file(self._file(budget_ms, "json"), json.dumps(facts))
        return search

    def _untrained(self) -> tuple[Supernet, Relaxation]:
        """The same whatever they are trained on, therefore made on the CPU."""
        of_sampler, *_ = parts_of(self.config)
        generator = torch.Generator().manual_seed(self.config.seed)
        return self.new_supernet(), Relaxation(self.deployment.space, of_sampler, generator)

    def _search(self, budget_ms: float) -> GradientSearch:
        config, (supernet, relaxation) = self.config, self._untrained()
        _, of_penalty, _ = parts_of(config)
        schedule = Schedule(
            warmup_epochs=config.warmup_epochs,
            phases=phases_of(config),
            unrolled=config.unrolled,
            mixed_precision=config.mixed_precision,
        )
        return GradientSearch(
            supernet=supernet.to(self.judge.device),
            relaxation=relaxation.to(self.judge.device),
            data=self.deployment.data,
            recipe=self.recipe,
            schedule=schedule,
            penalty=of_penalty,
            constraints=self._constraints(budget_ms),
            seed=config.seed,
            reporter=self.reporter,
        )

    def _constraints(self, budget_ms: float) -> list[Constraint]:
        """Of the budget, and of the limits that are sums; the peak of memory is none, and only limits what is derived."""
        job = self.deployment
        limits = [limit for limit in limits_of(self.config, job.energy) if limit.cost != PEAK]
        sums = [sum_constraint(limit.cost, job.space, limit.of_sums(job.space)) for limit in limits]
        return [latency_constraint(job.predictor, budget_ms, job.budget_on), *sums]

    def _derived(self, search: GradientSearch, bound_ms: float) -> Arch:
        """The selector's network whose latency is predicted to be at most `bound_ms`."""
        job, config = self.deployment, self.config
        *_, select = parts_of(config)
        probabilities = {
            name: p_K.detach().cpu().double().numpy() for name, p_K in search.relaxation.probabilities().items()
        }
        limits: list[Limit] = possible_limits(job.space, limits_of(config, job.energy))
        limits.append(latency_constraint(job.predictor, bound_ms, job.budget_on).limit)
        count = min(self.recipe.batch_size, len(job.data.train))
        indices = job.data.calibration_order()[:count]
        x, labels = job.data.inputs(job.data.train.raw[indices]), torch.from_numpy(job.data.train.labels[indices])
        return select(
            Selection(
                space=job.space,
                probabilities=probabilities,
                limits=limits,
                supernet=search.supernet,
                validation=partial(validation_loss, search.supernet, self.judge),
                tune=partial(tuned, search.supernet, job.data, self.recipe, seed=config.seed),
                batch=(x.to(self.judge.device), labels.to(self.judge.device)),
                seed=config.seed,
                evaluations=config.evaluations,
            )
        )

    def _trained(self, arch: Arch, supernet: Supernet) -> Evaluation:
        """The derived network, trained as the configuration says, and judged."""
        job, config = self.deployment, self.config
        known = job.database.evaluations()
        if arch.id in known:
            return known[arch.id]
        torch.manual_seed(config.seed)
        module = network(job.space, arch) if config.final == "scratch" else supernet.extract(arch)
        module.to(self.judge.device)
        if config.final != "none":
            checkpoint = job.run.searches / f"{arch.id}.pt"
            share = FINETUNING if config.final == "finetune" else 1.0
            rate = share * self.recipe.learning_rate
            recipe = replace(self.recipe, epochs=config.final_epochs, learning_rate=rate)
            what = f"training {arch.id}"
            train_network(
                module, job.data, recipe, seed=config.seed, checkpoint=checkpoint, reporter=self.reporter, what=what
            )
        job.run.weights(arch.id).parent.mkdir(exist_ok=True)
        save_weights(module, job.run.weights(arch.id), {"hwnas.space": job.space.fingerprint, "hwnas.arch": arch.key})
        score = self.judge.validation(self.judge.prepared(module))
        if not np.isfinite(score.loss):
            raise TrainingError(f"network {arch.id} has loss {score.loss}; start again with a lower --learning-rate")
        predicted_ms = float(job.predictor.predict_ms(job.space.encode([arch]))[0])
        evaluation = Evaluation(arch, score.loss, score.accuracy, predicted_ms)
        job.database.add_evaluation(evaluation)
        (job.run.searches / f"{arch.id}.pt").unlink(missing_ok=True)
        self.reporter.note(
            f"{arch.id}: validation loss {score.loss:.4f}, accuracy {100 * score.accuracy:.1f} %, {predicted_ms:.4g} ms predicted"
        )
        return evaluation

    @property
    def _warmed(self) -> Path:
        return self.deployment.run.searches / "warmup.pt"

    def _file(self, budget_ms: float, suffix: str) -> Path:
        return self.deployment.run.searches / f"{_name(budget_ms)}.{suffix}"


def _name(budget_ms: float) -> str:
    return f"{budget_ms:.6g}ms"
