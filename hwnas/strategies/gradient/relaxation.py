"""The relaxation of a space: probabilities in place of decisions, and draws from them.

Shapes: K options of a choice, L options of it that were not dropped.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.strategies.gradient.samplers import Draw, Sampler, dirichlet_divergence
from hwnas.supernet.mixture import Drawn

# Options are nearly equal at the start, but no two the same (TangleNAS, Sukthanker et al. 2023).
INITIAL_SCALE: Final = 1e-3


@final
class Relaxation(nn.Module):
    """One logit for every option of every free choice: a choice that is not tied and has several options.

    All logits are one parameter, `logits`; the buffer `alive` is False for dropped options, and the buffer `tilt` is the part
    of the logits that a separate penalty has added. Choices are drawn independently, also those that another choice may
    switch off. Logits are initialised on the generator's device; initialised on the CPU and then moved, they are equal on
    every device.
    """

    alive: Tensor
    tilt: Tensor

    def __init__(self, space: SearchSpace, sampler: Sampler, generator: torch.Generator) -> None:
        super().__init__()
        sizes = {choice.name: len(choice.options) for choice in space.choices if not choice.tied_to}
        self.sampler = sampler
        self._certain = [name for name, size in sizes.items() if size == 1]
        self._sizes = {name: size for name, size in sizes.items() if size > 1}
        count = sum(self._sizes.values())
        self.logits = nn.Parameter(INITIAL_SCALE * torch.randn(count, generator=generator, device=generator.device))
        self.register_buffer("alive", torch.ones(count, dtype=torch.bool, device=generator.device))
        self.register_buffer("tilt", torch.zeros_like(self.logits.detach()))
        self._empty = {name: _empty_options(space, name) for name in self._sizes}
        self.register_load_state_dict_pre_hook(_with_tilt)  # type: ignore[no-untyped-call]

    @property
    def learns(self) -> bool:
        """True where the sampler's probabilities follow the logits."""
        return any(probability_K.requires_grad for probability_K in self.probabilities().values())

    def draw(self, temperature: float, generator: torch.Generator) -> dict[str, Drawn]:
        """Returns the options to run, and their weights, of every choice that is not tied; options are indices."""
        return self._drawn(self.sampler.draw, temperature, generator)

    def path(self, temperature: float, generator: torch.Generator) -> dict[str, Drawn]:
        """Returns the options that the weights are trained on, as `draw`."""
        return self._drawn(self.sampler.path or self.sampler.draw, temperature, generator)

    def _drawn(self, draw: Draw, temperature: float, generator: torch.Generator) -> dict[str, Drawn]:
        drawn = {name: Drawn((0,), self.logits.new_ones(1)) for name in self._certain}
        for name, logits_K, alive_K in self._parts():
            left = alive_K.nonzero().flatten()
            choice = draw(logits_K[left], temperature, generator)
            options = left.tolist()
            drawn[name] = Drawn(tuple(options[place] for place in choice.options), choice.weights)
        return drawn

    def probabilities(self) -> dict[str, Tensor]:
        """Returns the probability of each option (K,) of every choice that is not tied; exactly 0 for dropped options."""
        return self._probabilities(self.logits)

    @torch.no_grad()
    def preferences(self) -> dict[str, Tensor]:
        """Returns the probabilities that the task's loss alone has led to: without the tilt of a separate penalty.

        The tilt makes the *expected* cost meet its bound. An architecture that is derived under that bound would pay for it
        twice, and spend little of the bound.
        """
        return self._probabilities(self.logits - self.tilt)

    def pair_probabilities(self, drawn: Mapping[str, Drawn]) -> dict[str, Tensor]:
        """Returns probabilities renormalised to the drawn options: those of ProxylessNAS's expected latency, in its code."""
        result = {name: self.logits.new_ones(1) for name in self._certain}
        for name, logits_K, _ in self._parts():
            pair = torch.tensor(drawn[name].options, device=logits_K.device)
            result[name] = torch.zeros_like(logits_K).index_put((pair,), logits_K[pair].softmax(0))
        return result

    def _probabilities(self, logits: Tensor) -> dict[str, Tensor]:
        result = {name: logits.new_ones(1) for name in self._certain}
        for name, logits_K, alive_K in self._parts(logits):
            probability_L = self.sampler.probabilities(logits_K[alive_K])
            result[name] = torch.zeros_like(logits_K).masked_scatter(alive_K, probability_L)
        return result

    def divergence(self) -> Tensor:
        """Returns DrNAS's regulariser, summed over the choices with several options left."""
        parts = [dirichlet_divergence(logits_K[alive_K]) for _, logits_K, alive_K in self._parts() if alive_K.sum() > 1]
        return torch.stack(parts).sum() if parts else 0.0 * self.logits.sum()

    @torch.no_grad()
    def movable(self, drawn: Mapping[str, Drawn]) -> Tensor:
        """Returns True for the logits that a step moves; shape of `logits`.

        All of them, but with a sampler of pairs the drawn options of choices whose active option does not leave its layer
        empty. (An active Zero gives no gradient in ProxylessNAS's code, neither of the task's loss nor of the latency.)
        """
        result = torch.ones_like(self.alive)
        if not self.sampler.pairs:
            return result
        for name, movable_K, _ in self._parts(result):
            active = drawn[name].options[int(drawn[name].weights.argmax())]
            movable_K[:] = False
            movable_K[list(drawn[name].options)] = active not in self._empty[name]
        return result

    @torch.no_grad()
    def rescale(self, drawn: Mapping[str, Drawn], before: Tensor) -> None:
        """Shifts the drawn logits so that the drawn options together are as probable as they were `before` a step.

        ProxylessNAS (Cai et al. 2019, section 3.2.1): so the probabilities of all other options stay as they were.
        """
        for (name, logits_K, _), (_, before_K, _) in zip(self._parts(), self._parts(before), strict=True):
            pair = list(drawn[name].options)
            logits_K[pair] += before_K[pair].logsumexp(0) - logits_K[pair].logsumexp(0)

    @torch.no_grad()
    def lean(self, step: Tensor) -> None:
        """Moves the logits by a step that `preferences` leaves out."""
        self.logits.add_(step)
        self.tilt.add_(step)

    @torch.no_grad()
    def entropy(self) -> float:
        """Returns the mean entropy of the choices with several options left, each relative to its maximum log(L); 0 to 1.

        The entropy is 0 where every choice has one option left.
        """
        shares = []
        for _, logits_K, alive_K in self._parts():
            probability_L = self.sampler.probabilities(logits_K[alive_K])
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

    def _parts(self, values: Tensor | None = None) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yields every free choice: its name, its logits or values (K,) and a mask of the options left (K,)."""
        sizes = list(self._sizes.values())
        every = self.logits if values is None else values
        return zip(self._sizes, torch.split(every, sizes), torch.split(self.alive, sizes), strict=True)


def _empty_options(space: SearchSpace, name: str) -> frozenset[int]:
    """Returns the options of a choice that leave a layer empty which no other choice decides."""
    scoped = [layer for layer in space.layers if {space.choice(each).tied_to or each for each in layer.scope} == {name}]
    options = space.choice(name).options
    return frozenset(
        index
        for layer in scoped
        for index, option in enumerate(options)
        if layer.operator(dict.fromkeys(layer.scope, option)) is None
    )


def _with_tilt(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Adds the tilt that states of earlier versions lack."""
    state.setdefault(f"{prefix}tilt", torch.zeros_like(state[f"{prefix}logits"]))
