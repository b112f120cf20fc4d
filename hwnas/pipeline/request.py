"""The request of a search: a few values, each checked by its owner, made from flat options by name and stored in run.json."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.references import require_trusted, run_file
from hwnas.core.requests import checked, flag, option_names
from hwnas.core.space import SearchSpace
from hwnas.data.options import DataOptions
from hwnas.errors import HwnasError, RunError, TrustError, UnknownNameError
from hwnas.pipeline.goal import GoalRequest
from hwnas.pipeline.options import FinalRequest, SourcesRequest, StartRequest, TrackingRequest
from hwnas.profiler.request import DevicesRequest
from hwnas.runs.folder import RunFolder
from hwnas.spaces import reload_space
from hwnas.spaces.request import SpaceRequest
from hwnas.strategies.problem import Strategy, costs_read
from hwnas.strategies.registry import STRATEGIES, load_strategy_class
from hwnas.train.request import USUAL, TrainingRequest

# The parts of a request, each with the options that its owner defines.
PARTS: Final[Mapping[str, type[Any]]] = {
    "space": SpaceRequest,
    "data": DataOptions,
    "devices": DevicesRequest,
    "goal": GoalRequest,
    "sources": SourcesRequest,
    "training": TrainingRequest,
    "start": StartRequest,
    "final": FinalRequest,
    "tracking": TrackingRequest,
}
DEFAULT_STRATEGY: Final = "surrogate"
# The options that may differ where a run is resumed.
CHANGEABLE: Final = ("train_on", "track", "data_memory_gib", "data_workers")
MOST_SEED: Final = 2**32 - 1
# The space option that the data decides where it is not given.
CLASSES: Final = "classes"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """All that a search depends on. `strategy` holds its own options; `strategy_reference` is the name it was asked by."""

    space: SpaceRequest
    data: DataOptions
    devices: DevicesRequest
    goal: GoalRequest
    sources: SourcesRequest
    training: TrainingRequest
    start: StartRequest
    final: FinalRequest
    tracking: TrackingRequest
    strategy: Strategy
    strategy_reference: str = DEFAULT_STRATEGY
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MOST_SEED:
            raise HwnasError(f"--seed must be between 0 and {MOST_SEED}, not {self.seed}")

    @property
    def title(self) -> str:
        """The space and the data, for plots."""
        return f"{self.space.model or self.space.space} on {self.data.data}"

    def options(self) -> dict[str, Any]:
        """Returns every option by name, flat, as the command line knows them; fit for JSON."""
        flat = {name: value for part in PARTS for name, value in asdict(getattr(self, part)).items()}
        own = asdict(self.strategy)  # type: ignore[call-overload]
        return {**flat, **own, "strategy": self.strategy_reference, "seed": self.seed}

    def describe(self) -> dict[str, Any]:
        """Returns what run.json stores: the options of every part under its name; fit for JSON."""
        described: dict[str, Any] = {part: asdict(getattr(self, part)) for part in PARTS}
        described["strategy"] = {"name": self.strategy_reference, "options": asdict(self.strategy)}  # type: ignore[call-overload]
        return {**described, "seed": self.seed}


def search_request(options: Mapping[str, Any]) -> SearchRequest:
    """Returns the request of flat options; what is left out has its owner's default.

    Raises UnknownNameError and HwnasError for options that no part has, or that cannot be.
    """
    options = dict(options)
    reference, seed = options.pop("strategy", DEFAULT_STRATEGY), options.pop("seed", 0)
    parts = _taken_parts(options)
    strategy_class = load_strategy_class(reference)
    _refuse_options_of_others(options, reference, strategy_class)
    _refuse_options_of_parts(reference, strategy_class)
    strategy: Strategy = checked(strategy_class, options)
    _refuse_teachers_without_effect(parts, strategy)
    if strategy.trains_weights:
        _refuse_shared_weights(parts, reference)
    return SearchRequest(**parts, strategy=strategy, strategy_reference=reference, seed=seed)


def _refuse_teachers_without_effect(parts: Mapping[str, Any], strategy: Strategy) -> None:
    """Raises HwnasError for a teacher that is named and not given, or given where it teaches nothing."""
    training, final = parts["training"], parts["final"]
    if final.final_teacher == "external":
        if training.teacher is None:
            raise HwnasError("--final-teacher external needs --teacher; add it, or give another --final-teacher")
        return
    if training.teacher is not None and not strategy.trains_weights and not training.trains_a_supernet:
        reason = "--epochs 0" if training.supernet is None else f"--supernet {training.supernet}"
        raise HwnasError(
            f"--teacher teaches a supernet while it is trained, and with {reason} none is trained; leave --teacher out, or, for "
            "the final training of a search, add --final-teacher external"
        )


def _refuse_shared_weights(parts: Mapping[str, Any], reference: str) -> None:
    """Raises HwnasError for options of a supernet that networks share, beside a strategy that trains weights of its own."""
    training, final = parts["training"], parts["final"]
    if training.recipe != USUAL:
        raise HwnasError(
            f"--recipe {training.recipe} is for a supernet that networks share, and --strategy {reference} trains weights of its "
            "own; leave it out"
        )
    if training.epochs == 0:
        raise HwnasError(
            f"--epochs 0 keeps the weights of a supernet that networks share, and --strategy {reference} trains weights of its "
            "own; give --epochs 1 or more"
        )
    if training.teacher and final.final_teacher != "external":
        raise HwnasError(
            f"--teacher teaches a supernet that networks share, and --strategy {reference} trains weights of its own; add "
            "--final-teacher external, or leave it out"
        )
    if parts["start"].warm_start is not None:
        raise HwnasError(
            f"--warm-start needs a supernet that networks share, and --strategy {reference} trains weights of its own; leave it "
            "out"
        )
    if final.is_taught and final.final_teacher == "largest":
        raise HwnasError(
            f"--final-teacher largest needs a supernet that networks share, and --strategy {reference} trains weights of its "
            "own; leave it out"
        )


def _taken_parts(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the parts of a request by name; takes their options out of the flat ones."""
    parts: dict[str, Any] = {}
    for part, request in PARTS.items():
        own = {name: options.pop(name) for name in option_names(request) if name in options}
        parts[part] = checked(request, own)
    return parts


