"""The training of a request: how the shared weights are trained, and where."""

from dataclasses import replace
from os import PathLike, fspath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic.dataclasses import dataclass

from hwnas.errors import UnknownNameError
from hwnas.train.recipes import RECIPES, Recipe

AUTO = "auto"


def _text(value: Any) -> Any:
    """Returns a path as a text."""
    return fspath(value) if isinstance(value, PathLike) else value


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """How weights are trained. `train_on` is all that may differ where a run is resumed."""

    epochs: Annotated[int, Field(ge=1, description="Epochs of supernet training, or of a gradient search.")] = 30
    recipe: Annotated[
        str, Field(description="sgd, adamw, or auto: sgd where the space has batch-norms, adamw where it has none.")
    ] = AUTO
    learning_rate: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="Highest rate; by default 0.2 of sgd, 0.001 of adamw."),
    ] = None
    class_weights: Annotated[
        Literal["none", "balanced"],
        Field(description="Weights of classes in the training loss: none, or balanced (rare classes weigh more)."),
    ] = "none"
    train_on: Annotated[str, Field(description="cpu, cuda, or auto: a GPU where PyTorch finds one.")] = AUTO
    supernet: Annotated[
        str | None, BeforeValidator(_text), Field(description="Folder of `hwnas train`, instead of training.")
    ] = None

    @field_validator("recipe")
    @classmethod
    def _known(cls, recipe: str) -> str:
        if recipe not in (AUTO, *RECIPES):
            raise UnknownNameError("recipe", recipe, [AUTO, *RECIPES])
        return recipe

    def recipe_for(self, usual: str) -> Recipe:
        """Returns the recipe with the epochs and, where there is one, the learning rate of the request.

        `usual` is the name of the recipe that `auto` stands for.
        """
        recipe = RECIPES[usual if self.recipe == AUTO else self.recipe]
        return replace(recipe, epochs=self.epochs, learning_rate=self.learning_rate or recipe.learning_rate)
