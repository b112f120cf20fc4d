"""Gradient search as a strategy: its options, and how they are made into parts. Knows no torch until it searches."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from hwnas.strategies.gradient.penalties import Penalty
    from hwnas.strategies.gradient.samplers import Sampler
    from hwnas.strategies.gradient.schedule import Phase
    from hwnas.strategies.gradient.selection import Selector
    from hwnas.strategies.problem import Problem
    from hwnas.strategies.workshop import Workshop

AUTO: Final = "auto"
# The share of the options that stay for the second half of a progressive search.
PROGRESSIVE: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class GradientSearchStrategy:
    """Trains probabilities of all options with the weights, the expected costs held to their bounds, and derives one network.

    The epochs are those of the training recipe, after `warmup_epochs`.
    """

    name: ClassVar[str] = "gradient"
    trains_weights: ClassVar[bool] = True

    sampler: Annotated[
        str, Field(description="drnas, darts, sparsemax, gdas, gumbel (FBNet), gates (ProxylessNAS) or uniform (SPOS).")
    ] = "drnas"
    penalty: Annotated[
        str,
        Field(
            description="budget (no weight to tune), fbnet, proxyless-linear, proxyless-log, mnasnet-soft, mnasnet-hard or none."
        ),
    ] = "budget"
    penalty_weight: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="FBNet's beta, ProxylessNAS's lambda ...; default: as published."),
    ] = None
    selector: Annotated[
        str,
        Field(
            description="magnitude, perturbation (DARTS-PT), perturbation-tuned, zero-shot, zero-shot-networks, evolution, auto."
        ),
    ] = AUTO
    warmup_epochs: Annotated[int, Field(ge=0, description="Epochs of weights alone, before --epochs.")] = 5
    progressive: Annotated[bool, Field(description="Half of the options stay for the second half of the epochs.")] = (
        False
    )
    partial_channels: Annotated[
        int,
        Field(
            ge=1,
            description="In cells, operators get one in so many channels up to half of the epochs (PC-DARTS, DrNAS): faster.",
        ),
    ] = 1
    unrolled: Annotated[bool, Field(description="Second-order DARTS: three times the time.")] = False
    mixed_precision: Annotated[bool, Field(description="Train in bfloat16 where that is safe.")] = False
    evaluations: Annotated[int, Field(ge=1, description="Networks that --selector evolution judges.")] = 200
    regulariser: Annotated[
        Literal["l2", "kl"], Field(description="Regulariser of the logits: l2, or kl (DrNAS's paper).")
    ] = "l2"

    @model_validator(mode="after")
    def _go_together(self) -> "GradientSearchStrategy":
        if self.sampler == "uniform" and (self.progressive or self.unrolled):
            raise HwnasError(
                "--sampler uniform trains no probabilities: leave out --progressive and --unrolled, or choose another sampler"
            )
        if self.regulariser == "kl" and self.sampler != "drnas":
            raise HwnasError(f"--regulariser kl only applies to --sampler drnas, not to {self.sampler}; leave it out")
        if self.penalty == "none" and self.penalty_weight is not None:
            raise HwnasError("--penalty none has no weight; leave --penalty-weight out")
        self.parts()
        return self

    def parts(self) -> "tuple[Sampler, Penalty, Selector]":
        """Returns the sampler, penalty and selector that the options name. Raises UnknownNameError."""
        from hwnas.strategies.gradient.penalties import penalty
        from hwnas.strategies.gradient.samplers import sampler
        from hwnas.strategies.gradient.selectors import selector

        chosen = penalty(self.penalty)
        if self.penalty_weight is not None:
            chosen = replace(chosen, weight=self.penalty_weight)
        usual = "magnitude" if self.sampler != "uniform" else "evolution"
        return sampler(self.sampler), chosen, selector(usual if self.selector == AUTO else self.selector)

    def phases(self) -> "tuple[Phase, ...]":
        """Returns the phases of a search: as options fall out, channels come in.

        The second phase trains all channels, so that a network can be derived by its weights and trained from them. Its
        logits rest at first.
        """
        from hwnas.strategies.gradient.schedule import RESTING, Phase

        if not self.progressive and self.partial_channels == 1:
            return (Phase(),)
        kept = PROGRESSIVE if self.progressive else 1.0
        return Phase(partial=self.partial_channels), Phase(kept=kept, resting=RESTING)

    def search(self, problem: "Problem", workshop: "Workshop") -> None:
        """Searches for the limits that were asked for, and evaluates the network derived within the problem's limits."""
        from hwnas.strategies.gradient.derivation import Derivation

        Derivation(self, problem, workshop).evaluate()
