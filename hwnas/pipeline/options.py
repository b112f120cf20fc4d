"""Options of a search that its pipeline owns: sources of predictors, the start, and final training. Loads no torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from hwnas.core.requests import Texts, path_text


@dataclass(frozen=True, kw_only=True)
class SourcesRequest:
    """Options for measurements that exist. Each file serves the device whose conditions, and the cost, it was made for."""

    networks: Annotated[int, Field(ge=1, description="Whole networks that correct the operators' times.")] = 60
    table: Annotated[
        Texts,
        Field(description="A table measured before, or DEVICE/SPACE of a shipped one, instead of profiling."),
    ] = ()
    predictor: Annotated[
        Texts,
        Field(
            description="A predictor fitted before, of latency or energy, or DEVICE/SPACE of a shipped one, instead of profiling."
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """Options for what a search begins with."""

    warm_start: Annotated[
        str | None,
        BeforeValidator(path_text),
        Field(
            description="A run of the same space, whose best networks are evaluated first, or a file of architectures "
            "(JSON lines), all of which are."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TrackingRequest:
    """Options for recording a run's numbers. All may differ where a run is resumed."""

    track: Annotated[
        Texts,
        AfterValidator(lambda names: () if names == ("none",) else names),
        Field(
            description="Where losses and scores are recorded besides the run: tensorboard, mlflow, or FILE.py:NAME; none: "
            "nowhere any more, for a run that goes on."
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class FinalRequest:
    """Options of final training."""

    final: Annotated[
        Literal["none", "finetune", "scratch"],
        Field(
            description="Training of the front's networks before they are handed out: none (the weights of the search), "
            "finetune (from those weights on), or scratch (from new ones)."
        ),
    ] = "finetune"
    final_epochs: Annotated[int, Field(ge=1, description="Epochs of --final.")] = 30
    final_networks: Annotated[
        int,
        Field(
            ge=1,
            description="Networks that --final trains: the best of every budget and objective, and others spread over "
            "the front.",
        ),
    ] = 8
    final_teacher: Annotated[
        Literal["none", "largest", "external"],
        Field(
            description="Teacher of --final: none (labels alone), the largest network of the supernet, or external, the one of "
            "--teacher."
        ),
    ] = "none"

    @property
    def is_taught(self) -> bool:
        """True where networks are trained further, with a teacher."""
        return self.final != "none" and self.final_teacher != "none"
