"""What a search is asked for, checked before any work: its space, data, device, and what it is to use."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.core.operations import restricted
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, load_data
from hwnas.errors import DataError, RunError, SpaceError, UnknownNameError
from hwnas.pipeline.config import GRADIENT, SearchConfig
from hwnas.pipeline.costs import check_costs
from hwnas.pipeline.gradient import parts_of
from hwnas.pipeline.target import Target, target_of, target_of_run
from hwnas.runs.folder import RunFolder
from hwnas.spaces import load_space, reload_space
from hwnas.strategies.registry import STRATEGIES
from hwnas.supernet.network import Supernet
from hwnas.train.devices import training_device
from hwnas.train.loop import load_supernet


def configured(space: SearchSpace | str, config: SearchConfig) -> SearchSpace:
    """The space, loaded with the configuration's options where it is a name, and restricted as that says."""
    loaded = load_space(space, config.space_options) if isinstance(space, str) else space
    return restricted(loaded, fixed=config.fix, dropped=config.drop, tied=config.tie)


def reopen(out: Path, given: Mapping[str, Any]) -> tuple[RunFolder, SearchConfig, SearchSpace]:
    """A run, its configuration and its space. Raises RunError where `given` options differ from the configuration: only what
    it is trained on may."""
    run = RunFolder(out)
    facts = run.read()
    try:
        config = SearchConfig(**facts["config"])
    except (KeyError, TypeError):
        raise RunError(f"{run.json}: not a configuration of this version; start again under another --out") from None
    config = replace(config, train_on=given.get("train_on", config.train_on))
    for name, value in given.items():
        if getattr(config, name) != value:
            raise RunError(
                f"{out} was started with {name} = {getattr(config, name)}, not {value}; leave it out, or start anew"
            )
    return run, config, reload_space(facts["space"])


def checked_request(config: SearchConfig, space: SearchSpace, run: RunFolder | None = None) -> tuple[Target, Dataset]:
    """The device and the data of a search. Raises HwnasError where something that is asked for cannot be had."""
    if config.strategy == GRADIENT:
        parts_of(config)
    elif config.strategy not in STRATEGIES:
        raise UnknownNameError("strategy", config.strategy, [*STRATEGIES, GRADIENT])
    if space.size < 2:
        raise SpaceError(f"{space.name} has only one architecture; there is nothing to search")
    training_device(config.train_on)
    target = target_of(config) if run is None else target_of_run(run, config)
    return target, load_for(space, config, run)


def check_sources(config: SearchConfig, space: SearchSpace, target: Target, data: Dataset) -> None:
    """Raises where a predictor, table or supernet that is to be used cannot be."""
    check_costs(config, space, target)
    if config.supernet is not None:
        load_trained(Supernet(space), Path(config.supernet), data)


def load_trained(supernet: Supernet, folder: Path, data: Dataset) -> None:
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
        outputs=space.classes,
        vocabulary=space.vocabulary,
        seed=config.seed,
        limit=config.limit_images,
    )
    if run is not None and run.read().get("data", {}).get("digest") != data.digest():
        raise DataError(f"{config.data} has changed since {run.path} was started; restore it, or start anew")
    return data
