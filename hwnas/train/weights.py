"""Weights and batch-norm statistics as safetensors files."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from hwnas.core.files import replace_file
from hwnas.errors import RunError
from hwnas.supernet.network import Supernet


def save_supernet(supernet: Supernet, path: Path) -> None:
    """Writes a supernet's weights and statistics with the fingerprint of its space."""
    save_weights(supernet, path, {"hwnas.space": supernet.space.fingerprint})


def load_supernet(supernet: Supernet, path: Path) -> None:
    """Loads a supernet's weights and statistics. Raises RunError for a file that is missing, damaged or of another space."""
    load_weights(supernet, path, "`hwnas train` makes it")


def save_weights(module: nn.Module, path: Path, facts: Mapping[str, str]) -> None:
    """Writes a module's weights and statistics with facts about them, whole or not at all."""
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    replace_file(path, save_tensors(weights, dict(facts)))


def load_weights(module: nn.Module, path: Path, advice: str) -> None:
    """Loads a module's weights and statistics.

    Raises RunError for a file that is missing, damaged or of another space; `advice` ends its message with what to do.
    """
    try:
        module.load_state_dict(load_tensors(path.read_bytes()))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except (SafetensorError, RuntimeError):
        raise RunError(f"{path}: damaged, or weights of another space; {advice}") from None
