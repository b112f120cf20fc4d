"""What a run is trained on: as its configuration says, kept in run.json, and told where it changes."""

from pathlib import Path

import torch

from hwnas.core.reporter import Reporter
from hwnas.runs.folder import RunFolder
from hwnas.train.devices import described, training_device


def device_of_run(run: RunFolder, name: str, done: Path, reporter: Reporter) -> torch.device:
    """The device of a name of `TRAINS_ON`, added to `trained_on` of run.json unless the run has what it is `done` with.

    A run may go on elsewhere than where it was started: checkpoints are of no device. What it comes to is then what neither
    would have come to, so that is noted. Raises UnknownNameError, DeviceError.
    """
    device = training_device(name)
    facts, here = run.read(), described(device)
    before: list[str] = facts.get("trained_on", [])
    if done.exists() or here in before[-1:]:
        return device
    run.write(facts | {"trained_on": [*before, here]})
    if before:
        reporter.note(f"trained on {before[-1]} so far and on {here} from here on: not what either alone would find")
    return device
