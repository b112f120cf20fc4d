"""Public names of latency prediction that stay where they are; the code is in `hwnas.predict`."""

from hwnas.latency import transfer

__all__ = ["transfer"]
