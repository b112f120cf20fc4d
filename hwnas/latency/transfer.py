"""The public name of `hwnas.predict.transfer.transfer_ms`."""

from hwnas.predict.transfer import transfer_ms

__all__ = ["transfer_ms"]