def _references(parts: Mapping[str, Any], strategy: str) -> Iterator[str]:
    """Yields every name in a request that may be `FILE.py:NAME`."""
    yield strategy
    yield parts["space"].space
    yield parts["space"].model or ""
    yield parts["data"].data
    yield parts["data"].task
    yield parts["training"].teacher or ""
    yield from parts["goal"].named_costs()
    yield from parts["tracking"].track
    yield from (device.runtime for device in parts["devices"].devices() if device.runtime is not None)


def stored_request(facts: Mapping[str, Any], where: Path) -> SearchRequest:
    """Returns the request that run.json stores.

    Raises RunError where this version cannot read it, TrustError where a Python file would run that this user has not allowed.
    """
    try:
        stored = {"start": {}, "tracking": {}, **_with_optimizer(facts["request"])}  # earlier versions lack these parts
        parts = {part: checked(request, stored[part]) for part, request in PARTS.items()}
        parts["data"] = _as_it_was(parts["data"], facts)
        name = stored["strategy"]["name"]
        for reference in _references(parts, name):
            require_trusted(reference, where)
        strategy_class = load_strategy_class(name)
        strategy = checked(strategy_class, _options_of(strategy_class, stored["strategy"]["options"]))
        for reference in costs_read(strategy):
            require_trusted(reference, where)
        if strategy.trains_weights:  # a recipe of supernets has no effect, and `search_request` refuses it
            parts["training"] = replace(parts["training"], recipe=USUAL)
        elif not parts["training"].trains_a_supernet and parts["final"].final_teacher != "external":
            parts["training"] = replace(parts["training"], teacher=None)  # without effect, and refused, too
        return SearchRequest(**parts, strategy=strategy, strategy_reference=name, seed=stored["seed"])
    except TrustError:
        raise
    except (AttributeError, KeyError, TypeError, HwnasError) as error:
        said = str(error) if isinstance(error, HwnasError) else "damaged, or not a request of this version"
        raise RunError(f"{where}: {said}; start again under another --out") from None


