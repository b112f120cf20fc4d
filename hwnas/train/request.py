"""The training of a request: how the shared weights are trained, and where."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic.dataclasses import dataclass

from hwnas.core.requests import path_text
from hwnas.errors import HwnasError, UnknownNameError
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, TRAINED_RATE, Recipe

AUTO = "auto"
USUAL = "single-path"
# The teacher that is the largest network of the space.
LARGEST = "largest"


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Options of training weights. `train_on` is all that may differ where a run is resumed."""

    epochs: Annotated[
        int,
        Field(
            ge=0, description="Epochs of supernet training, or of a gradient search; 0 keeps the weights of --model."
        ),
    ] = 30
    recipe: Annotated[
        str, Field(description=f"How the networks of a supernet share its training: {', '.join(RECIPES)}.")
    ] = USUAL
    optimizer: Annotated[
        str, Field(description="sgd, adamw, or auto: sgd where the space has batch-norms, adamw where it has none.")
    ] = AUTO
    learning_rate: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Highest rate; by default 0.2 of sgd, 0.001 of adamw; a tenth with --model.",
        ),
    ] = None
    ema: Annotated[
        float,
        Field(ge=0, lt=1, description="Decay of a moving average of the weights, such as 0.99; 0 is without one."),
    ] = 0.0
    teacher: Annotated[
        str | None,
        BeforeValidator(path_text),
        Field(
            description="Network whose outputs all networks of the supernet imitate: FILE.onnx, FILE.py:NAME, or largest: the "
            "largest network, with --model your own, trained alone first."
        ),
    ] = None
    teacher_epochs: Annotated[
        int,
        Field(
            ge=0, description="Epochs of --teacher largest on the labels; 0 keeps the weights of --model as they are."
        ),
    ] = 30
    class_weights: Annotated[
        Literal["none", "balanced"],
        Field(description="Weights of classes in the training loss: none, or balanced (rare classes weigh more)."),
    ] = "none"
    train_on: Annotated[str, Field(description="cpu, cuda, or auto: a GPU where PyTorch finds one.")] = AUTO
    supernet: Annotated[
        str | None, BeforeValidator(path_text), Field(description="Folder of `hwnas train`, instead of training.")
    ] = None

    @property
    def trains_a_supernet(self) -> bool:
        """True where networks that share a supernet's weights are trained, not loaded or left as they are."""
        return self.supernet is None and self.epochs > 0

    @field_validator("recipe")
    @classmethod
    def _known(cls, recipe: str) -> str:
        if recipe in BY_OPTIMIZER:
            raise HwnasError(
                f"--recipe says how the networks of a supernet share its training; for the optimiser give --optimizer {recipe}"
            )
        if recipe not in RECIPES:
            raise UnknownNameError("recipe", recipe, list(RECIPES))
        return recipe

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, optimizer: str) -> str:
        if optimizer not in (AUTO, *BY_OPTIMIZER):
            raise UnknownNameError("optimizer", optimizer, [AUTO, *BY_OPTIMIZER])
        return optimizer

    def recipe_for(self, usual: str, *, is_trained: bool = False) -> Recipe:
        """Returns the optimiser's recipe with the epochs and the other options of the request.

        `usual` is the name of the optimiser that `auto` stands for. Weights that are trained already are trained at a lower
        rate. Without epochs there is no training of a supernet; what else uses the recipe has epochs of its own.
        """
        recipe = BY_OPTIMIZER[usual if self.optimizer == AUTO else self.optimizer]
        return replace(
            recipe,
            epochs=max(1, self.epochs),
            learning_rate=self.learning_rate or recipe.learning_rate * (TRAINED_RATE if is_trained else 1.0),
            ema=self.ema,
            supernet=RECIPES[self.recipe],
        )
