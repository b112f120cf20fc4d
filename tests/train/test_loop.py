"""Laws of training and judging, on digits and small networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hwnas
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import RunError, TrainingError
from hwnas.supernet.network import Supernet
from hwnas.train.data import ImageData, Split, load_data
from hwnas.train.loop import Recipe, SubnetJudge, load_supernet, save_supernet, score, train_supernet


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@pytest.fixture(scope="module")
def data(space: SearchSpace) -> ImageData:
    return load_data("digits", space.input_shape, limit=320)


def train(space: SearchSpace, data: ImageData, checkpoint: Path, epochs: int, of: int | None = None) -> Supernet:
    """Trains `epochs` epochs of a schedule of `of`."""
    torch.manual_seed(0)
    supernet = Supernet(space)

    class StoppedError(Exception):
        pass

    class StopAfter(Silent):  # type: ignore[misc]
        def note(self, text: str) -> None:
            if text.startswith(f"epoch {epochs}/"):
                raise StoppedError

    recipe = Recipe(epochs=of or epochs)
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
    ordered = replace(data, train=Split(data.train.images[order], data.train.labels[order]))
    torch.manual_seed(0)
    supernet = Supernet(space)
    module = SubnetJudge(supernet, ordered, batch_size=64, calibration_batches=2).extract(space.largest())
    reference = SubnetJudge(supernet, data, batch_size=320, calibration_batches=1).extract(space.largest())
    first_class = replace(data, train=Split(data.train.images[order[:128]], data.train.labels[order[:128]]))
    skewed = SubnetJudge(supernet, first_class, batch_size=64, calibration_batches=2).extract(space.largest())
    means = [m.get_submodule("stem.norm").running_mean for m in (module, reference, skewed)]
    assert (means[0] - means[1]).norm() < 0.5 * (means[2] - means[1]).norm()


def test_left_over_images_do_not_disturb_the_calibration(space: SearchSpace, data: ImageData) -> None:
    few = replace(data, train=Split(data.train.images[:65], data.train.labels[:65]))
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
    split = Split(np.zeros((4, 1, 1, 1), dtype=np.uint8), np.array([0, 1, 1, 0]))
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])
    found = score(logits, split)
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx((3 * np.log1p(np.exp(-9)) + np.log1p(np.exp(9))) / 4, rel=1e-5)
