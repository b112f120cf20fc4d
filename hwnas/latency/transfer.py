"""The public name of `hwnas.latency.transfer.transfer_ms`."""

from hwnas.predict.transfer import transfer_ms

__all__ = ["transfer_ms"]
