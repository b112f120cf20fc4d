"""Predicting latency: measurements to factors, and the errors of the prediction."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "transfer":
        raise AttributeError(f"module 'hwnas.latency' has no attribute {name!r}")
    return import_module("hwnas.latency.transfer")
