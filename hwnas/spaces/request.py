"""The space of a request: which one, with which options, what is taken away from it, and how its training varies."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from hwnas.core.operations import restricted, with_precisions
from hwnas.core.requests import Texts, path_text
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.spaces.loading import TRAINED, load_space
from hwnas.spaces.recipe import varied

USUAL: Final = "mobilenet"


@dataclass(frozen=True, kw_only=True)
class SpaceRequest:
    """A space by reference, or a trained network, whose smaller versions are the space.

    `fix`, `drop` and `tie` are operations on the space in words (`core.operations.restricted`).

    `precisions` adds a choice of each layer's precision (`core.operations.with_precisions`), and `vary` choices of the training
    recipe (`spaces.recipe.varied`), before these operations.
    """

    space: Annotated[str, Field(description="A built-in space, or FILE.py:FUNCTION.")] = USUAL
    model: Annotated[
        str | None,
        BeforeValidator(path_text),
        Field(
            description="Trained network to make smaller, instead of a space: FILE.py:NAME, timm:NAME, torchvision:NAME, "
            "hf:DIR."
        ),
    ] = None
    weights: Annotated[
        str | None,
        BeforeValidator(path_text),
        Field(description="Weights of --model, of safetensors or a checkpoint; new for new ones; default: its own."),
    ] = None
    importance: Annotated[
        str | None,
        BeforeValidator(path_text),
        Field(
            description="Units of --model that are kept longest: those of the largest weights (l1, the default) or scales of "
            "norms (norm), the first ones (none), or those that the loss depends on (FILE.safetensors of gradients)."
        ),
    ] = None
    freeze: Annotated[
        Texts,
        Field(
            description="Layers or weights of --model that training leaves as they are, as a PATTERN: 'embeddings', '*.bias'; "
            "'!PATTERN' takes back, as in --freeze '*' --freeze '!head'."
        ),
    ] = ()
    space_options: Annotated[
        Mapping[str, Any], Field(description="An option of the space, as NAME=VALUE; lists as JSON: layers=[2,3].")
    ] = Field(default_factory=dict)
    precisions: Annotated[
        str | None,
        Field(
            description="Precisions that each block's file may have, fp32,int8: a choice BLOCK.precision. Default: all fp32."
        ),
    ] = None
    fix: Annotated[Texts, Field(description="The only option of these choices, as PATTERN=OPTION.")] = ()
    drop: Annotated[Texts, Field(description="An option to take away, as PATTERN=OPTION: 'stage*.kernel=7'.")] = ()
    tie: Annotated[Texts, Field(description="Choices to make one, as a PATTERN: 'stage*.kernel'.")] = ()
    vary: Annotated[
        Texts,
        Field(
            description="A choice of the training recipe, as PART=OPTION,OPTION: rate=0.3,1,3; also optimizer, decay, smoothing, "
            "ema, epochs, augmentation."
        ),
    ] = ()

    def load(self) -> SearchSpace:
        """Returns the space, restricted and varied as asked. Raises UnknownNameError, SpaceError."""
        if self.model is None:
            return self.restrict(load_space(self.space, dict(self.space_options)))
        given = {"freeze": self.freeze, "importance": self.importance}
        own = {name: value for name, value in given.items() if value}
        options = {**self.space_options, **own, "model": self.model, "weights": self.weights or ""}
        return self.restrict(load_space(TRAINED, options))

    @model_validator(mode="after")
    def _go_together(self) -> "SpaceRequest":
        if self.model is None and self.weights is not None:
            raise HwnasError("--weights are those of a --model; add it, or leave --weights out")
        if self.model is None and self.freeze:
            raise HwnasError("--freeze keeps weights of a --model; add it, or leave --freeze out")
        if self.model is None and self.importance is not None:
            raise HwnasError("--importance orders units of a --model; add it, or leave --importance out")
        if self.model is not None and self.space != USUAL:
            raise HwnasError(f"--model {self.model} is searched instead of a --space; leave one of them out")
        return self

    def restrict(self, space: SearchSpace) -> SearchSpace:
        """Returns a loaded space, restricted and varied as asked."""
        if self.precisions is not None:
            space = with_precisions(space, self.precisions.replace(" ", "").split(","))
        return restricted(varied(space, self.vary), fixed=self.fix, dropped=self.drop, tied=self.tie)
