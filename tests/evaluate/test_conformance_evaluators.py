"""Every source of weights, with its usual stages, and every evaluator keeps the laws; the suites notice those that do not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import Dataset, load_data
from hwnas.evaluate.evaluator import Evaluator, Networks
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import AloneSource, FolderSource, SupernetSource, UntrainedSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate, Tune
from hwnas.evaluate.table import TableEvaluator
from hwnas.evaluate.training import NetworkTraining
from hwnas.modules.assemble import network
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.tasks.task import Metric
from hwnas.testing.evaluators import EvaluatorSuite, NetworksSuite
from hwnas.train.recipes import BY_OPTIMIZER
from hwnas.train.weights import save_weights

CPU = torch.device("cpu")
TASK = load_task("classification")
RECIPE = replace(BY_OPTIMIZER["sgd"], epochs=1, batch_size=16, learning_rate=0.05)


@cache
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@cache
def data() -> Dataset:
    return load_data("digits", space().input_shape, limit=64)


@cache
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(space()).train()


def training(folder: Path) -> NetworkTraining:
    return NetworkTraining(data=data(), task=TASK, recipe=RECIPE, seed=0, device=CPU, folder=folder)


def recalibrate() -> Recalibrate:
    return Recalibrate(data(), CPU, batch_size=16)


class OfTheSpace:
    """The space and the architectures of every suite here."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def space(self) -> SearchSpace:
        return space()

    def archs(self) -> Sequence[Arch]:
        return [space().smallest(), space().largest()]


class TestSubnets(OfTheSpace, NetworksSuite):
    def networks(self) -> Networks:
        return StagedNetworks(SupernetSource(supernet()), (recalibrate(),))


class TestFolder(OfTheSpace, NetworksSuite):
    def networks(self) -> Networks:
        for arch in self.archs():
            path = self.path / f"{arch.id}.safetensors"
            if not path.exists():
                torch.manual_seed(3)
                save_weights(network(space(), arch), path, {})
        return StagedNetworks(
            FolderSource(space(), lambda arch: self.path / f"{arch.id}.safetensors"), (recalibrate(),)
        )


class TestUntrained(OfTheSpace, NetworksSuite):
    def networks(self) -> Networks:
        return StagedNetworks(UntrainedSource(space(), 0))


class TestAlone(OfTheSpace, NetworksSuite):
    def networks(self) -> Networks:
        return StagedNetworks(AloneSource(UntrainedSource(space(), 0), training(self.path)))


class TestTuned(OfTheSpace, NetworksSuite):
    def networks(self) -> Networks:
        return StagedNetworks(SupernetSource(supernet()), (Tune(training(self.path)), recalibrate()))


class TestNetworkEvaluator(OfTheSpace, EvaluatorSuite):
    metrics = ("loss", "accuracy", "balanced_accuracy")

    def evaluator(self) -> Evaluator:
        networks = StagedNetworks(SupernetSource(supernet()), (recalibrate(),))
        return NetworkEvaluator(networks, SplitScore(data(), TASK, CPU))


class TestTableEvaluator(OfTheSpace, EvaluatorSuite):
    metrics = ("error",)

    def evaluator(self) -> Evaluator:
        table = {arch.id: {"error": 0.1 * number, "epochs": 12} for number, arch in enumerate(self.archs())}
        return TableEvaluator((Metric(name="error"),), lambda arch: table[arch.id])


# ---- the suites bite


class Counting:
    """An evaluator of a table with one thing replaced."""

    stages: Any = ("table",)

    def __init__(
        self, change: Callable[[list[dict[str, float]], Sequence[Arch]], Any], stages: Any = ("table",)
    ) -> None:
        self.change, self.stages, self.calls = change, stages, 0

    def evaluate(self, archs: Sequence[Arch]) -> Any:
        self.calls += 1
        results = [{"error": 0.5 if arch == space().smallest() else 0.25, "calls": float(self.calls)} for arch in archs]
        return self.change(results, archs)


def plain(results: list[dict[str, float]], archs: Sequence[Arch]) -> list[dict[str, float]]:
    return [{"error": result["error"]} for result in results]


WRONG_EVALUATORS: dict[str, tuple[Callable[[], Counting], str]] = {
    "a metric too many": (lambda: Counting(lambda results, archs: results), "exactly_the_metrics"),
    "not a number": (lambda: Counting(lambda r, _: [{"error": float("nan")} for _ in r]), "exactly_the_metrics"),
    "one result too few": (lambda: Counting(lambda r, a: plain(r, a)[:-1]), "exactly_the_metrics"),
    "sorted results": (
        lambda: Counting(lambda r, a: sorted(plain(r, a), key=lambda x: x["error"])),
        "follow_the_order",
    ),
    "one score for all": (lambda: Counting(lambda r, _: [{"error": 0.5} for _ in r]), "score_differently"),
    "better every time": (
        lambda: Counting(lambda r, _: [{"error": result["error"] / result["calls"]} for result in r]),
        "alone_and_among_others",
    ),
    "relative to the others": (
        lambda: Counting(lambda r, _: [{"error": x["error"] / sum(y["error"] for y in r)} for x in r]),
        "alone_and_among_others",
    ),
    "by chance": (lambda: Counting(lambda r, _: [{"error": float(torch.rand(()))} for _ in r]), "random_state"),
    "no stages": (lambda: Counting(plain, ()), "names_of_stages"),
    "one name for the stages": (lambda: Counting(plain, "table"), "names_of_stages"),
}


@pytest.mark.parametrize(("evaluator", "law"), WRONG_EVALUATORS.values(), ids=WRONG_EVALUATORS.keys())
def test_the_suite_notices_a_wrong_evaluator(evaluator: Callable[[], Counting], law: str) -> None:
    broken = broken_laws(TestTableEvaluator(), evaluator=evaluator)
    assert any(law in name for name in broken), broken


class Wrong:
    """Networks with one thing replaced."""

    stages = ("wrong",)

    def __init__(self, make: Callable[[Arch], nn.Module]) -> None:
        self.network = make


@cache
def shared(arch: Arch) -> nn.Module:
    return UntrainedSource(space(), 0).network(arch)


WRONG_NETWORKS: Mapping[str, tuple[Callable[[Arch], nn.Module], str]] = {
    "in train mode": (lambda arch: UntrainedSource(space(), 0).network(arch).train(), "eval_mode"),
    "at random": (lambda arch: network(space(), arch).eval(), "always_has_the_same"),
    "always the largest": (
        lambda arch: UntrainedSource(space(), 0).network(space().largest()),
        "plain_network_of_its_architecture",
    ),
    "always the same object": (shared, "caller_may_change"),
}


@pytest.mark.parametrize(("make", "law"), WRONG_NETWORKS.values(), ids=WRONG_NETWORKS.keys())
def test_the_suite_notices_wrong_networks(make: Callable[[Arch], nn.Module], law: str) -> None:
    broken = broken_laws(TestUntrained(), networks=lambda: Wrong(make))
    assert any(law in name for name in broken), broken


def test_the_suites_find_nothing_in_what_is_right() -> None:
    assert broken_laws(TestTableEvaluator(), evaluator=lambda: Counting(plain)) == []
    assert broken_laws(TestUntrained(), networks=lambda: Wrong(UntrainedSource(space(), 0).network)) == []


def broken_laws(suite: Any, **replaced: Any) -> list[str]:
    suite.__dict__.update(replaced)
    broken = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite, name)()
            except Exception:
                broken.append(name)
    return broken
