"""The largest network as the teacher of a supernet, and frozen weights, in whole trainings."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hwnas.core.reporter import Silent
from hwnas.data.dataset import load_data
from hwnas.errors import HwnasError, TrainingError
from hwnas.modules.assemble import network
from hwnas.pipeline.request import search_request
from hwnas.pipeline.search import search
from hwnas.pipeline.train import resume_training, train
from hwnas.runs.folder import RunFolder
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.alone import train_network
from hwnas.train.supernet import train_supernet
from hwnas.train.weights import load_supernet

MODEL = """
import torch
from torch import nn

def make():
    torch.manual_seed(5)
    features = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), torch.zeros(1, 3, 16, 16)
"""

ATTENTION = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = (y.unflatten(-1, (2, 4)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        return x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 4, 4), nn.Sequential(Attention(), Attention()), nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.body(self.stem(x).flatten(2).transpose(1, 2)).mean(1))

def make():
    return Network(), torch.zeros(1, 3, 16, 16)
"""


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "net.py").write_text(MODEL)
    return {
        "model": f"{tmp_path / 'net.py'}:make",
        "data": "digits",
        "limit_images": 128,
        "epochs": 2,
        "recipe": "instatune",
        "teacher": "largest",
        "teacher_epochs": 2,
    }


def trained(options: Mapping[str, Any], out: Path) -> Mapping[str, Tensor]:
    request = search_request(options)
    return load_file(train(request, request.space.load(), out, Silent()))


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_teacher_is_the_model_after_plain_training(options: dict[str, Any], tmp_path: Path, epochs: int) -> None:
    """All networks imitate what the model computes after training alone by the same optimiser; 0 epochs leave it as it is."""
    weights = trained(options | {"teacher_epochs": epochs}, tmp_path / "run")
    request = search_request(options)
    space = request.space.load()
    data, task = load_data("digits", space.input_shape, limit=128), load_task("classification")
    recipe = request.training.recipe_for("sgd", is_trained=True)
    teacher = network(space, space.largest())
    if epochs:
        alone = replace(recipe, epochs=epochs)
        train_network(
            teacher, data, task, alone, seed=0, checkpoint=tmp_path / "t.pt", reporter=Silent(), what="teacher"
        )
    torch.manual_seed(0)
    supernet = Supernet(space)
    arguments = {"seed": 0, "checkpoint": tmp_path / "c.pt", "reporter": Silent(), "teacher": teacher.eval()}
    train_supernet(supernet, data, task, recipe, **arguments)
    assert all(torch.equal(one, weights[name]) for name, one in supernet.state_dict().items())


def test_a_training_with_a_teacher_that_was_stopped_resumes_exactly(options: dict[str, Any], tmp_path: Path) -> None:
    whole = trained(options, tmp_path / "whole")

    class StopError(Exception):
        pass

    class StopAfterOne(Silent):  # type: ignore[misc]
        def note(self, text: str) -> None:
            if text.startswith("epoch 1/"):
                raise StopError

    request = search_request(options)
    with pytest.raises(StopError):
        train(request, request.space.load(), tmp_path / "stopped", StopAfterOne())
    again = load_file(resume_training(tmp_path / "stopped", Silent(), {}))
    assert all(torch.equal(one, again[name]) for name, one in whole.items())


def test_frozen_weights_are_the_same_after_all_training(
    options: dict[str, Any], small_predictor: Path, tmp_path: Path
) -> None:
    options |= {"freeze": "0.*", "ema": 0.5, "final": "finetune", "final_epochs": 1, "final_teacher": "external"}
    options |= {"device": "cpu", "objectives": "loss,params", "strategy": "random", "evaluations": 4}
    model = options.pop("model")
    result = search("mobilenet", out=tmp_path / "run", model=model, networks=4, final_networks=2, **options)
    space = search_request({"model": model, "freeze": ("0.*",)}).space.load()
    supernet, before = Supernet(space), Supernet(space)
    load_supernet(supernet, result.run.supernet)
    pairs = list(zip(supernet.named_parameters(), before.parameters(), strict=True))
    assert {one.requires_grad for (_, one), _ in pairs} == {True, False}
    for (_, one), own in pairs:
        assert torch.equal(one, own) is not one.requires_grad
    for row in result.front:
        final = load_file(result.run.final_weights(row.arch_id))
        sliced = before.uncalibrated(space.arch(json.loads(row.arch)))
        for name, own in sliced.named_parameters():
            assert torch.equal(final[name], own) is not own.requires_grad


def test_teachers_that_cannot_be_had_are_refused_before_anything_is_made(
    options: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match="calls no scaled_dot_product_attention of torch"):
        trained(options | {"recipe": "autodistil"}, out)
    (tmp_path / "tokens.py").write_text(ATTENTION)
    tokens = {"model": f"{tmp_path / 'tokens.py'}:make", "space_options": {"smaller_resolutions": [8]}}
    with pytest.raises(TrainingError, match="a student of 4 tokens cannot imitate the relations of 16; give a space"):
        trained(options | tokens | {"recipe": "autodistil"}, out)
    del options["model"]
    with pytest.raises(HwnasError, match="--teacher-epochs 0 keeps the weights that --model brings; add --model"):
        trained(options | {"teacher_epochs": 0}, out)
    assert not RunFolder(out).json.exists()
