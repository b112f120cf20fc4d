"""Laws of sandwich training, on digits and on text, with small networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.images import ImageData
from hwnas.data.text import TextData
from hwnas.errors import RunError, TrainingError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.spaces import load_space
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.recipes import RECIPES
from hwnas.train.sandwich import sandwich_losses, train_supernet
from hwnas.train.step import training_step, usual_recipe

CPU = torch.device("cpu")
CLASSIFICATION, LANGUAGE = load_task("classification"), load_task("language")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@pytest.fixture(scope="module")
def data(space: SearchSpace) -> ImageData:
    return load_data("digits", space.input_shape, limit=320)


@pytest.fixture(scope="module")
def few(space: SearchSpace) -> ImageData:
    """Two steps of an epoch."""
    return load_data("digits", space.input_shape, limit=128)


@pytest.fixture(scope="module")
def tokens() -> SearchSpace:
    return load_space(f"{Path(__file__).parent / 'token_space.py'}:build")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, tokens: SearchSpace) -> TextData:
    """Seven letters in turns: who has seen one knows the next."""
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text("abcdefg" * 1000)
    return load_data(f"text:{path}", tokens.input_shape, vocabulary=tokens.vocabulary, limit=320)


def train(space: SearchSpace, data: Dataset, checkpoint: Path, epochs: int, of: int | None = None) -> Supernet:
    """Trains `epochs` epochs of a schedule of `of`."""
    torch.manual_seed(0)
    supernet = Supernet(space)

    class StoppedError(Exception):
        pass

    class StopAfter(Silent):  # type: ignore[misc]
        def note(self, text: str) -> None:
            if text.startswith(f"epoch {epochs}/"):
                raise StoppedError

    recipe = replace(RECIPES[usual_recipe(supernet)], epochs=of or epochs)
    task = CLASSIFICATION if space.vocabulary is None else LANGUAGE
    try:
        train_supernet(supernet, data, task, recipe, seed=0, checkpoint=checkpoint, reporter=StopAfter())
    except StoppedError:
        assert epochs < recipe.epochs or of is None
    return supernet


def score(supernet: Supernet, data: Dataset, arch: Arch) -> dict[str, float]:
    task = CLASSIFICATION if supernet.space.vocabulary is None else LANGUAGE
    networks = StagedNetworks(SupernetSource(supernet), (Recalibrate(data, CPU),))
    return dict(NetworkEvaluator(networks, SplitScore(data, task, CPU)).evaluate([arch])[0])


def weights(supernet: Supernet) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in supernet.state_dict().items()}


def require_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_that_was_stopped_resumes_exactly(space: SearchSpace, few: ImageData, tmp_path: Path) -> None:
    whole = weights(train(space, few, tmp_path / "whole.pt", 3))
    train(space, few, tmp_path / "stopped.pt", 1, of=3)
    require_equal(whole, weights(train(space, few, tmp_path / "stopped.pt", 3)))


def test_training_with_dropout_that_was_stopped_resumes_exactly(tmp_path: Path) -> None:
    space = hwnas.space("conv_macro", resolution=16)
    data = load_data("digits", space.input_shape, limit=100)
    whole = weights(train(space, data, tmp_path / "whole.pt", 2))
    train(space, data, tmp_path / "stopped.pt", 1, of=2)
    torch.rand(1)  # another process has drawn from its random state
    require_equal(whole, weights(train(space, data, tmp_path / "stopped.pt", 2)))


def test_training_on_text_that_was_stopped_resumes_exactly(tokens: SearchSpace, text: TextData, tmp_path: Path) -> None:
    whole = weights(train(tokens, text, tmp_path / "whole.pt", 3))
    train(tokens, text, tmp_path / "stopped.pt", 1, of=3)
    require_equal(whole, weights(train(tokens, text, tmp_path / "stopped.pt", 3)))


def test_training_learns(space: SearchSpace, data: ImageData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = score(Supernet(space), data, space.largest())
    after = score(train(space, data, tmp_path / "c.pt", 6), data, space.largest())
    assert after["loss"] < 0.8 * before["loss"]


def test_training_on_text_learns_the_next_letter(tokens: SearchSpace, text: TextData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    supernet = Supernet(tokens)
    recipe = replace(RECIPES["adamw"], epochs=20, learning_rate=0.01)  # so few weights bear a higher rate
    train_supernet(supernet, text, LANGUAGE, recipe, seed=0, checkpoint=tmp_path / "c.pt", reporter=Silent())
    for arch in (tokens.largest(), tokens.smallest()):
        metrics = score(supernet, text, arch)
        assert metrics["loss"] < 0.5 * np.log(7)
        assert metrics["accuracy"] > 0.95


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_every_kind_of_network(
    space: SearchSpace, data: ImageData, tokens: SearchSpace, text: TextData, tmp_path: Path, name: str
) -> None:
    for kind, examples, task in ((space, data, CLASSIFICATION), (tokens, text, LANGUAGE)):
        torch.manual_seed(0)
        supernet = Supernet(kind)
        before = score(supernet, examples, kind.largest())
        recipe, checkpoint = replace(RECIPES[name], epochs=4), tmp_path / f"{kind.name}.pt"
        train_supernet(supernet, examples, task, recipe, seed=0, checkpoint=checkpoint, reporter=Silent())
        assert score(supernet, examples, kind.largest())["loss"] < before["loss"]


# ---- checkpoints


def test_a_loss_that_is_not_a_number_keeps_the_last_good_epoch(
    space: SearchSpace, few: ImageData, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "c.pt"
    train(space, few, checkpoint, 1, of=4)
    state = torch.load(checkpoint, weights_only=True)
    state["weights"] = {name: torch.full_like(tensor, torch.nan) for name, tensor in state["weights"].items()}
    torch.save(state, checkpoint)
    kept = checkpoint.read_bytes()
    with pytest.raises(TrainingError, match=r"the loss of epoch 2 is not a number; .* lower --learning-rate"):
        train(space, few, checkpoint, 4)
    assert checkpoint.read_bytes() == kept


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_named(space: SearchSpace, few: ImageData, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(damage)
    with pytest.raises(RunError, match=r"c\.pt: damaged"):
        train(space, few, tmp_path / "c.pt", 1)


# ---- the losses of a step


@pytest.mark.parametrize(("share", "other"), [(0.0, "labels"), (1.0, "teacher")])
def test_students_learn_from_the_largest_network_by_the_recipes_share(
    tokens: SearchSpace, text: TextData, share: float, other: str
) -> None:
    """The gradient of a step is that of its losses, written out."""
    torch.manual_seed(0)
    supernet = Supernet(tokens)
    x, labels = text.training_batch(np.arange(8), np.random.default_rng(0))
    recipe = replace(RECIPES["adamw"], distillation=share)
    archs = [tokens.largest(), tokens.smallest()]
    still = torch.optim.SGD(supernet.parameters(), lr=0.0)
    first = training_step(supernet, still, sandwich_losses(supernet, (x, labels), LANGUAGE, archs, recipe), 1e9)
    stepped = [parameter.grad for parameter in supernet.parameters()]
    large, small = (supernet(x, arch).flatten(0, 1) for arch in archs)
    target = {"labels": labels.flatten(), "teacher": large.detach().softmax(1)}[other]
    loss = F.cross_entropy(large, labels.flatten()) + F.cross_entropy(small, target)
    expected = torch.autograd.grad(loss, list(supernet.parameters()))
    for one, two in zip(stepped, expected, strict=True):
        torch.testing.assert_close(one, two)
    assert first == pytest.approx(float(F.cross_entropy(large.detach(), labels.flatten())))
