"""The devices that a run is trained on: recorded in run.json, and noted where they change."""

import torch

from hwnas.core.reporter import Reporter
from hwnas.runs.folder import RunFolder
from hwnas.train.devices import described


def record_training(run: RunFolder, device: torch.device, reporter: Reporter) -> None:
    """Adds a device to `trained_on` of run.json, before anything of the run is trained on it.

    A run may be resumed on another device, because checkpoints belong to none. The result then differs from that of either
    device alone, so the change is noted.
    """
    facts, here = run.read(), described(device)
    before: list[str] = facts.get("trained_on", [])
    if here in before[-1:]:
        return
    run.write(facts | {"trained_on": [*before, here]})
    if before:
        reporter.note(f"trained on {before[-1]} so far and on {here} from here on: not what either alone would find")
