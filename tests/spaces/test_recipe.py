"""Laws of choices of the training recipe: they cost nothing, survive files, and say how a network is trained."""

from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError, TrainingError, UnknownNameError
from hwnas.spaces import reload_space, with_recipe
from hwnas.spaces.recipe import recipe_choices, varied
from hwnas.spaces.request import SpaceRequest
from hwnas.strategies.loss_factors import LossFactors
from hwnas.train.recipes import BY_OPTIMIZER, recipe_of_arch

SMALL = {"resolution": 16, "width": 0.25}


@pytest.fixture(scope="module")
def plain() -> SearchSpace:
    return hwnas.space("mobilenet", **SMALL)


def test_they_multiply_the_architectures_and_cost_nothing(plain: SearchSpace) -> None:
    space = with_recipe(plain, rate=(0.3, 1.0, 3.0), optimizer=("sgd", "adamw"))
    assert space.size == 6 * plain.size and recipe_choices(space) == ("recipe.rate", "recipe.optimizer")
    assert recipe_choices(plain) == ()
    rows_NC = space.sample_rows(np.random.default_rng(0), 20)
    for cost in ("flops", "params", "bytes", "peak"):
        assert np.array_equal(space.costs(cost, rows_NC), plain.costs(cost, rows_NC[:, :-2]))


def test_the_command_line_writes_them_and_files_keep_them() -> None:
    request = SpaceRequest(
        space_options=SMALL, vary=("rate=0.3,1,3", "augmentation=true,false"), drop=("recipe.rate=3",)
    )
    space = request.load()
    assert space.choice("recipe.rate").options == (0.3, 1) and space.choice("recipe.augmentation").options == (
        True,
        False,
    )
    assert reload_space(space.describe()).fingerprint == space.fingerprint


def test_a_function_of_ones_own_may_add_them(tmp_path: Path) -> None:
    """Its operations are part of the function, and are not done again where a file is read."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from hwnas.spaces import load_space, with_recipe\n"
        f"def build():\n    return with_recipe(load_space('mobilenet', {SMALL}), rate=(0.3, 1.0))\n"
    )
    space = SpaceRequest(space=f"{file}:build", fix=("stage1.depth=2",)).load()
    again = reload_space(space.describe())
    assert again.fingerprint == space.fingerprint and again.operations == space.operations


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("rate", SpaceError, "--vary 'rate' has no options; write"),
        ("rate=fast", SpaceError, "recipe.rate cannot be 'fast'; give numbers, such as"),
        ("rate=true", SpaceError, "recipe.rate cannot be True; give numbers, such as"),
        ("augmentation=1", SpaceError, "recipe.augmentation cannot be 1; give true or false"),
        ("epochs=1.5", SpaceError, "recipe.epochs cannot be 1.5; give whole numbers, such as"),
        ("rate=1,1", SpaceError, "lists an option twice"),
        ("speed=1", UnknownNameError, "unknown part of a recipe 'speed'"),
    ],
)
def test_what_cannot_be_is_refused(plain: SearchSpace, text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        varied(plain, [text])


def test_a_part_is_varied_once(plain: SearchSpace) -> None:
    with pytest.raises(SpaceError, match="--vary rate is given twice"):
        varied(plain, ["rate=1,2", "rate=3,4"])
    with pytest.raises(SpaceError, match=r"two choices are called 'recipe\.rate'"):
        with_recipe(with_recipe(plain, rate=(1, 2)), rate=(3, 4))


def test_factors_of_a_loss_tell_recipes_apart(plain: SearchSpace) -> None:
    space = with_recipe(plain, rate=(0.3, 1.0, 3.0))
    rows_NC = space.sample_rows(np.random.default_rng(0), 40)
    loss_N = 1.0 + rows_NC[:, space.columns["recipe.rate"]]
    assert np.corrcoef(LossFactors.fit(space, rows_NC, loss_N).predict(rows_NC), loss_N)[0, 1] > 0.95


def test_an_architecture_says_how_it_is_trained() -> None:
    recipe = BY_OPTIMIZER["sgd"]
    assert recipe_of_arch(recipe, {"stage1.depth": 2}) == recipe
    assert recipe_of_arch(recipe, {"recipe.rate": 3, "recipe.decay": 0.5}).learning_rate == 3 * recipe.learning_rate
    other = recipe_of_arch(recipe, {"recipe.optimizer": "adamw", "recipe.rate": 0.1, "recipe.epochs": 7})
    assert (other.optimizer, other.epochs, other.label_smoothing) == ("adamw", 7, 0.0)
    assert other.learning_rate == pytest.approx(0.1 * BY_OPTIMIZER["adamw"].learning_rate)
    told = recipe_of_arch(recipe, {"recipe.smoothing": 0.2, "recipe.ema": 0.9, "recipe.augmentation": False})
    assert (told.label_smoothing, told.ema, told.augmented) == (0.2, 0.9, False)


@pytest.mark.parametrize(("part", "option"), [("rate", -1), ("decay", -1), ("smoothing", 1), ("ema", 1), ("epochs", 0)])
def test_a_recipe_that_cannot_be_is_no_recipe(part: str, option: float) -> None:
    with pytest.raises(TrainingError, match="cannot train"):
        recipe_of_arch(BY_OPTIMIZER["sgd"], {f"recipe.{part}": option})


def test_an_unknown_optimiser_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimizer 'lion'"):
        recipe_of_arch(BY_OPTIMIZER["sgd"], {"recipe.optimizer": "lion"})
