"""The relaxation of a space: probabilities in place of decisions, and draws from them.

Shapes: K options of a choice, L options of it that were not dropped.
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

# Options are nearly equal at the start, but no two the same (TangleNAS, Sukthanker et al. 2023).
INITIAL_SCALE: Final = 1e-3


@final
class Relaxation(nn.Module):
    """One logit for every option of every free choice: a choice that is not tied and has several options.

    All logits are one parameter, `logits`; the buffer `alive` is False for dropped options. Choices are drawn independently,
    also those that another choice may switch off. Logits are initialised on the generator's device; initialised on the CPU
    and then moved, they are equal on every device.
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
        """Returns the options to run, and their weights, of every choice that is not tied; options are indices."""
        drawn = {name: Drawn((0,), self.logits.new_ones(1)) for name in self._certain}
        for name, logits_K, alive_K in self._parts():
            left = alive_K.nonzero().flatten()
            choice = self._sampler.draw(logits_K[left], temperature, generator)
            options = left.tolist()
            drawn[name] = Drawn(tuple(options[place] for place in choice.options), choice.weights)
        return drawn

    def probabilities(self) -> dict[str, Tensor]:
        """Returns the probability of each option (K,) of every choice that is not tied; exactly 0 for dropped options."""
        result = {name: self.logits.new_ones(1) for name in self._certain}
        for name, logits_K, alive_K in self._parts():
            probability_L = self._sampler.probabilities(logits_K[alive_K])
            result[name] = torch.zeros_like(logits_K).masked_scatter(alive_K, probability_L)
        return result

    @torch.no_grad()
    def entropy(self) -> float:
        """Returns the mean entropy of the choices with several options left, each relative to its maximum log(L); 0 to 1.

        The entropy is 0 where every choice has one option left.
        """
        shares = []
        for _, logits_K, alive_K in self._parts():
            probability_L = self._sampler.probabilities(logits_K[alive_K])
            if len(probability_L) > 1:
                shares.append(float(torch.special.entr(probability_L).sum()) / math.log(len(probability_L)))
        return sum(shares) / len(shares) if shares else 0.0

    @torch.no_grad()
    def drop(self, share_kept: float) -> None:
        """Drops all but the most probable share of each choice's options, rounded up: progressive learning (DrNAS, Chen et
        al. 2021).

        Raises HwnasError for a share that is not above 0 and at most 1.
        """
        if not 0 < share_kept <= 1:
            raise HwnasError(f"cannot keep a share of {share_kept} of the options; give one above 0 and at most 1")
        for _, logits_K, alive_K in self._parts():
            left = alive_K.nonzero().flatten()
            # By logits: they order options as probabilities do, also options of probability 0.
            ranked = left[logits_K[left].argsort(descending=True, stable=True)]
            alive_K[ranked[math.ceil(share_kept * len(left)) :]] = False  # a view of the buffer

    def _parts(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yields every free choice: its name, its logits (K,) and a mask of the options left (K,)."""
        sizes = list(self._sizes.values())
        return zip(self._sizes, torch.split(self.logits, sizes), torch.split(self.alive, sizes), strict=True)
