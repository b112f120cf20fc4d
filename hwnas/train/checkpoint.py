"""Checkpoints of a training: the state of its parts and a few facts, written whole after every epoch."""

import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from hwnas.core.archives import require_bounded
from hwnas.core.files import replace_file
from hwnas.errors import DivergedError, RunError
from hwnas.train.recipes import Recipe


def save_checkpoint(path: Path, epoch: int, parts: Mapping[str, Any], **facts: Any) -> None:
    """Writes the number of epochs done, facts about them, and the states of modules and optimisers by name."""
    buffer = io.BytesIO()
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"epoch": epoch, **facts, **states}, buffer)
    replace_file(path, buffer.getvalue())


def restored(path: Path, parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a checkpoint's facts and loads its states into `parts`; `epoch` is 0 where there is no checkpoint.

    Each part stays on its own device. Raises RunError for a damaged file.
    """
    if not path.exists():
        return {"epoch": 0}
    try:
        require_bounded(path, RunError)
        # To the CPU, from where parts take their states: the file may be of a device that is not here, and optimisers
        # leave their counters on the file's device, on a GPU one wait for each parameter in every step.
        facts: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(facts[name])
        return {"epoch": int(facts["epoch"])} | {name: value for name, value in facts.items() if name not in parts}
    except torch.OutOfMemoryError:
        raise  # the file is sound
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, UnpicklingError) as error:
        raise RunError(
            f"{path}: damaged or of another space ({type(error).__name__}); delete it to train afresh"
        ) from None


def require_number(loss: float, epoch: int, recipe: Recipe, checkpoint: Path) -> None:
    """Raises DivergedError for an epoch whose loss is not a number."""
    if np.isfinite(loss):
        return
    raise DivergedError(
        f"the loss of epoch {epoch} is not a number; start again under another --out with a lower --learning-rate "
        f"(here {recipe.learning_rate})" + (f"; the last good epoch is kept in {checkpoint}" if epoch > 1 else "")
    )
