"""The space of a request: which one, with which options, what is taken away from it, and how its training varies."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.core.operations import restricted
from hwnas.core.requests import Texts
from hwnas.core.space import SearchSpace
from hwnas.spaces.loading import load_space
from hwnas.spaces.recipe import varied


@dataclass(frozen=True, kw_only=True)
class SpaceRequest:
    """A space by reference. `fix`, `drop` and `tie` are operations on it in words (`core.operations.restricted`).

    `vary` adds choices of the training recipe (`spaces.recipe.varied`) before these operations.
    """

    space: Annotated[str, Field(description="A built-in space, or FILE.py:FUNCTION.")] = "mobilenet"
    space_options: Annotated[
        Mapping[str, Any], Field(description="An option of the space, as NAME=VALUE; lists as JSON: layers=[2,3].")
    ] = Field(default_factory=dict)
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
        return self.restrict(load_space(self.space, dict(self.space_options)))

    def restrict(self, space: SearchSpace) -> SearchSpace:
        """Returns a loaded space, restricted and varied as asked."""
        return restricted(varied(space, self.vary), fixed=self.fix, dropped=self.drop, tied=self.tie)
