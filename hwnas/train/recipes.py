"""Recipes of training, as values. Imports no torch, so that requests can check names against them.

A `Recipe` says how any network is trained: optimiser, rate, length. Its `supernet` part says how the networks of a supernet
share the steps, one field per published switch: an ablation is `dataclasses.replace`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from hwnas.core.choice import Option
from hwnas.errors import TrainingError, UnknownNameError
from hwnas.spaces.recipe import RECIPE
from hwnas.train.draws import DRAWS

REGULARISED: Final = ("all", "largest")
# What students imitate, and the class of each. A new one is a class and a line here.
IMITATIONS: Final[Mapping[str, str]] = {
    "outputs": "hwnas.train.imitation:Outputs",
    "relations": "hwnas.train.imitation:Relations",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetRecipe:
    """The way in which the networks of a supernet are trained together. The defaults are those of the recipe `sandwich`.

    `networks` names the function of `DRAWS` that draws the networks of a step; `random_subnets` of them are random. An epoch is
    `passes` over the training examples, so that an epoch of most recipes shows every example to four networks.
    `distillation` is the share of a student's loss that imitates its teacher, None the optimiser's usual share; `imitation` says
    what it imitates, a name of `IMITATIONS`. `taught_until` is the share of the training after which an external teacher leaves:
    from then on the first network of a step teaches the others. `zero_init` starts residual blocks as the identity.
    `regularised` names the networks that get label smoothing and dropout: `all`, or the `largest` alone. `ending` is the share of
    the highest rate below which the rate does not fall.
    """

    networks: str = "sandwich"
    random_subnets: int = 2
    passes: int = 1
    distillation: float | None = None
    imitation: str = "outputs"
    taught_until: float = 1.0
    zero_init: bool = False
    regularised: str = "all"
    ending: float = 0.0

    def __post_init__(self) -> None:
        if self.networks not in DRAWS:
            raise UnknownNameError("draw of networks", self.networks, list(DRAWS))
        if self.imitation not in IMITATIONS:
            raise UnknownNameError("imitation", self.imitation, list(IMITATIONS))
        if self.regularised not in REGULARISED:
            raise UnknownNameError("regularised networks", self.regularised, list(REGULARISED))
        if (
            min(self.random_subnets, self.passes) < 1
            or not 0 <= (self.distillation or 0.0) <= 1
            or not 0 <= self.taught_until <= 1
            or not 0 <= self.ending < 1
        ):
            raise TrainingError(
                f"cannot train {self.random_subnets} random networks a step in {self.passes} passes, a share of distillation "
                f"of {self.distillation}, a teacher until {self.taught_until} of the training and a rate that ends at "
                f"{self.ending} of its highest"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """An optimiser, its rate, and the length of a training.

    `distillation` is the share of a student's loss that imitates its teacher; the labels' loss has the rest. `weight_decay`
    applies to matrices, kernels and embedding tables, not to norms and biases. `ema` is the decay of the moving average of
    the weights, 0 without one. `augmented` is False where training examples are shown as they are.
    """

    optimizer: str
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    distillation: float
    clip_norm: float
    epochs: int = 30
    batch_size: int = 64
    warmup_epochs: int = 2
    ema: float = 0.0
    augmented: bool = True
    supernet: SupernetRecipe = field(default_factory=SupernetRecipe)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or self.learning_rate <= 0 or not 0 <= self.ema < 1:
            raise TrainingError(
                f"cannot train for {self.epochs} epochs, batch {self.batch_size}, rate {self.learning_rate}, average {self.ema}"
            )
        if self.weight_decay < 0 or not 0 <= self.label_smoothing < 1:
            raise TrainingError(
                f"cannot train with a weight decay of {self.weight_decay} and a label smoothing of {self.label_smoothing}"
            )


# The usual recipe of each optimiser.
BY_OPTIMIZER: Final[Mapping[str, Recipe]] = {
    "sgd": Recipe(
        optimizer="sgd",
        learning_rate=0.2,
        weight_decay=1e-4,
        label_smoothing=0.1,
        distillation=1.0,
        clip_norm=5.0,
    ),
    "adamw": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.05,
        label_smoothing=0.0,  # a language model's metric is the loss itself, and smoothing moves its minimum
        # With distillation alone, all networks of a GPT stay at bigrams: 2.7 nats on Shakespeare's characters after 320
        # steps, and more at higher rates; with half of the labels' loss they reach 2.4.
        distillation=0.5,
        clip_norm=1.0,
    ),
}

# Sources and deviations of each recipe: docs/training.md.
RECIPES: Final[Mapping[str, SupernetRecipe]] = {
    "sandwich": SupernetRecipe(),
    "bignas": SupernetRecipe(distillation=1.0, zero_init=True, regularised="largest", ending=0.05),
    "progressive": SupernetRecipe(networks="progressive"),
    "single-path": SupernetRecipe(networks="single-path", passes=4),
    "alternating": SupernetRecipe(networks="alternating", passes=4),
    "instatune": SupernetRecipe(networks="largest-and-random", random_subnets=1, passes=2, distillation=0.7),
    "autodistil": SupernetRecipe(distillation=1.0, imitation="relations"),
}

# The share of the usual rate at which weights that are trained already are trained on.
TRAINED_RATE: Final = 0.1

# The parts of a recipe that belong to its optimiser.
OF_OPTIMIZER: Final = ("optimizer", "learning_rate", "weight_decay", "label_smoothing", "distillation", "clip_norm")


def recipe_of_arch(recipe: Recipe, arch: Mapping[str, Option]) -> Recipe:
    """Returns the recipe with what an architecture's choices of the recipe say (`spaces.with_recipe`).

    An optimiser other than the recipe's brings its usual rate, decay, smoothing, share of distillation and clipping. Raises
    UnknownNameError for an unknown optimiser, TrainingError for values that cannot be.
    """
    said = {name.removeprefix(RECIPE): option for name, option in arch.items() if name.startswith(RECIPE)}
    optimizer = str(said.get("optimizer", recipe.optimizer))
    if optimizer != recipe.optimizer:
        if optimizer not in BY_OPTIMIZER:
            raise UnknownNameError("optimizer", optimizer, list(BY_OPTIMIZER))
        recipe = replace(recipe, **{name: getattr(BY_OPTIMIZER[optimizer], name) for name in OF_OPTIMIZER})
    return replace(
        recipe,
        learning_rate=recipe.learning_rate * float(said.get("rate", 1.0)),
        weight_decay=recipe.weight_decay * float(said.get("decay", 1.0)),
        label_smoothing=float(said.get("smoothing", recipe.label_smoothing)),
        ema=float(said.get("ema", recipe.ema)),
        epochs=int(said.get("epochs", recipe.epochs)),
        augmented=bool(said.get("augmentation", recipe.augmented)),
    )
