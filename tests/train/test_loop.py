"""Laws of training and judging, on digits and on text, with small networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hwnas.train.loop import (
    SubnetJudge,
    _sandwich_step,
    load_supernet,
    save_supernet,
    score,
    train_supernet,
)
from torch.nn import functional as F

import hwnas
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.images import ImageData
from hwnas.data.splits import Examples
from hwnas.data.text import TextData
from hwnas.errors import RunError, TrainingError
from hwnas.spaces import load_space
from hwnas.supernet.network import Supernet
from hwnas.train.recipes import RECIPES
from hwnas.train.step import usual_recipe


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@pytest.fixture(scope="module")
def data(space: SearchSpace) -> ImageData:
    return load_data("digits", space.input_shape, limit=320)


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
    try:
        train_supernet(supernet, data, recipe, seed=0, checkpoint=checkpoint, reporter=StopAfter())
    except StoppedError:
        assert epochs < recipe.epochs or of is None
    return supernet


def weights(supernet: Supernet) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in supernet.state_dict().items()}


def test_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    whole = weights(train(space, data, tmp_path / "whole.pt", 3))
    train(space, data, tmp_path / "stopped.pt", 1, of=3)
    resumed = weights(train(space, data, tmp_path / "stopped.pt", 3))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_with_dropout_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    space = hwnas.space("conv_macro", resolution=16)
    data = load_data("digits", space.input_shape, limit=100)
    whole = weights(train(space, data, tmp_path / "whole.pt", 2))
    train(space, data, tmp_path / "stopped.pt", 1, of=2)
    torch.rand(1)  # what another process has drawn
    resumed = weights(train(space, data, tmp_path / "stopped.pt", 2))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_learns(space: SearchSpace, data: ImageData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = SubnetJudge(Supernet(space), data).validation(space.largest())
    after = SubnetJudge(train(space, data, tmp_path / "c.pt", 6), data).validation(space.largest())
    assert after.loss < 0.8 * before.loss


def test_the_same_network_gets_the_same_score_whatever_was_judged_before(space: SearchSpace, data: ImageData) -> None:
    judge = SubnetJudge(Supernet(space), data)
    first = judge.validation(space.smallest())
    judge.validation(space.largest())
    assert judge.validation(space.smallest()) == first


def test_a_training_set_sorted_by_class_is_calibrated_on_all_classes(space: SearchSpace, data: ImageData) -> None:
    """Statistics of one class would be another class's noise."""
    order = np.argsort(data.train.labels, kind="stable")
    ordered = replace(data, train=Examples(data.train.raw[order], data.train.labels[order]))
    torch.manual_seed(0)
    supernet = Supernet(space)
    module = SubnetJudge(supernet, ordered, batch_size=64, calibration_batches=2).extract(space.largest())
    reference = SubnetJudge(supernet, data, batch_size=320, calibration_batches=1).extract(space.largest())
    first_class = replace(data, train=Examples(data.train.raw[order[:128]], data.train.labels[order[:128]]))
    skewed = SubnetJudge(supernet, first_class, batch_size=64, calibration_batches=2).extract(space.largest())
    means = [m.get_submodule("stem.norm").running_mean for m in (module, reference, skewed)]
    assert (means[0] - means[1]).norm() < 0.5 * (means[2] - means[1]).norm()


def test_left_over_images_do_not_disturb_the_calibration(space: SearchSpace, data: ImageData) -> None:
    few = replace(data, train=Examples(data.train.raw[:65], data.train.labels[:65]))
    torch.manual_seed(0)
    supernet = Supernet(space)
    whole = SubnetJudge(supernet, data, calibration_batches=1).validation(space.largest())
    assert SubnetJudge(supernet, few).validation(space.largest()).loss == pytest.approx(whole.loss, rel=0.2)


def test_a_loss_that_is_no_number_keeps_the_last_good_epoch(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "c.pt"
    train(space, data, checkpoint, 1, of=4)
    state = torch.load(checkpoint, weights_only=True)
    state["weights"] = {name: torch.full_like(tensor, torch.nan) for name, tensor in state["weights"].items()}
    torch.save(state, checkpoint)
    kept = checkpoint.read_bytes()
    with pytest.raises(TrainingError, match=r"the loss of epoch 2 is not a number; .* lower --learning-rate"):
        train(space, data, checkpoint, 4)
    assert checkpoint.read_bytes() == kept


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_named(space: SearchSpace, data: ImageData, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(damage)
    with pytest.raises(RunError, match=r"c\.pt: damaged"):
        train(space, data, tmp_path / "c.pt", 1)


def test_weights_survive_a_round_trip_and_no_other_space_takes_them(space: SearchSpace, tmp_path: Path) -> None:
    supernet = Supernet(space)
    save_supernet(supernet, tmp_path / "s")
    other = Supernet(space)
    load_supernet(other, tmp_path / "s")
    assert all(torch.equal(a, b) for a, b in zip(weights(supernet).values(), weights(other).values(), strict=True))
    with pytest.raises(RunError, match="weights of another space"):
        load_supernet(Supernet(hwnas.space("mobilenet", resolution=16, width=0.5)), tmp_path / "s")


def test_a_score_is_cross_entropy_and_the_share_of_right_answers() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])
    found = score([(logits, labels)])
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx((3 * np.log1p(np.exp(-9)) + np.log1p(np.exp(9))) / 4, rel=1e-5)


