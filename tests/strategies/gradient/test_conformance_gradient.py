"""The installed suite of strategies that train weights, on gradient search with several samplers."""

from dataclasses import replace
from functools import cache

import torch

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import load_data
from hwnas.strategies.gradient.strategy import GradientSearchStrategy
from hwnas.strategies.problem import Strategy
from hwnas.strategies.workshop import Training
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.testing.strategies import WeightTrainingSuite
from hwnas.train.recipes import BY_OPTIMIZER


@cache
def space() -> SearchSpace:
    return hwnas.space("scripts/examples/own_space.py:build", resolution=16, blocks=2)


def new_supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(space())


@cache
def training() -> Training:

    return Training(
        data=load_data("digits", space().input_shape, outputs=10, limit=128),
        task=load_task("classification"),
        recipe=replace(BY_OPTIMIZER["sgd"], epochs=2),
        device=torch.device("cpu"),
        new_supernet=new_supernet,
    )


class GradientSuite(WeightTrainingSuite):
    sampler = "drnas"

    def strategy(self) -> Strategy:
        return GradientSearchStrategy(scheme="joint", sampler=self.sampler, warmup_epochs=1, evaluations=6)

    def training(self) -> Training:
        return training()


class TestDrnas(GradientSuite):
    pass


class TestGdas(GradientSuite):
    sampler = "gdas"


class TestUniform(GradientSuite):
    sampler = "uniform"
