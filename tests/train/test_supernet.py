"""Laws of supernet training, on digits and on text, with small networks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

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
from hwnas.errors import HwnasError, RunError, TrainingError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.spaces import load_space
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, SupernetRecipe
from hwnas.train.step import training_step, usual_optimizer
from hwnas.train.supernet import supernet_losses, train_supernet

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


def train(
    space: SearchSpace, data: Dataset, checkpoint: Path, epochs: int, of: int | None = None, **changes: Any
) -> Supernet:
    """Trains `epochs` epochs of a schedule of `of`, by the usual recipe with changes."""
    torch.manual_seed(0)
    supernet = Supernet(space)

    class StoppedError(Exception):
        pass

    class StopAfter(Silent):  # type: ignore[misc]
        def note(self, text: str) -> None:
            if text.startswith(f"epoch {epochs}/"):
                raise StoppedError

    recipe = replace(BY_OPTIMIZER[usual_optimizer(supernet)], epochs=of or epochs, **changes)
    task = CLASSIFICATION if space.vocabulary is None else LANGUAGE
    reporter = StopAfter() if of else Silent()
    try:
        train_supernet(supernet, data, task, recipe, seed=0, checkpoint=checkpoint, reporter=reporter)
    except StoppedError:
        assert epochs < recipe.epochs
    return supernet


def score(supernet: Supernet, data: Dataset, arch: Arch) -> dict[str, float]:
    task = CLASSIFICATION if supernet.space.vocabulary is None else LANGUAGE
    networks = StagedNetworks(SupernetSource(supernet), (Recalibrate(data, CPU),))
    (metrics,) = NetworkEvaluator(networks, SplitScore(data, task, CPU)).evaluate([arch])
    return dict(metrics)


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
    recipe = replace(BY_OPTIMIZER["adamw"], epochs=20, learning_rate=0.01)  # so few weights bear a higher rate
    train_supernet(supernet, text, LANGUAGE, recipe, seed=0, checkpoint=tmp_path / "c.pt", reporter=Silent())
    for arch in (tokens.largest(), tokens.smallest()):
        metrics = score(supernet, text, arch)
        assert metrics["loss"] < 0.5 * np.log(7)
        assert metrics["accuracy"] > 0.95


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.imitation == "outputs"])
def test_training_by_any_recipe_that_was_stopped_resumes_exactly(
    tokens: SearchSpace, text: TextData, tmp_path: Path, name: str
) -> None:
    require_resumed(tokens, text, tmp_path, epochs=4, ema=0.9, supernet=RECIPES[name])


def test_progressive_training_of_batch_norms_with_an_average_resumes_exactly(
    space: SearchSpace, few: ImageData, tmp_path: Path
) -> None:
    progressive = replace(RECIPES["progressive"], random_subnets=1, zero_init=True)
    require_resumed(space, few, tmp_path, epochs=2, ema=0.9, supernet=progressive)


def test_an_epoch_passes_over_the_examples_as_often_as_the_recipe_says(
    tokens: SearchSpace, text: TextData, tmp_path: Path
) -> None:
    for passes in (1, 3):
        supernet = SupernetRecipe(networks="single-path", passes=passes)
        train(tokens, text, tmp_path / f"{passes}.pt", epochs=2, supernet=supernet)
        optimizer = torch.load(tmp_path / f"{passes}.pt")["optimizer"]["state"]
        assert max(int(state["step"]) for state in optimizer.values()) == 2 * passes * (len(text.train) // 64)


def require_resumed(space: SearchSpace, data: Dataset, folder: Path, *, epochs: int, **changes: Any) -> None:
    """Requires equal weights of a whole training and one that stopped after every epoch, which are those of the average."""
    whole = weights(train(space, data, folder / "whole.pt", epochs, **changes))
    for stopped in range(1, epochs):
        train(space, data, folder / "stopped.pt", stopped, of=epochs, **changes)
    require_equal(whole, weights(train(space, data, folder / "stopped.pt", epochs, **changes)))
    kept = torch.load(folder / "whole.pt", weights_only=True)
    average = {name.removeprefix("module."): each for name, each in kept["average"].items() if name != "n_averaged"}
    require_equal(whole, average)
    assert not all_equal(whole, kept["weights"])


def all_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", BY_OPTIMIZER)
def test_every_optimizer_trains_every_kind_of_network(
    space: SearchSpace, data: ImageData, tokens: SearchSpace, text: TextData, tmp_path: Path, name: str
) -> None:
    for kind, examples, task in ((space, data, CLASSIFICATION), (tokens, text, LANGUAGE)):
        torch.manual_seed(0)
        supernet = Supernet(kind)
        before = score(supernet, examples, kind.largest())
        recipe, checkpoint = replace(BY_OPTIMIZER[name], epochs=4), tmp_path / f"{kind.name}.pt"
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
    recipe = replace(BY_OPTIMIZER["adamw"], distillation=share)
    archs = [tokens.largest(), tokens.smallest()]
    still = torch.optim.SGD(supernet.parameters(), lr=0.0)
    losses = supernet_losses(supernet, (x, labels), LANGUAGE, archs, recipe, largest=archs[0])
    first = training_step(supernet, still, losses, 1e9)
    stepped = [parameter.grad for parameter in supernet.parameters()]
    large, small = (supernet(x, arch).flatten(0, 1) for arch in archs)
    target = {"labels": labels.flatten(), "teacher": large.detach().softmax(1)}[other]
    loss = F.cross_entropy(large, labels.flatten()) + F.cross_entropy(small, target)
    expected = torch.autograd.grad(loss, list(supernet.parameters()))
    for one, two in zip(stepped, expected, strict=True):
        torch.testing.assert_close(one, two)
    assert first == pytest.approx(float(F.cross_entropy(large.detach(), labels.flatten())))


@pytest.mark.parametrize("regularised", ["all", "largest"])
def test_students_of_bignas_see_no_labels(tokens: SearchSpace, text: TextData, regularised: str) -> None:
    """The gradient of a student is that of its distance to the largest network, whatever the labels are."""
    torch.manual_seed(0)
    supernet = Supernet(tokens)
    x, labels = text.training_batch(np.arange(8), np.random.default_rng(0))
    recipe = replace(
        BY_OPTIMIZER["adamw"], label_smoothing=0.1, supernet=replace(RECIPES["bignas"], regularised=regularised)
    )
    archs = [tokens.largest(), tokens.smallest()]
    losses = list(supernet_losses(supernet, (x, labels), LANGUAGE, archs, recipe, largest=archs[0]))
    others = list(supernet_losses(supernet, (x, 1 - labels.clamp(0, 1)), LANGUAGE, archs, recipe, largest=archs[0]))
    assert not torch.equal(losses[0], others[0]) and torch.equal(losses[1], others[1])
    large, small = (supernet(x, arch).flatten(0, 1) for arch in archs)
    parameters = list(supernet.parameters())
    distance = F.cross_entropy(small, large.detach().softmax(1))
    stepped, expected = (
        torch.autograd.grad(loss, parameters, materialize_grads=True) for loss in (losses[1], distance)
    )
    for one, two in zip(stepped, expected, strict=True):
        torch.testing.assert_close(one, two)


def test_only_the_largest_network_has_label_smoothing(tokens: SearchSpace, text: TextData) -> None:
    supernet = Supernet(tokens)
    x, labels = text.training_batch(np.arange(8), np.random.default_rng(0))
    archs = [tokens.largest(), tokens.smallest()]
    shared = SupernetRecipe(distillation=0.0, regularised="largest")
    recipe = replace(BY_OPTIMIZER["adamw"], label_smoothing=0.1, supernet=shared)
    losses = supernet_losses(supernet, (x, labels), LANGUAGE, archs, recipe, largest=archs[0])
    for arch, loss, smoothing in zip(archs, losses, (0.1, 0.0), strict=True):
        torch.testing.assert_close(loss, LANGUAGE.loss(supernet(x, arch), labels, smoothing=smoothing))


def test_only_the_largest_network_has_dropout() -> None:
    space = hwnas.space("conv_macro", resolution=16, features=16)
    supernet, x, labels = Supernet(space), torch.randn(8, *space.input_shape), torch.arange(8)
    archs = [space.largest(), space.smallest()]

    def losses(regularised: str) -> list[float]:
        shared = SupernetRecipe(distillation=0.0, regularised=regularised)
        recipe = replace(BY_OPTIMIZER["sgd"], supernet=shared, label_smoothing=0.0)
        of_step = supernet_losses(supernet, (x, labels), CLASSIFICATION, archs, recipe, largest=archs[0])
        return [float(loss.detach()) for loss in of_step]

    (large, small), (large_again, small_again) = losses("largest"), losses("largest")
    assert large != large_again and small == small_again
    assert losses("all")[1] != losses("all")[1]
    supernet.eval()
    assert losses("all")[1] == pytest.approx(small)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_an_external_teacher_teaches_every_network_by_the_recipes_share(
    tokens: SearchSpace, text: TextData, share: float
) -> None:
    torch.manual_seed(0)
    supernet = Supernet(tokens)
    x, labels = text.training_batch(np.arange(8), np.random.default_rng(0))
    recipe = replace(BY_OPTIMIZER["adamw"], supernet=SupernetRecipe(distillation=share))
    outputs, archs = torch.randn(8, 8, 7), [tokens.largest(), tokens.smallest()]
    losses = supernet_losses(
        supernet, (x, labels), LANGUAGE, archs, recipe, largest=archs[0], teacher=lambda x: outputs[: len(x)]
    )
    for arch, loss in zip(archs, losses, strict=True):
        y = supernet(x, arch)
        torch.testing.assert_close(
            loss, (1 - share) * LANGUAGE.loss(y, labels) + share * LANGUAGE.imitation(y, outputs)
        )


def test_an_external_teacher_leaves_when_the_recipe_says(tokens: SearchSpace, text: TextData, tmp_path: Path) -> None:
    """After that step the largest network teaches, as it does without an external teacher (InstaTune's g = 1, then 0)."""
    passes, called = 2, list[int]()
    shared = replace(RECIPES["instatune"], passes=passes, taught_until=0.5)

    def teacher(x: torch.Tensor) -> torch.Tensor:
        called.append(len(x))
        return torch.zeros(*x.shape, 7)

    recipe = replace(BY_OPTIMIZER["adamw"], epochs=2, supernet=shared)
    arguments = {"seed": 0, "checkpoint": tmp_path / "c.pt", "reporter": Silent(), "teacher": teacher}
    train_supernet(Supernet(tokens), text, LANGUAGE, recipe, **arguments)
    assert len(called) == passes * (len(text.train) // 64)


@pytest.mark.parametrize(
    "wrong", [{"networks": "all"}, {"regularised": "none"}, {"distillation": 2.0}, {"ending": 1}, {"taught_until": 1.5}]
)
def test_a_supernet_recipe_that_cannot_train_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(HwnasError, match=r"unknown|cannot train"):
        SupernetRecipe(**wrong)
