"""Conditions in one word, for benches that compare several: `cpu`, `cuda/torch`, `cuda/torch/precision=bf16/launch=eager`."""

from typing import Any

from hwnas.profiler.device import Conditions, conditions_here

# Settings that are no options of the runtime.
OTHERS = {"threads": int, "batch": int, "precision": str}


def conditions_of(text: str) -> Conditions:
    """Returns the conditions of DEVICE[/RUNTIME][/NAME=VALUE ...].

    The runtime is onnxruntime by default; NAME is threads, batch, precision or an option of the runtime."""
    device, *rest = text.split("/")
    settings: dict[str, Any] = {"runtime_options": {}}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals:
            settings["runtime"] = name
        elif name in OTHERS:
            settings[name] = OTHERS[name](value)
        else:
            settings["runtime_options"][name] = value
    return conditions_here(device, **settings)
