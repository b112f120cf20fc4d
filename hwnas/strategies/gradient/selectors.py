"""Selectors by name: each derives one architecture from a trained supernet and probabilities of its options.

Which selector is best depends on how the supernet was trained, so any of them goes with any sampler. Limits are hard: every
selector ends in `derive`, or compares only architectures within the limits.
"""

from collections.abc import Mapping
from typing import Final

from hwnas.errors import UnknownNameError
from hwnas.strategies.gradient.candidates import evolution, zero_shot_networks
from hwnas.strategies.gradient.factors import factors
from hwnas.strategies.gradient.importance import perturbation, perturbation_tuned, zero_shot
from hwnas.strategies.gradient.selection import Selector, magnitude

SELECTORS: Final[Mapping[str, Selector]] = {
    "magnitude": magnitude,
    "perturbation": perturbation,
    "perturbation-tuned": perturbation_tuned,
    "zero-shot": zero_shot,
    "zero-shot-networks": zero_shot_networks,
    "evolution": evolution,
    "factors": factors,
}


def selector(name: str) -> Selector:
    """Returns the selector of a name. Raises UnknownNameError."""
    if name not in SELECTORS:
        raise UnknownNameError("selector", name, list(SELECTORS))
    return SELECTORS[name]
