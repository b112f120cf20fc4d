"""Samplers: the options of a choice that the supernet runs, their weights, and the probabilities of all options.

A sampler draws the options of one choice from the choice's logits. Only `gdas` and `gumbel` use the temperature. Randomness
comes from the generator alone, which is on the logits' device.

Shapes: K options of a choice; 2 options of a pair.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F

from hwnas.errors import UnknownNameError
from hwnas.supernet.mixture import Drawn

# elu(x) + 1 is 0 for x far below 0. At a concentration of 0.01, one draw in a thousand underflows a double.
LEAST_CONCENTRATION: Final = 0.01

Draw = Callable[[Tensor, float, torch.Generator], Drawn]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LogitTraining:
    """The published training of a sampler's logits; the defaults are those of DARTS (Liu et al. 2019, section 3.1).

    Adam has a rate of `rate` or, where a search is shorter than the published ones, the rate that lets a logit move by
    `search.REACH`. `decay` is the weight of the regulariser. Logits step once in `every` steps of the weights.
    `weights_share` of the training examples teach the weights, the others the logits.
    """

    rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay: float = 1e-3
    every: int = 1
    weights_share: float = 0.5


def _linear(share: float) -> float:
    """Returns the temperature of GDAS's code: 10 falling to 0.1."""
    return 10.0 - 9.9 * min(1.0, max(0.0, share))


def _exponential(share: float) -> float:
    """Returns FBNet's temperature (Wu et al. 2019): 5 exp(-0.045 e), epochs 10 to 89 being those of the search."""
    return 5.0 * math.exp(-0.045 * max(0.0, 10.0 + 79.0 * share))


@final
@dataclass(frozen=True, slots=True)
class Sampler:
    """A way to draw options, and the probabilities of options.

    `draw(logits_K, temperature, generator)` gives the options that the supernet runs. `probabilities(logits_K)`, shape (K,),
    decide the expected costs, the entropy and the derived architecture; an option's probability never falls when its logit
    rises. `path` draws what the weights are trained on; None stands for `draw`. `temperature` maps the share of the search
    that is done (negative in the warm-up, 1 in the last epoch) to a temperature. With `pairs` a step of the logits moves the
    drawn options alone, and keeps the probability that they have together.
    """

    draw: Draw
    probabilities: Callable[[Tensor], Tensor]
    path: Draw | None = None
    temperature: Callable[[float], float] = _linear
    training: LogitTraining = LogitTraining()
    pairs: bool = False


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


def _gumbel_softmax(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws all options, weighted by the softmax of noisy logits (FBNet, Wu et al. 2019, equation 5)."""
    return _all(((logits_K + _gumbel(logits_K, generator)) / temperature).softmax(0))


def _concentration(logits_K: Tensor) -> Tensor:
    return (F.elu(logits_K) + 1).clamp(min=LEAST_CONCENTRATION)


def _dirichlet_mean(logits_K: Tensor) -> Tensor:
    concentration_K = _concentration(logits_K)
    return concentration_K / concentration_K.sum()


@final
class _DirichletShares(torch.autograd.Function):
    """A draw from a Dirichlet distribution with torch's own gradient of it, but from a generator.

    Normalised gamma draws have the same distribution, and a gradient of up to twice the variance.
    """

    @staticmethod
    def forward(ctx: Any, concentration_K: Tensor, generator: torch.Generator) -> Tensor:
        share_K = torch._sample_dirichlet(concentration_K, generator=generator)
        ctx.save_for_backward(share_K, concentration_K)
        return share_K

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_K: Tensor) -> tuple[Tensor, None]:
        share_K, concentration_K = ctx.saved_tensors
        total_K = concentration_K.sum().expand_as(concentration_K).contiguous()
        gradient_K = torch._dirichlet_grad(share_K, concentration_K, total_K)
        return gradient_K * (slope_K - (share_K * slope_K).sum()), None


def _drnas(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws all options, with weights from Dirichlet(elu(logits) + 1) (DrNAS, Chen et al. 2021)."""
    if len(logits_K) == 1:
        return Drawn((0,), logits_K.new_ones(1))
    share_K: Tensor = _DirichletShares.apply(_concentration(logits_K).double(), generator)  # type: ignore[no-untyped-call]
    return _all(share_K.to(logits_K))


def dirichlet_divergence(logits_K: Tensor) -> Tensor:
    """Returns KL(Dirichlet(elu(logits) + 1) || Dirichlet(1)), the regulariser of DrNAS (Chen et al. 2021)."""
    concentration_K = _concentration(logits_K)
    return kl_divergence(Dirichlet(concentration_K), Dirichlet(torch.ones_like(concentration_K)))


def _gates(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws two options, one of them active: binary gates (ProxylessNAS, Cai et al. 2019, section 3.2).

    The pair is drawn by probability without replacement, the active option by the probabilities renormalised to the pair.
    The gradient is the paper's equation 4 over the pair. With three options or more, likely options are active even more
    often than their probability says, so weights are trained by `_path`.
    """
    if len(logits_K) == 1:
        return Drawn((0,), logits_K.new_ones(1))
    # The two highest after Gumbel noise are a draw without replacement (Kool et al. 2019).
    noisy_K = logits_K.detach() + _gumbel(logits_K, generator)
    pair = sorted(noisy_K.topk(2).indices.tolist())
    soft_2 = logits_K[pair].softmax(0)
    active = torch.multinomial(soft_2.detach(), 1, generator=generator)
    return Drawn(tuple(pair), _straight_through(torch.zeros_like(soft_2).index_fill(0, active, 1.0), soft_2))


def _path(logits_K: Tensor, temperature: float, generator: torch.Generator) -> Drawn:
    """Draws one option by probability: the path that trains the weights (ProxylessNAS, Cai et al. 2019, section 3.2)."""
    chosen = int(torch.multinomial(logits_K.detach().softmax(0), 1, generator=generator))
    return Drawn((chosen,), logits_K.new_ones(1))


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
    "gumbel": Sampler(
        _gumbel_softmax,
        _softmax,
        temperature=_exponential,
        # FBNet's logits see their fifth of the examples once while the weights see the other four.
        training=LogitTraining(rate=0.01, betas=(0.9, 0.999), decay=5e-4, every=4, weights_share=0.8),
    ),
    "drnas": Sampler(_drnas, _dirichlet_mean),
    "gates": Sampler(
        _gates,
        _softmax,
        path=_path,
        training=LogitTraining(rate=1e-3, betas=(0.0, 0.999), decay=0.0, every=5),
        pairs=True,
    ),
    "uniform": Sampler(_uniform, _equal),
}
