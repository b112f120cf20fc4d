"""The devices and the number of threads that a run is computed on: recorded in run.json, and noted where they change."""

from typing import Any

import torch

from hwnas.core.reporter import Reporter
from hwnas.runs.folder import RunFolder
from hwnas.train.devices import described


def record_training(run: RunFolder, device: torch.device, reporter: Reporter) -> None:
    """Adds a device to `trained_on` of run.json, before anything of the run is trained on it.

    A run may be resumed on another device, because checkpoints belong to none. The result then differs from that of either
    device alone, so the change is noted.
    """
    here = described(device)
    before = _added(run, "trained_on", here)
    if before is not None:
        reporter.note(f"trained on {before} so far and on {here} from here on: not what either alone would find")


def record_threads(run: RunFolder, reporter: Reporter) -> None:
    """Adds torch's number of threads to `torch_threads` of run.json, before anything of the run is trained or evaluated.

    Threads add up numbers in another order, and from rounding other architectures may follow, so a change is noted.
    """
    here = torch.get_num_threads()
    before = _added(run, "torch_threads", here)
    if before is not None:
        threads = "torch thread" if before == 1 else "torch threads"
        reporter.note(
            f"computed with {before} {threads} so far and with {here} from here on: not what either alone would find; "
            f"OMP_NUM_THREADS={before} goes on as before"
        )


def _added(run: RunFolder, name: str, here: Any) -> Any:
    """Adds a value to a list of run.json unless the list ends in it. Returns the value that was last before, if another."""
    facts = run.read()
    before = facts.get(name, [])
    if here in before[-1:]:
        return None
    run.write(facts | {name: [*before, here]})
    return before[-1] if before else None
