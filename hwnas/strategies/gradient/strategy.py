"""Gradient search as a strategy: its options, and the parts that they name. Knows no torch until it searches."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from hwnas.core.requests import flag
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


# The options that only one way of training the weights uses.
ONLY: Final = {
    "frozen": ("steps",),
    "joint": (
        "penalty_weight",
        "warmup_epochs",
        "progressive",
        "partial_channels",
        "unrolled",
        "mixed_precision",
        "regulariser",
    ),
}


@dataclass(frozen=True, kw_only=True)
class GradientSearchStrategy:
    """Learns probabilities of all options by gradients, and derives one network within the limits.

    On `frozen` weights the run's supernet is trained first, and the probabilities follow in a few `steps` on the task alone.
    With `joint` weights both are trained in turn, the expected costs held to their bounds: the epochs are those of the
    training recipe, after `warmup_epochs`.
    """

    name: ClassVar[str] = "gradient"
    # The values of options that runs of earlier versions do not store.
    unstored: ClassVar[Mapping[str, str]] = {"scheme": "joint"}
    # The names of options in runs of earlier versions.
    renamed: ClassVar[Mapping[str, str]] = {"weights": "scheme"}

    scheme: Annotated[
        Literal["frozen", "joint"],
        Field(
            description="frozen: the supernet is trained first, and all budgets share it; joint: weights and probabilities are "
            "trained in turn, for each budget (DARTS, DrNAS ...)."
        ),
    ] = "frozen"
    steps: Annotated[int, Field(ge=1, description="Steps of the probabilities on frozen weights.")] = 100
    sampler: Annotated[
        str,
        Field(
            description="darts (default), drnas (default of --scheme joint), sparsemax, gdas, gumbel (FBNet), gates "
            "(ProxylessNAS) or uniform (SPOS)."
        ),
    ] = AUTO
    penalty: Annotated[
        str,
        Field(
            description="With --scheme joint: budget (default; no weight to tune), fbnet, proxyless-linear, proxyless-log, "
            "mnasnet-soft, mnasnet-hard or none."
        ),
    ] = AUTO
    penalty_weight: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="FBNet's beta, ProxylessNAS's lambda ...; default: as published."),
    ] = None
    selector: Annotated[
        str,
        Field(
            description="factors, magnitude, perturbation (DARTS-PT), perturbation-tuned, zero-shot, zero-shot-networks, "
            "evolution, auto."
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
    regulariser: Annotated[
        Literal["l2", "kl"], Field(description="Regulariser of the logits: l2, or kl (DrNAS's paper).")
    ] = "l2"
    evaluations: Annotated[
        int, Field(ge=1, description="Networks per budget that --selector factors and evolution evaluate.")
    ] = 60

    @property
    def trains_weights(self) -> bool:
        """True where the weights are the search's own, not the run's supernet's."""
        return self.scheme == "joint"

    @model_validator(mode="after")
    def _go_together(self) -> "GradientSearchStrategy":
        usual = {field.name: field.default for field in fields(self)}
        for scheme, names in ONLY.items():
            given = [name for name in names if getattr(self, name) != usual[name]]
            if given and scheme != self.scheme:
                raise HwnasError(
                    f"{flag(given[0])} only applies to --scheme {scheme}; add --scheme {scheme}, or leave it out"
                )
        if self.scheme == "frozen" and self.penalty not in (AUTO, "none"):
            raise HwnasError(
                f"--penalty {self.penalty} only applies to --scheme joint: on frozen weights the probabilities learn the task "
                "alone; add --scheme joint, or leave it out"
            )
        if self.scheme == "frozen" and self.sampler == "gates":
            raise HwnasError(
                "--sampler gates (ProxylessNAS) only applies to --scheme joint; add it, or choose another sampler"
            )
        if self.sampler == "uniform" and (self.progressive or self.unrolled or self.steps != usual["steps"]):
            raise HwnasError(
                "--sampler uniform trains no probabilities: leave out --progressive, --unrolled and --steps, or choose another "
                "sampler"
            )
        if self.regulariser == "kl" and self.usual_sampler != "drnas":
            raise HwnasError(f"--regulariser kl only applies to --sampler drnas, not to {self.sampler}; leave it out")
        if self.penalty == "none" and self.penalty_weight is not None:
            raise HwnasError("--penalty none has no weight; leave --penalty-weight out")
        self.parts()
        return self

    @property
    def usual_sampler(self) -> str:
        """The name of the sampler; the one that `auto` stands for depends on the weights."""
        usual = "darts" if self.scheme == "frozen" else "drnas"
        return usual if self.sampler == AUTO else self.sampler

    def parts(self, *, ranked: bool = True) -> "tuple[Sampler, Penalty, Selector]":
        """Returns the sampler, penalty and selector that the options name. Raises UnknownNameError.

        `ranked` is False where the probabilities do not rank networks, which decides the selector that `auto` stands for.
        """
        from hwnas.strategies.gradient.penalties import penalty
        from hwnas.strategies.gradient.samplers import sampler
        from hwnas.strategies.gradient.selectors import selector

        frozen = self.scheme == "frozen"
        draws = sampler(self.usual_sampler)
        chosen = penalty(("none" if frozen else "budget") if self.penalty == AUTO else self.penalty)
        if self.penalty_weight is not None:
            chosen = replace(chosen, weight=self.penalty_weight)
        return draws, chosen, selector(self._usual_selector(ranked) if self.selector == AUTO else self.selector)

    def _usual_selector(self, ranked: bool) -> str:
        """Returns the selector that `auto` stands for."""
        if self.sampler == "uniform":
            return "evolution"
        return "magnitude" if ranked or self.scheme == "joint" else "factors"

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
        if self.scheme == "frozen":
            from hwnas.strategies.gradient.frozen import FrozenDerivation

            FrozenDerivation(self, problem, workshop).evaluate()
        else:
            from hwnas.strategies.gradient.derivation import Derivation

            Derivation(self, problem, workshop).evaluate()
