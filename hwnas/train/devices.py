"""Devices that networks are trained and scored on: the CPU, or a GPU by CUDA."""

from typing import Final

import torch

from hwnas.errors import DeviceError, UnknownNameError
from hwnas.profiler.runtime_torch import missing_cuda

TRAINS_ON: Final = ("auto", "cpu", "cuda")


def training_device(name: str) -> torch.device:
    """Returns the device of a name of `TRAINS_ON`; `auto` is CUDA's current device where torch has one, else the CPU.

    Raises UnknownNameError, and DeviceError for `cuda` where CUDA is missing.
    """
    if name not in TRAINS_ON:
        raise UnknownNameError("device to train on", name, list(TRAINS_ON))
    missing = missing_cuda() if name != "cpu" else None
    if name == "cuda" and missing:
        raise DeviceError(f"--train-on cuda: {missing}; or give --train-on cpu")
    return torch.device("cpu" if name == "cpu" or missing else "cuda")


def placed(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Returns inputs on a device; images (N, C, H, W) in the channels-last layout.

    Convolutions pass the layout on. On a CPU a training step of the largest `mobilenet` takes 0.4 of the time
    (`scripts/bench/step.py layout`).
    """
    return x.to(device, memory_format=torch.channels_last if x.dim() == 4 else torch.preserve_format)


def described(device: torch.device) -> str:
    """Returns a device's words for people and for run.json: `cpu`, or CUDA with the GPU's name."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
