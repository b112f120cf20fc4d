"""Laws of recalibration, of tuning, and of the scores of supernets' networks."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.images import ImageData
from hwnas.errors import DataError, RunError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import AloneSource, FolderSource, SupernetSource, UntrainedSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate, Tune
from hwnas.evaluate.table import TableEvaluator
from hwnas.evaluate.training import NetworkTraining
from hwnas.modules.assemble import network
from hwnas.spaces import load_space
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.tasks.task import Metric
from hwnas.train.recipes import BY_OPTIMIZER

CPU = torch.device("cpu")
TASK = load_task("classification")
TOKENS = f"{Path(__file__).parents[1] / 'train/token_space.py'}:build"


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@pytest.fixture(scope="module")
def data(space: SearchSpace) -> ImageData:
    return load_data("digits", space.input_shape, limit=320)


@pytest.fixture(scope="module")
def supernet(space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space)


def extracted(supernet: Supernet, recalibrate: Recalibrate) -> nn.Module:
    return StagedNetworks(SupernetSource(supernet), (recalibrate,)).network(supernet.space.largest())


def loss_of(supernet: Supernet, data: Dataset, examples: Dataset, **sizes: int) -> float:
    """The validation loss of the largest network, calibrated on other examples."""
    networks = StagedNetworks(SupernetSource(supernet), (Recalibrate(examples, CPU, **sizes),))
    evaluator = NetworkEvaluator(networks, SplitScore(data, TASK, CPU))
    (metrics,) = evaluator.evaluate([supernet.space.largest()])
    return metrics["loss"]


def cut(data: ImageData, rows: np.ndarray) -> ImageData:
    """The data with some of the training examples, in an order."""
    train = replace(data.train, raw=data.train.raw[rows], labels=data.train.labels[rows])
    return replace(data, train=train)


def test_a_training_set_sorted_by_class_is_calibrated_on_all_classes(supernet: Supernet, data: ImageData) -> None:
    """Statistics of one class would be another class's noise."""
    order = np.argsort(data.train.labels, kind="stable")
    sizes = {"batch_size": 64, "calibration_batches": 2}
    module = extracted(supernet, Recalibrate(cut(data, order), CPU, **sizes))
    reference = extracted(supernet, Recalibrate(data, CPU, batch_size=320, calibration_batches=1))
    skewed = extracted(supernet, Recalibrate(cut(data, order[:128]), CPU, **sizes))
    means = [m.get_submodule("stem.norm").running_mean for m in (module, reference, skewed)]
    assert (means[0] - means[1]).norm() < 0.5 * (means[2] - means[1]).norm()


def test_left_over_images_do_not_disturb_the_calibration(supernet: Supernet, data: ImageData) -> None:
    whole = loss_of(supernet, data, data, calibration_batches=1)
    assert loss_of(supernet, data, cut(data, np.arange(65))) == pytest.approx(whole, rel=0.2)


def test_a_network_without_batch_norms_is_not_recalibrated(tmp_path: Path) -> None:
    tokens = load_space(TOKENS)
    (tmp_path / "a.txt").write_text("abcdefg" * 400)
    text = load_data(f"text:{tmp_path / 'a.txt'}", tokens.input_shape, vocabulary=tokens.vocabulary, limit=64)
    supernet, arch = Supernet(tokens), tokens.largest()
    module = StagedNetworks(SupernetSource(supernet), (Recalibrate(text, CPU),)).network(arch)
    x = text.inputs(text.validation.raw)
    with torch.inference_mode():
        assert torch.equal(module(x), supernet(x, arch))
    assert not module.training


def test_a_supernet_stays_as_it_is(space: SearchSpace, data: ImageData) -> None:
    supernet = Supernet(space).train()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    loss_of(supernet, data, data, calibration_batches=1)
    assert supernet.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_another_split_has_another_score(supernet: Supernet, data: ImageData) -> None:
    module = extracted(supernet, Recalibrate(data, CPU, calibration_batches=1))
    validation, test = (SplitScore(data, TASK, CPU, split=split).score(module) for split in (None, data.test))
    with torch.inference_mode():
        outputs = module(data.inputs(data.test.raw))
    assert test == pytest.approx(TASK.score([(outputs, torch.from_numpy(data.test.labels))]), rel=1e-5)
    assert validation != test


# ---- training as a part of an evaluation


def training(data: Dataset, folder: Path, epochs: int = 4) -> NetworkTraining:
    recipe = replace(BY_OPTIMIZER["sgd"], epochs=epochs, batch_size=32, learning_rate=0.05)
    return NetworkTraining(data=data, task=TASK, recipe=recipe, seed=0, device=CPU, folder=folder)


def validation_loss(data: Dataset, networks: StagedNetworks, arch: Arch) -> float:
    (metrics,) = NetworkEvaluator(networks, SplitScore(data, TASK, CPU)).evaluate([arch])
    return metrics["loss"]


def test_networks_trained_alone_or_tuned_score_better_than_before(
    space: SearchSpace, supernet: Supernet, data: ImageData, tmp_path: Path
) -> None:
    untrained, recalibrate, arch = UntrainedSource(space, 0), Recalibrate(data, CPU), space.smallest()
    alone = AloneSource(untrained, training(data, tmp_path / "alone"))
    tune = Tune(training(data, tmp_path / "tuned"))
    for before, after in (
        (StagedNetworks(untrained, (recalibrate,)), StagedNetworks(alone, (recalibrate,))),
        (
            StagedNetworks(SupernetSource(supernet), (recalibrate,)),
            StagedNetworks(SupernetSource(supernet), (tune, recalibrate)),
        ),
    ):
        assert validation_loss(data, after, arch) < 0.9 * validation_loss(data, before, arch)
    assert after.stages == ("supernet", "tune", "recalibrate")
    assert before.stages == ("supernet", "recalibrate")


def test_an_untrained_network_follows_its_seed_and_leaves_the_random_state(space: SearchSpace) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (UntrainedSource(space, seed).network(space.smallest()).state_dict() for seed in (0, 1))
    assert torch.rand(1) == expected
    assert not torch.equal(one["stem.conv.weight"], two["stem.conv.weight"])
    torch.manual_seed(0)
    assert torch.equal(network(space, space.smallest()).state_dict()["stem.conv.weight"], one["stem.conv.weight"])


def test_a_network_that_is_not_in_the_folder_is_named_with_what_to_do(space: SearchSpace, tmp_path: Path) -> None:
    source = FolderSource(space, lambda arch: tmp_path / arch.id)
    with pytest.raises(RunError, match=r"cannot be read .*; search again under another --out"):
        source.network(space.smallest())


def test_a_table_without_a_metric_is_refused(space: SearchSpace) -> None:
    evaluator = TableEvaluator((Metric(name="error"),), lambda arch: {"loss": 1.0}, "nasbench")
    with pytest.raises(DataError, match=r"the table 'nasbench' has no error of .*; it has loss"):
        evaluator.evaluate([space.smallest()])
    assert evaluator.stages == ("nasbench",)


def test_tables_are_evaluated_without_torch() -> None:
    code = "import sys; import hwnas.evaluate.table; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
