"""Choices of the training recipe: they shape no layer, so they have neither latency nor other costs.

An architecture of such a space names how its network is trained; `train/recipes.py` makes the recipe of its options.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from hwnas.core.choice import Option
from hwnas.core.files import json_of
from hwnas.core.operations import add
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError, UnknownNameError

# The names of choices of the recipe begin with it.
RECIPE: Final = "recipe."
# The parts of a recipe that may be choices, and the types of their options. Rate and decay are multiples of the usual ones.
PARTS: Final[Mapping[str, tuple[type, ...]]] = {
    "optimizer": (str,),
    "rate": (int, float),
    "decay": (int, float),
    "smoothing": (int, float),
    "ema": (int, float),
    "epochs": (int,),
    "augmentation": (bool,),
}
# What to write, by the types of the options.
WORDS: Final[Mapping[tuple[type, ...], str]] = {
    (str,): "names, such as sgd,adamw",
    (int, float): "numbers, such as 0.3,1,3",
    (int,): "whole numbers, such as 10,30",
    (bool,): "true or false",
}


def with_recipe(space: SearchSpace, **options: Sequence[Option]) -> SearchSpace:
    """Returns the space with a choice `recipe.PART` for each part of the training recipe that is given options.

    `optimizer` names sgd or adamw, `rate` and `decay` multiply the optimiser's learning rate and weight decay, `smoothing`
    is that of labels, `ema` the decay of averaged weights, `epochs` a number, and `augmentation` is True or False.
    Raises UnknownNameError for another part, SpaceError for an option of another type.
    """
    for part, values in options.items():
        if part not in PARTS:
            raise UnknownNameError("part of a recipe", part, list(PARTS))
        for value in values:
            is_kind = isinstance(value, PARTS[part]) and isinstance(value, bool) is (bool in PARTS[part])
            if not is_kind or (isinstance(value, float) and not math.isfinite(value)):
                raise SpaceError(f"{RECIPE}{part} cannot be {value!r}; give {WORDS[PARTS[part]]}")
    return add(space, {f"{RECIPE}{part}": values for part, values in options.items()}) if options else space


def varied(space: SearchSpace, texts: Sequence[str]) -> SearchSpace:
    """Adds choices of the recipe in the syntax of the command line, `PART=OPTION,OPTION`. Raises SpaceError."""
    options: dict[str, list[Option]] = {}
    for text in texts:
        part, _, written = text.partition("=")
        if not written:
            raise SpaceError(f"--vary {text!r} has no options; write --vary rate=0.3,1,3")
        if part in options:
            raise SpaceError(f"--vary {part} is given twice; write all options in one: --vary rate=0.3,1,3")
        options[part] = [_option(word) for word in written.split(",")]
    return with_recipe(space, **options)


def recipe_choices(space: SearchSpace) -> tuple[str, ...]:
    """Returns the names of the choices of a space that belong to the training recipe."""
    return tuple(choice.name for choice in space.choices if choice.name.startswith(RECIPE))


def _option(word: str) -> Option:
    """Returns an option as it is written in JSON: 0.5, 3, true; another word is a text."""
    try:
        value = json_of(word)
    except ValueError:
        return word
    return value if isinstance(value, bool | int | float) else word
