"""Where networks are trained and judged: the CPU, or a GPU by CUDA."""

from typing import Final

import torch

from hwnas.errors import DeviceError, UnknownNameError

TRAINS_ON: Final = ("auto", "cpu", "cuda")


def training_device(name: str) -> torch.device:
    """The device of a name of `TRAINS_ON`; `auto` is CUDA's current one where torch has it, else the CPU.

    Raises UnknownNameError, and DeviceError for `cuda` where there is none.
    """
    if name not in TRAINS_ON:
        raise UnknownNameError("device to train on", name, list(TRAINS_ON))
    missing = missing_cuda() if name != "cpu" else None
    if name == "cuda" and missing:
        raise DeviceError(f"--train-on cuda: {missing}; or give --train-on cpu")
    return torch.device("cpu" if name == "cpu" or missing else "cuda")


def missing_cuda() -> str | None:
    """What training on CUDA lacks here, and what to do about it; None where nothing does."""
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f"PyTorch {torch.__version__} is built without CUDA; install one that has it (pytorch.org/get-started)"
    if not torch.cuda.is_available():
        return (
            f"PyTorch {torch.__version__} finds no GPU, or no driver for it; `nvidia-smi` and CUDA_VISIBLE_DEVICES say "
            "which there are"
        )
    return None


def described(device: torch.device) -> str:
    """For a person and for run.json: `cpu`, or CUDA with the GPU's name."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
