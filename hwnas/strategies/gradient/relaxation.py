"""A space with probabilities in place of decisions: the logits of its choices, and what is drawn from them.

Shapes: K options of a choice, L of them left.
"""

import math
from collections.abc import Iterator
from typing import Final, final

import torch
from torch import Tensor, nn

from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.strategies.gradient.samplers import Sampler
from hwnas.supernet.mixture import Drawn

# Nearly equal options at the start, but no two the same (TangleNAS, Sukthanker et al. 2023).
INITIAL_SCALE: Final = 1e-3


@final
class Relaxation(nn.Module):
    """One logit for every option of every choice that is free: neither tied to another nor of a single option.

    All are one parameter, `logits`; the buffer `alive` is False where an option has been dropped. Draws and probabilities
    are of single choices, in no way normalised: also of what others may switch off. Logits begin on the generator's device;
    begun on the CPU and then moved, they begin alike everywhere.
    """

    alive: Tensor

    def __init__(self, space: SearchSpace, sampler: Sampler, generator: torch.Generator) -> None:
        super().__init__()
        sizes = {choice.name: len(choice.options) for choice in space.choices if not choice.tied_to}
        self._sampler = sampler
        self._certain = [name for name, size in sizes.items() if size == 1]
        self._sizes = {name: size for name, size in sizes.items() if size > 1}
        count = sum(self._sizes.values())
        self.logits = nn.Parameter(INITIAL_SCALE * torch.randn(count, generator=generator, device=generator.device))
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool, device=generator.device))

    @property
    def learns(self) -> bool:
        """True where the sampler's probabilities follow the logits."""
        return any(probability_K.requires_grad for probability_K in self.probabilities().values())

    def draw(self, temperature: float, generator: torch.Generator) -> dict[str, Drawn]:
        """Draws the options to run of every choice that is not tied, as indices into the choice's options."""
        drawn = {name: Drawn((0,), self.logits.new_ones(1)) for name in self._certain}
        for name, logits_K, alive_K in self._parts():
            left = alive_K.nonzero().flatten()
            found = self._sampler.draw(logits_K[left], temperature, generator)
            options = left.tolist()
            drawn[name] = Drawn(tuple(options[place] for place in found.options), found.weights)
        return drawn

    def probabilities(self) -> dict[str, Tensor]:
        """The probability of each option (K,) of every choice that is not tied; exactly 0 where it has been dropped."""
        result = {name: self.logits.new_ones(1) for name in self._certain}
        for name, logits_K, alive_K in self._parts():
            probability_L = self._sampler.probabilities(logits_K[alive_K])
            result[name] = torch.zeros_like(logits_K).masked_scatter(alive_K, probability_L)
        return result

    @torch.no_grad()
    def entropy(self) -> float:
        """How undecided choices are, from 0 to 1: the mean entropy of those with two options left or more, each as a share
        of what it would be were all that are left equally likely. 0 where there are none."""
        shares = []
        for _, logits_K, alive_K in self._parts():
            probability_L = self._sampler.probabilities(logits_K[alive_K])
            if len(probability_L) > 1:
                shares.append(float(torch.special.entr(probability_L).sum()) / math.log(len(probability_L)))
        return sum(shares) / len(shares) if shares else 0.0

    @torch.no_grad()
    def drop(self, share_kept: float) -> None:
        """Keeps only the most probable of the options left of every choice, rounded up to a whole one: progressive learning
        (DrNAS, Chen et al. 2021). Raises HwnasError where the share is not above 0 and at most 1."""
        if not 0 < share_kept <= 1:
            raise HwnasError(f"cannot keep a share of {share_kept} of the options; give one above 0 and at most 1")
        for _, logits_K, alive_K in self._parts():
            left = alive_K.nonzero().flatten()
            # By logits, which order options as probabilities do, and those, too, that have none.
            ranked = left[logits_K[left].argsort(descending=True, stable=True)]
            alive_K[ranked[math.ceil(share_kept * len(left)) :]] = False  # a view of the buffer

    def _parts(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Every free choice: its name, its logits (K,) and which of its options are left (K,)."""
        sizes = list(self._sizes.values())
        return zip(self._sizes, torch.split(self.logits, sizes), torch.split(self.alive, sizes), strict=True)
