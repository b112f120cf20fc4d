"""Hardware-aware neural architecture search, down to ONNX models timed on your own device."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "ExpectedLatency",
    "HwnasError",
    "LatencyPredictor",
    "Supernet",
    "elasticize",
    "export_onnx",
    "load",
    "search",
    "space",
]

if TYPE_CHECKING:
    from hwnas.core.choice import Argument
    from hwnas.core.space import SearchSpace
    from hwnas.elastic.space import elasticize
    from hwnas.errors import HwnasError
    from hwnas.pipeline.result import load
    from hwnas.pipeline.search import search
    from hwnas.predict.expected import ExpectedLatency
    from hwnas.predict.predictor import LatencyPredictor
    from hwnas.profiler.export import export_onnx
    from hwnas.supernet.network import Supernet


def space(reference: str, **options: "Argument") -> "SearchSpace":
    """A search space by built-in name or `FILE.py:FUNCTION`, made with keyword options.

    >>> space("mobilenet", resolution=32, classes=10).input_shape
    (3, 32, 32)
    """
    from hwnas.spaces import load_space

    return load_space(reference, options)


if not TYPE_CHECKING:  # a type checker knows the names above, and no others
    # Loaded when first used: importing hwnas loads no torch.
    _HOMES = {
        "ExpectedLatency": "hwnas.predict.expected",
        "HwnasError": "hwnas.errors",
        "LatencyPredictor": "hwnas.predict.predictor",
        "Supernet": "hwnas.supernet.network",
        "elasticize": "hwnas.elastic.space",
        "export_onnx": "hwnas.profiler.export",
        "load": "hwnas.pipeline.result",
        "search": "hwnas.pipeline.python",
    }

    def __getattr__(name):
        from importlib import import_module

        if name == "latency":  # for hwnas.latency.transfer.transfer_ms
            return import_module("hwnas.latency")
        if name not in _HOMES:
            raise AttributeError(f"module 'hwnas' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