def _options_of(strategy_class: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the stored options of a strategy by their names in this version, with those that earlier versions did not store."""
    names = getattr(strategy_class, "renamed", {})
    return {**getattr(strategy_class, "unstored", {}), **{names.get(name, name): stored[name] for name in stored}}


def _with_optimizer(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a stored request; in those of runs from before `--optimizer`, `--recipe` named the optimiser of a sandwich."""
    training = stored["training"]
    if "optimizer" in training:
        return stored
    renamed = {"optimizer" if name == "recipe" else name: value for name, value in training.items()}
    return {**stored, "training": {**renamed, "recipe": "sandwich"}}


def _as_it_was(data: DataOptions, facts: Mapping[str, Any]) -> DataOptions:
    """Returns the options of the data with the augmentation that the run began with.

    Runs that stored no such option mirrored the images of imagefolder and parquet, which `auto` no longer does.
    """
    if "augmentation" in facts["request"]["data"] or facts.get("data", {}).get("augmentation") != "shift+flip":
        return data
    return replace(data, augmentation="shift+flip")


def reopen(out: Path, options: Mapping[str, Any]) -> tuple[RunFolder, SearchRequest, SearchSpace]:
    """Returns a run, its request and its space. Raises RunError where options differ from the request, unless they may."""
    run, request, space = reopened(out, options)
    options, known = refitted(options, request), request.options()
    for name, value in options.items():
        if name not in known:
            raise RunError(f"{out} was started without {flag(name)}; leave it out, or start anew")
        if name not in CHANGEABLE and plain(known[name]) != plain(value):
            raise RunError(
                f"{out} was started with {flag(name)} {known[name]}, not {value}; leave it out, or start anew"
            )
    changed = {name: value for name, value in options.items() if name in CHANGEABLE}
    where = {name: changed[name] for name in option_names(TrainingRequest) if name in changed}
    training = checked(TrainingRequest, {**asdict(request.training), **where})
    tracking = checked(TrackingRequest, {"track": changed.get("track", request.tracking.track)})
    streaming = {name: changed[name] for name in option_names(DataOptions) if name in changed}
    data = checked(DataOptions, {**asdict(request.data), **streaming})
    return run, replace(request, training=training, tracking=tracking, data=data), space


def reopened(out: Path, named: Mapping[str, Any]) -> tuple[RunFolder, SearchRequest, SearchSpace]:
    """Returns a run, its request and its space; the Python files that `named` options name are allowed to run.

    Raises RunError, TrustError.
    """
    run = RunFolder(out)
    facts = run.read()
    for reference in _references(_taken_parts(dict(named)), named.get("strategy", DEFAULT_STRATEGY)):
        run_file(reference, RunError)
    return run, stored_request(facts, run.json), reload_space(facts["space"], run.json)


def refitted(options: Mapping[str, Any], before: SearchRequest) -> Mapping[str, Any]:
    """Returns the options of a run that goes on, with the classes that its space took from its data, if none are given."""
    kept, given = before.space.space_options, options.get("space_options")
    if given is None or before.space.model is not None or CLASSES in given or CLASSES not in kept:
        return options
    return {**options, "space_options": {CLASSES: kept[CLASSES], **given}}


def plain(value: Any) -> Any:
    """Returns a value as JSON would: sequences are alike, and so are numbers."""
    return list(value) if isinstance(value, tuple | list) else value


def _refuse_options_of_parts(reference: str, own: type[Strategy]) -> None:
    """Raises HwnasError where a strategy's option has the name of an option that every search has."""
    taken = {"strategy", "seed", "out", "resume", "back", "source", "strict"} | {
        name for part in PARTS.values() for name in option_names(part)
    }
    for name in option_names(own):
        if name in taken:
            raise HwnasError(f"the option {name!r} of strategy {reference} is an option of every search; rename it")


def _refuse_options_of_others(options: Mapping[str, Any], reference: str, own: type[Strategy]) -> None:
    """Raises HwnasError for an option that only other strategies have, UnknownNameError for one that none has."""
    for name in options:
        if name in option_names(own):
            continue
        owners = [known for known in STRATEGIES if name in option_names(load_strategy_class(known))]
        if owners:
            raise HwnasError(
                f"{flag(name)} only applies to --strategy {' or '.join(owners)}; leave it out with --strategy {reference}"
            )
        parts = [option for part in PARTS.values() for option in option_names(part)]
        raise UnknownNameError("option", name, [*parts, *option_names(own)])