def test_a_score_counts_predictions_whatever_their_batches_and_axes() -> None:
    logits, labels = torch.randn(6, 4, 5), torch.randint(5, (6, 4))
    whole = score([(logits, labels)])
    for other in (score([(logits.flatten(0, 1), labels.flatten())]), score(zip(logits, labels, strict=True))):
        assert other.accuracy == whole.accuracy
        assert other.loss == pytest.approx(whole.loss, rel=1e-6)
    assert score([(logits[:1], labels[:1]), (logits[1:], labels[1:])]).loss == pytest.approx(whole.loss, rel=1e-6)


# ---- text


def test_training_on_text_learns_what_comes_next(tokens: SearchSpace, text: TextData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    supernet = Supernet(tokens)
    recipe = replace(RECIPES["adamw"], epochs=20, learning_rate=0.01)  # so few weights bear a higher rate
    train_supernet(supernet, text, recipe, seed=0, checkpoint=tmp_path / "c.pt", reporter=Silent())
    judge = SubnetJudge(supernet, text)
    for arch in (tokens.largest(), tokens.smallest()):
        found = judge.validation(arch)
        assert found.loss < 0.5 * np.log(7)
        assert found.accuracy > 0.95


def test_training_on_text_that_was_stopped_goes_on_as_if_it_had_not_been(
    tokens: SearchSpace, text: TextData, tmp_path: Path
) -> None:
    whole = weights(train(tokens, text, tmp_path / "whole.pt", 3))
    train(tokens, text, tmp_path / "stopped.pt", 1, of=3)
    resumed = weights(train(tokens, text, tmp_path / "stopped.pt", 3))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_network_without_batch_norms_is_judged_with_the_weights_it_has(tokens: SearchSpace, text: TextData) -> None:
    supernet = Supernet(tokens)
    judge = SubnetJudge(supernet, text)
    arch = tokens.largest()
    x = text.inputs(text.validation.raw)
    with torch.inference_mode():
        assert torch.equal(judge.extract(arch)(x), supernet(x, arch))
    assert not judge.extract(arch).training


# ---- recipes


@pytest.mark.parametrize(("share", "other"), [(0.0, "labels"), (1.0, "teacher")])
def test_networks_learn_from_the_largest_by_the_share_that_the_recipe_gives_it(
    tokens: SearchSpace, text: TextData, share: float, other: str
) -> None:
    """The gradient of a step is that of its losses, written out."""
    torch.manual_seed(0)
    supernet = Supernet(tokens)
    x, labels = text.training_batch(np.arange(8), np.random.default_rng(0))
    recipe = replace(RECIPES["adamw"], distillation=share)
    _sandwich_step(supernet, x, labels, tokens.largest(), [tokens.smallest()], recipe)
    found = [parameter.grad for parameter in supernet.parameters()]
    large, small = (supernet(x, arch).flatten(0, 1) for arch in (tokens.largest(), tokens.smallest()))
    target = {"labels": labels.flatten(), "teacher": large.detach().softmax(1)}[other]
    loss = F.cross_entropy(large, labels.flatten()) + F.cross_entropy(small, target)
    expected = torch.autograd.grad(loss, list(supernet.parameters()))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two)


def test_the_usual_recipe_follows_the_batch_norms(space: SearchSpace, tokens: SearchSpace) -> None:
    assert usual_recipe(Supernet(space)) == "sgd"
    assert usual_recipe(Supernet(tokens)) == "adamw"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_every_kind_of_network(
    space: SearchSpace, data: ImageData, tokens: SearchSpace, text: TextData, tmp_path: Path, name: str
) -> None:
    for each, examples in ((space, data), (tokens, text)):
        torch.manual_seed(0)
        supernet = Supernet(each)
        before = SubnetJudge(supernet, examples).validation(each.largest())
        recipe = replace(RECIPES[name], epochs=4)
        train_supernet(supernet, examples, recipe, seed=0, checkpoint=tmp_path / f"{each.name}.pt", reporter=Silent())
        assert SubnetJudge(supernet, examples).validation(each.largest()).loss < before.loss


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}])
def test_a_recipe_that_cannot_train_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="cannot train for"):
        replace(RECIPES["sgd"], **wrong)
