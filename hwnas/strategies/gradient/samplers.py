"""Samplers: the options of a choice that the supernet runs, their weights, and the probabilities of all options.

A sampler draws the options of one choice from the choice's logits. Only `gdas` uses the temperature. Randomness comes from
the generator alone, which is on the logits' device.

Shapes: K options of a choice; 2 options of a pair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import UnknownNameError
from hwnas.supernet.mixture import Drawn

# elu(x) + 1 is 0 for x far below 0. At a concentration of 0.01, one draw in a thousand underflows a double.
LEAST_CONCENTRATION: Final = 0.01

Draw = Callable[[Tensor, float, torch.Generator], Drawn]


@final
@dataclass(frozen=True, slots=True)
class Sampler:
    """A way to draw options, and the probabilities of options.

    `draw(logits_K, temperature, generator)` gives the options that the supernet runs. `probabilities(logits_K)`, shape (K,),
    decide the expected costs, the entropy and the derived architecture; an option's probability never falls when its logit
    rises.
    """

    draw: Draw
    probabilities: Callable[[Tensor], Tensor]


def sampler(name: str) -> Sampler:
    """Returns the sampler of a name. Raises UnknownNameError."""
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, list(SAMPLERS))
    return SAMPLERS[name]


def _softmax(logits_K: Tensor) -> Tensor:
    return logits_K.softmax(0)


def _darts(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws all options, weighted by their probabilities (DARTS, Liu et al. 2019, equation 2)."""
    return _all(_softmax(logits_K))


def _projected(logits_K: Tensor) -> Tensor:
    """Returns the point of the simplex nearest to the logits: sparsemax (Martins & Astudillo 2016, algorithm 1)."""
    sorted_K = logits_K.sort(descending=True).values
    total_K = sorted_K.cumsum(0)
    rank_K = torch.arange(1, len(logits_K) + 1, device=logits_K.device)
    support = (1 + rank_K * sorted_K > total_K).sum()
    threshold = (total_K[support - 1] - 1) / support
    return (logits_K - threshold).clamp(min=0)


def _sparsemax(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws the options of sparsemax's support: DARTS with entangled weights (TangleNAS, Sukthanker et al. 2023)."""
    probability_K = _projected(logits_K)
    support = probability_K.detach().nonzero().flatten()
    return Drawn(tuple(support.tolist()), probability_K[support])


def _gdas(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws the likeliest option after Gumbel noise, with the gradient of the softmax (GDAS, Dong & Yang 2019)."""
    soft_K = ((logits_K + _gumbel(logits_K, generator)) / temperature).softmax(0)
    chosen = int(soft_K.argmax())
    soft = soft_K[chosen, None]
    return Drawn((chosen,), _straight_through(torch.ones_like(soft), soft))


def _concentration(logits_K: Tensor) -> Tensor:
    return (F.elu(logits_K) + 1).clamp(min=LEAST_CONCENTRATION)


def _dirichlet_mean(logits_K: Tensor) -> Tensor:
    concentration_K = _concentration(logits_K)
    return concentration_K / concentration_K.sum()


def _drnas(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws all options, with weights from Dirichlet(elu(logits) + 1) (DrNAS, Chen et al. 2021).

    The weights are normalised gamma draws, which are differentiable: torch's own Dirichlet takes no generator.
    """
    gamma_K = torch._standard_gamma(_concentration(logits_K).double(), generator=generator)
    return _all((gamma_K / gamma_K.sum()).to(logits_K))


def _gates(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws two options, one of them active: binary gates (ProxylessNAS, Cai et al. 2019, section 3.2).

    The pair is drawn by probability without replacement, the active option by the probabilities renormalised to the pair.
    The gradient is the paper's equation 4 over the pair. With three options or more, likely options are active even more
    often than their probability says.
    """
    if len(logits_K) == 1:
        return Drawn((0,), logits_K.new_ones(1))
    # The two highest after Gumbel noise are a draw without replacement (Kool et al. 2019).
    noisy_K = logits_K.detach() + _gumbel(logits_K, generator)
    pair = sorted(noisy_K.topk(2).indices.tolist())
    soft_2 = logits_K[pair].softmax(0)
    active = torch.multinomial(soft_2.detach(), 1, generator=generator)
    return Drawn(tuple(pair), _straight_through(torch.zeros_like(soft_2).index_fill(0, active, 1.0), soft_2))


def _equal(logits_K: Tensor) -> Tensor:
    return torch.full_like(logits_K, 1 / len(logits_K), requires_grad=False)


def _uniform(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws one option, all equally likely; logits are not trained (SPOS, Guo et al. 2020)."""
    chosen = int(torch.randint(len(logits_K), (), generator=generator, device=logits_K.device))
    return Drawn((chosen,), logits_K.new_ones(1))


def _all(weights_K: Tensor) -> Drawn:
    return Drawn(tuple(range(len(weights_K))), weights_K)


def _gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    return -torch.empty_like(like, requires_grad=False).exponential_(generator=generator).log()


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Returns exactly the value of `hard`, with the gradient of `soft`."""
    return hard + (soft - soft.detach())


SAMPLERS: Final[Mapping[str, Sampler]] = {
    "darts": Sampler(_darts, _softmax),
    "sparsemax": Sampler(_sparsemax, _projected),
    "gdas": Sampler(_gdas, _softmax),
    "drnas": Sampler(_drnas, _dirichlet_mean),
    "gates": Sampler(_gates, _softmax),
    "uniform": Sampler(_uniform, _equal),
}
