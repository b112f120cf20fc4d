"""A request whose parts were all found: its space, data, task and devices. Everything that can be refused is refused here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor

from hwnas.core.references import IN_A_FILE, is_reference
from hwnas.core.reporter import Reporter
from hwnas.core.requests import flag
from hwnas.core.space import SearchSpace
from hwnas.costs.registry import COSTS
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.options import DataOptions
from hwnas.errors import (
    DataError,
    HwnasError,
    RunError,
    SpaceError,
    TaskError,
    UnknownNameError,
    is_the_users,
)
from hwnas.modules.assemble import network
from hwnas.modules.declared import require_declared
from hwnas.pipeline.preflight import latency_names, needs_of
from hwnas.pipeline.request import SearchRequest
from hwnas.pipeline.sources import Sources
from hwnas.pipeline.target import Target, targets_of
from hwnas.pipeline.teacher import check_teacher
from hwnas.pipeline.warm_start import WarmStart
from hwnas.profiler.device import require_precisions
from hwnas.profiler.step import in_step
from hwnas.runs.folder import RunFolder
from hwnas.spaces.recipe import recipe_choices
from hwnas.strategies.problem import Strategy, costs_read, trains_alone
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.tasks.task import CLASS_ROW, Balancing, ByClass, Guessing, Task
from hwnas.train.devices import training_device
from hwnas.train.recipes import BY_OPTIMIZER, recipe_of_arch
from hwnas.train.request import AUTO, TrainingRequest
from hwnas.train.weights import load_supernet

# The costs that a predictor gives.
PREDICTED_COSTS: Final = tuple(name for name, kind in COSTS.items() if kind.origin == "predictor")
# Training examples that costs which run a network are computed on.
PROXY_BATCH: Final = 64
UNWEIGHTED: Final = "none"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRequest:
    """A request with what it refers to. `cost_names` are the costs that its objectives, limits and strategy name."""

    request: SearchRequest
    space: SearchSpace
    data: Dataset
    task: Task
    targets: tuple[Target, ...]
    sources: Sources
    cost_names: tuple[str, ...]

    @property
    def classes_weigh_alike(self) -> bool:
        """True where rare classes count as much as frequent ones in the training loss or in an objective."""
        objectives = self.request.goal.objectives_of(self.task.metrics[0].name, latency_names(self.targets))
        return self.request.training.class_weights != UNWEIGHTED or "balanced_accuracy" in objectives

    def proxy_batch(self) -> tuple[Tensor, Tensor]:
        """Returns inputs and labels of training examples for costs that need a network and no training."""
        rows = self.data.calibration_order()[:PROXY_BATCH]
        return self.data.inputs(self.data.train.raw[rows]), torch.from_numpy(self.data.train.labels[rows])


def checked_request(request: SearchRequest, space: SearchSpace, run: RunFolder | None = None) -> CheckedRequest:
    """Returns the request with its data, task and devices; those of `run` where a run goes on.

    Raises HwnasError where something that is asked for cannot be had.
    """
    if space.size < 2:
        raise SpaceError(f"{space.name} has only one architecture; there is nothing to search")
    _require_trained_by_recipes(space, request.strategy, request.strategy_reference)
    require_weights(space, request.training)
    training_device(request.training.train_on)
    targets = targets_of(request.devices.devices(), run)
    for target in targets:
        require_precisions(space, target.conditions)
    request.goal.budgets_of([target.name for target in targets])
    data, task = load_for(space, request, run)
    names = _cost_names(request, task, latency_names(targets))
    sources = Sources(
        request=request.sources,
        space=space,
        restrictions=request.space,
        needs=needs_of(names, targets, PREDICTED_COSTS),
        run=run,
    )
    return CheckedRequest(
        request=request, space=space, data=data, task=task, targets=targets, sources=sources, cost_names=names
    )


def require_weights(space: SearchSpace, training: TrainingRequest) -> None:
    """Raises HwnasError where nothing would be trained, and nothing is trained already."""
    if training.epochs == 0 and not space.is_trained and training.supernet is None:
        raise HwnasError("--epochs 0 keeps the weights that --model brings; add --model, or train for 1 epoch or more")


def _require_trained_by_recipes(space: SearchSpace, strategy: Strategy, reference: str) -> None:
    """Raises where choices of the recipe would have no effect, or where an option cannot be."""
    names = recipe_choices(space)
    if names and not trains_alone(strategy):
        raise SpaceError(
            f"{names[0]} is a choice of how a network is trained, and --strategy {reference} does not train every network by "
            "itself; give --strategy nars, or leave out --vary"
        )
    for name in names:
        for option in space.choice(name).options:
            try:
                recipe_of_arch(BY_OPTIMIZER["sgd"], {name: option})
            except HwnasError as error:
                raise SpaceError(f"{name} cannot be {option!r}: {error}; leave the option out of --vary") from None


def check_sources(checked: CheckedRequest) -> None:
    """Raises where an operator, step of inference, predictor, table, supernet, warm start or teacher that is to be used
    cannot be, before any work.

    A run that goes on has a supernet of its own.
    """
    require_declared(checked.space.placed_operators().values(), checked.cost_names)
    for step in {target.step for target in checked.targets}:
        smallest = network(checked.space, checked.space.smallest())
        in_step(step, smallest, checked.space.input_shape, checked.space.vocabulary, 1)
    checked.sources.check()
    training, run = checked.request.training, checked.sources.run
    warm_start = checked.request.start.warm_start
    if warm_start is not None and run is None:
        WarmStart.gathered(warm_start, checked.space)
    if run is None or not run.supernet.exists() or checked.request.final.final_teacher == "external":
        check_teacher(training, checked.space, checked.data, checked.task, training_device(training.train_on))
    folder = training.supernet
    if folder is not None and run is None:
        load_trained(Supernet(checked.space), Path(folder), checked.data, checked.request)


def load_for(space: SearchSpace, request: SearchRequest, run: RunFolder | None = None) -> tuple[Dataset, Task]:
    """Returns the data as the space takes it, and the task, with class weights where they are asked for.

    Raises DataError where the data do not fit the space, or are not what `run` was started with.
    """
    options = request.data
    data = load_data(
        options.data,
        space.input_shape,
        outputs=space.classes,
        vocabulary=space.vocabulary,
        seed=request.seed,
        limit=options.limit_images,
        images=options,
        image_moments=space.image_moments,
    )
    task = load_task(data.task if options.task == AUTO else options.task)
    task.require_outputs(space.output_shape, data.outputs)
    task = _require_labels(task, request.training, data, space)
    if run is not None and run.read().get("data", {}).get("digest") != data.digest():
        raise DataError(
            f"{options.data} has changed since {run.path} was started, or this version of hwnas reads it otherwise (EXIF, "
            f"transparency, 16 bits); restore it, or start anew"
        )
    return data, task


def _weighted(task: Task, request: TrainingRequest, data: Dataset) -> Task:
    """Returns the task with the class weights of a request. Raises TaskError for a task without classes."""
    if request.class_weights == UNWEIGHTED:
        return task
    if not isinstance(task, Balancing):
        raise TaskError(
            f"--class-weights {request.class_weights}: the task {task.name} has no class weights; leave it out"
        )
    return task.balanced(torch.from_numpy(np.array(data.train.labels)), data.outputs)


def data_facts(data: Dataset, reporter: Reporter) -> dict[str, Any]:
    """Returns the facts that a run stores of its data, and tells those that people should know before anything long."""
    facts = data.describe()
    for note in facts.get("notes", ()):
        reporter.note(note)
    return facts


def _require_labels(task: Task, request: TrainingRequest, data: Dataset, space: SearchSpace) -> Task:
    """Returns the task with class weights, where they are asked for, once all of it was tried on labels of the data.

    Raises TaskError where a task cannot be computed from them, before anything long begins.
    """
    labels = torch.from_numpy(np.array(data.train.labels[:2]))
    outputs = torch.randn(len(labels), *space.output_shape, generator=torch.Generator().manual_seed(0))
    try:
        weighted = _weighted(task, request, data)
        weighted.loss(outputs, labels, smoothing=0.1)
        weighted.imitation(outputs, outputs)
        weighted.score([(outputs, labels)])
        if isinstance(weighted, ByClass):
            _require_class_rows(weighted.class_rows([(outputs, labels)]))
        if isinstance(weighted, Guessing):
            guess = weighted.guess(torch.from_numpy(np.array(data.validation.labels)), space.output_shape)
            weighted.score([(guess.expand(len(labels), *space.output_shape), labels)])
    except BaseException as error:
        if not is_the_users(error):
            raise
        said = " ".join(str(error).split())
        raise TaskError(
            f"task {task.name} does not fit the labels of the data, {labels.dtype} of shape {tuple(labels.shape[1:])}: "
            f"{type(error).__name__}: {said}; give another --task, or other --data"
        ) from error
    return weighted


def _require_class_rows(rows: Sequence[Mapping[str, float]]) -> None:
    for row in rows:
        if set(row) != set(CLASS_ROW):
            raise ValueError(f"class_rows gives {', '.join(row)}, not {', '.join(CLASS_ROW)}")


def load_trained(supernet: Supernet, folder: Path, data: Dataset, request: SearchRequest | None = None) -> None:
    """Loads the supernet of another folder.

    Raises RunError unless it was trained on this very training split, with the options that differ from the request's.
    """
    run = RunFolder(folder)
    facts = run.read()
    if facts.get("data", {}).get("digest") != data.digest():
        differing = "" if request is None else _differing(facts["request"], request.describe())
        raise RunError(
            f"{folder}: trained on other data than this{differing}; test data would be among it: give the same data and the "
            f"same data options"
        )
    load_supernet(supernet, run.supernet)


def _differing(stored: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Returns the options of the data that two requests differ in, as `describe` gives them, in words."""
    theirs = {**asdict(DataOptions()), **stored["data"], "seed": stored["seed"]}
    mine = {**request["data"], "seed": request["seed"]}
    pairs = [f"{flag(name)} {theirs[name]}, here {mine[name]}" for name in mine if theirs[name] != mine[name]]
    return f" ({'; '.join(pairs) or 'by the same options'})"


def _cost_names(request: SearchRequest, task: Task, latencies: Sequence[str]) -> tuple[str, ...]:
    """The costs that objectives, limits and the strategy name.

    Raises UnknownNameError for a name that is no metric and no cost, or for a metric that a strategy reads as a cost.
    """
    metrics = [metric.name for metric in task.metrics]
    objectives = request.goal.objectives_of(metrics[0], latencies)
    limited = [cost for cost, _ in request.goal.bounds()]
    known = list(dict.fromkeys([*COSTS, *latencies]))
    for name in metrics:
        if name in known:
            raise HwnasError(f"the metric {name!r} of task {task.name} has the name of a cost; rename it")
    costs = [name for name in (*objectives, *limited) if name not in metrics]
    for name in costs:
        if name not in known and not is_reference(name):
            raise UnknownNameError("objective or cost", name, [*metrics, *known, IN_A_FILE])
    for name in costs_read(request.strategy):
        if name not in known and not is_reference(name):
            raise UnknownNameError("cost", name, [*known, IN_A_FILE])
        costs.append(name)
    return tuple(dict.fromkeys(costs))
