"""Laws of training on a device that is not the CPU: all that a step touches is there, and it comes to the same.

No such device is needed: here one is made whose tensors are a CPU's in an envelope. Where a bare one and one in an envelope
meet, as where on a GPU two devices' meet, it raises; so does reading an envelope as an array.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import hwnas
from hwnas.core.operations import restricted
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.sizes import SizeCost
from hwnas.data.dataset import load_data
from hwnas.data.images import ImageData
from hwnas.errors import DeviceError, UnknownNameError
from hwnas.evaluate.network_evaluator import NetworkEvaluator
from hwnas.evaluate.networks import StagedNetworks
from hwnas.evaluate.sources import SupernetSource
from hwnas.evaluate.split import SplitScore
from hwnas.evaluate.stages import Recalibrate
from hwnas.modules.assemble import network
from hwnas.predict.expected import ExpectedCost
from hwnas.profiler.runtime_torch import missing_cuda
from hwnas.strategies.gradient.constraint import Constraint
from hwnas.strategies.gradient.penalties import penalty
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import SAMPLERS, sampler
from hwnas.strategies.gradient.schedule import Phase, Schedule
from hwnas.strategies.gradient.search import GradientSearch
from hwnas.strategies.gradient.selection import Selection
from hwnas.strategies.gradient.selectors import SELECTORS, selector
from hwnas.strategies.gradient.tuning import tuned, validation_loss
from hwnas.supernet.masks import Superposition
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import TASKS, load_task
from hwnas.train.alone import train_network
from hwnas.train.checkpoint import restored, save_checkpoint
from hwnas.train.devices import described, training_device
from hwnas.train.recipes import BY_OPTIMIZER
from hwnas.train.step import optimizer_of
from hwnas.train.supernet import train_supernet
from hwnas.train.weights import load_supernet, save_supernet

CPU = torch.device("cpu")
THERE = torch.device("meta", 1)
TASK = load_task("classification")
# Of torch's, who cannot know that this meta device has values.
pytestmark = pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
RECIPE = replace(BY_OPTIMIZER["sgd"], epochs=2, batch_size=32, learning_rate=0.05)
aten = torch.ops.aten
CROSSING = {aten.copy_.default, aten._to_copy.default}
BRACKETS = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class Envelope(Tensor):
    """A tensor of the device `THERE`, with the values of `inner`, a CPU's."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Envelope":
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=THERE, requires_grad=False
        )
        made.inner = inner
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.detach().__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return performed(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


def is_there(device: Any) -> bool:
    return device is not None and torch.device(device) == THERE


def performed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on what is in the envelopes. Raises AssertionError where it is of two devices."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    inside = [tensor for tensor in tensors if isinstance(tensor, Envelope)]
    device = kwargs.get("device")
    if not inside and not is_there(device):
        return func(*args, **kwargs)
    # Numbers of a CPU may meet anything, and so may what is in brackets.
    operands = tree_leaves((args[0], args[2:]) if func in BRACKETS else (args, kwargs))
    bare = [each for each in operands if isinstance(each, Tensor) and not isinstance(each, Envelope) and each.dim()]
    assert not inside or not bare or func in CROSSING, f"{func} of {[tuple(each.shape) for each in bare]} on the CPU"
    taken = tree_map(lambda each: each.inner if isinstance(each, Envelope) else each, (args, kwargs))
    result = func(*taken[0], **taken[1] | ({"device": CPU} if is_there(device) else {}))
    if func._schema.name.endswith("_"):  # in place
        return args[0]
    if func is aten._local_scalar_dense.default or (device is not None and not is_there(device)):
        return result
    return tree_map(lambda each: Envelope(each) if isinstance(each, Tensor) else each, result)


class Performed(TorchDispatchMode):
    """Operations that are given a device, but no tensor of it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return performed(func, args, kwargs or {})


class Made(TorchFunctionMode):
    """Tensors that are made of Python's numbers, which dispatch does not see."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and is_there(kwargs.get("device")):
            return func(*args, **kwargs | {"device": CPU}).to(THERE)
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]))
        return func(*args, **kwargs)


class OfTheCPU:
    """Stands for `torch.Generator`: whatever the device, a CPU's, which is what draws here."""

    def __new__(cls, device: Any = CPU, generator: type[torch.Generator] = torch.Generator) -> Any:
        return generator()


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The other device. What looks into memory, or keeps count of versions, is replaced by what does not."""
    monkeypatch.setattr(torch, "Generator", OfTheCPU)
    monkeypatch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else nullcontext())
    monkeypatch.setattr(Superposition, "remade", lambda *_: nullcontext())
    with Performed(), Made():
        yield THERE


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    whole = hwnas.space("mobilenet", resolution=16, width=0.25)
    return restricted(whole, fixed=["stage[23]*.kernel=3", "stage[23]*.expansion=3"])


@pytest.fixture(scope="module")
def data(space: SearchSpace) -> ImageData:
    return load_data("digits", space.input_shape, limit=64)


def supernet_on(device: torch.device, space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space).to(device)


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def require_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_of_two_devices_is_noticed(there: torch.device) -> None:
    x = torch.ones(3, device=there)
    with pytest.raises(AssertionError, match=r"aten\.add\.Tensor of \[\(3,\)\] on the CPU"):
        x + torch.ones(3)
    with pytest.raises(RuntimeError, match="numpy"):
        x.numpy()
    assert (x + x.cpu().to(there) * torch.tensor(2.0)).tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("name", ["mobilenet", "nasbench201"])
def test_a_supernet_is_trained_judged_and_kept_there_as_here(name: str, there: torch.device, tmp_path: Path) -> None:
    options = {"mobilenet": {"resolution": 16, "width": 0.25}, "nasbench201": {"resolution": 8, "width": 4, "cells": 1}}
    space = hwnas.space(name, **options[name])
    data = load_data("digits", space.input_shape, limit=96)
    found = {}
    for device in (CPU, there):
        supernet = supernet_on(device, space)
        checkpoint = tmp_path / f"{device.type}.pt"
        for epochs in (1, 2):  # the second from the first one's checkpoint, begun anew
            supernet = supernet_on(device, space)
            recipe = replace(RECIPE, epochs=epochs)
            train_supernet(supernet, data, TASK, recipe, seed=0, checkpoint=checkpoint, reporter=Silent())
        networks = StagedNetworks(SupernetSource(supernet), (Recalibrate(data, device),))
        evaluator = NetworkEvaluator(networks, SplitScore(data, TASK, device))
        extracted = networks.network(space.smallest())
        assert {tensor.device for tensor in extracted.state_dict().values()} == {device}
        save_supernet(supernet, tmp_path / "weights")
        again = supernet_on(device, space)
        load_supernet(again, tmp_path / "weights")
        require_equal(state(again), state(supernet))
        found[device] = state(supernet), state(extracted), list(evaluator.evaluate([space.largest()]))
    require_equal(found[CPU][0], found[there][0])
    require_equal(found[CPU][1], found[there][1])
    assert found[CPU][2] == found[there][2]


def test_a_network_alone_is_trained_there_as_here(
    space: SearchSpace, data: ImageData, there: torch.device, tmp_path: Path
) -> None:
    found = {}
    for device in (CPU, there):
        torch.manual_seed(0)
        module, checkpoint = network(space, space.smallest()).to(device), tmp_path / f"{device.type}.pt"
        train_network(module, data, TASK, RECIPE, seed=0, checkpoint=checkpoint, reporter=Silent(), what="training")
        found[device] = state(module), Recalibrate(data, device)(module.cpu(), space.smallest())
    require_equal(found[CPU][0], found[there][0])
    assert {tensor.device for tensor in found[there][1].state_dict().values()} == {there}


OUTPUTS = {
    "classification": ((6, 3), lambda draw: torch.randint(3, (6,), generator=draw)),
    "language": ((6, 4, 3), lambda draw: torch.randint(3, (6, 4), generator=draw)),
    "regression": ((6, 2), lambda draw: torch.randn(6, 2, generator=draw)),
    "segmentation": ((6, 3, 2, 2), lambda draw: torch.randint(3, (6, 2, 2), generator=draw)),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_scores_and_teaches_there_as_here(there: torch.device, name: str) -> None:
    (shape, draw_labels), task, found = OUTPUTS[name], load_task(name), []
    for device in (CPU, there):
        draw = torch.Generator().manual_seed(0)
        outputs, labels = torch.randn(shape, generator=draw).to(device), draw_labels(draw).to(device)
        leaf = outputs.clone().requires_grad_()
        (task.loss(leaf, labels) + task.imitation(leaf, outputs.flip(0))).backward()
        batches = [(outputs[:1], labels[:1]), (outputs[1:], labels[1:])]
        found.append((dict(task.score(batches)), leaf.grad.cpu().tolist()))
    assert found[0] == found[1]


def searched(
    space: SearchSpace, data: ImageData, device: torch.device, checkpoint: Path, name: str, **changes: Any
) -> GradientSearch:
    cost = SizeCost(space, "flops")
    limit = Limit(cost, 0.5 * float(cost.values(space.encode([space.largest()]))[0]))
    constraint = Constraint.of(limit, space)
    assert constraint is not None
    search = GradientSearch(
        supernet=supernet_on(device, space),
        relaxation=Relaxation(space, sampler(name), torch.Generator().manual_seed(0)).to(device),
        data=data,
        task=TASK,
        recipe=replace(RECIPE, epochs=5 if "phases" in changes else 1),
        schedule=Schedule(warmup_epochs=1, **changes),
        penalty=penalty("budget"),
        constraints=[constraint],
        seed=0,
        reporter=Silent(),
    )
    search.warm_up(checkpoint)
    search.run(checkpoint)
    return search


SEARCHES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in SAMPLERS),
    ("darts", {"unrolled": True, "phases": (Phase(), Phase(kept=0.5, resting=0.4))}),
]


@pytest.mark.parametrize(("name", "changes"), SEARCHES)
def test_a_gradient_search_runs_there_as_here(
    space: SearchSpace, data: ImageData, there: torch.device, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    here = searched(space, data, CPU, tmp_path / "here.pt", name, **changes)
    moved = searched(space, data, there, tmp_path / "there.pt", name, **changes)
    require_equal(state(here.relaxation), state(moved.relaxation))
    require_equal(state(here.supernet), state(moved.supernet))


@pytest.mark.parametrize("name", SELECTORS)
def test_a_selector_works_there_as_here(
    space: SearchSpace, data: ImageData, there: torch.device, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("hwnas.strategies.gradient.candidates.CANDIDATES", 5)
    rng = np.random.default_rng(0)
    probabilities = {choice.name: rng.dirichlet(np.ones(len(choice.options))) for choice in space.choices[:3]}
    certain = {choice.name: np.eye(len(choice.options))[0] for choice in space.choices[3:]}
    found = []
    for device in (CPU, there):
        supernet, split = supernet_on(device, space), SplitScore(data, TASK, device)
        selection = Selection(
            space=space,
            probabilities=probabilities | certain,
            limits=[],
            supernet=supernet,
            task=TASK,
            validation=partial(validation_loss, supernet, split),
            tune=partial(tuned, supernet, data, TASK, RECIPE, seed=0),
            batch=(data.inputs(data.train.raw[:16]).to(device), torch.from_numpy(data.train.labels[:16]).to(device)),
            seed=0,
            evaluations=3,
        )
        found.append(selector(name)(selection))
    assert found[0] == found[1]


def test_a_cost_that_no_choice_decides_is_of_the_probabilities_device(space: SearchSpace, there: torch.device) -> None:
    cost = ExpectedCost((), [replace(space.cost_factors("flops")[0], scope=(), values=np.array(3.0))])
    assert cost({"another": torch.ones(2, device=there)}).device == there
    assert float(cost({})) == 3.0


def of_a_gpu(path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[], None]) -> None:
    """Writes a checkpoint as one is written where its tensors are on a GPU."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        save()
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)


def test_a_checkpoint_of_a_gpu_goes_on_where_there_is_none(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet, path = supernet_on(CPU, space), tmp_path / "c.pt"
    optimizer = optimizer_of(supernet, BY_OPTIMIZER["adamw"])
    supernet(torch.randn(2, *space.input_shape), space.largest()).sum().backward()
    optimizer.step()
    parts = {"weights": supernet, "optimizer": optimizer}
    of_a_gpu(path, monkeypatch, lambda: save_checkpoint(path, 3, parts))
    before = state(supernet)
    fresh = Supernet(space)
    assert restored(path, {"weights": fresh, "optimizer": optimizer_of(fresh, BY_OPTIMIZER["adamw"])})["epoch"] == 3
    require_equal(state(fresh), before)


# ---- naming a device


def test_a_cpu_is_always_to_be_had_and_is_called_so() -> None:
    assert training_device("cpu") == CPU
    assert described(CPU) == "cpu"


def test_an_unknown_device_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown device to train on 'tpu'; known: auto, cpu, cuda"):
        training_device("tpu")


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (False, r"--train-on cuda: PyTorch .* is built without CUDA; install one .*; or give --train-on cpu"),
        (
            True,
            r"--train-on cuda: PyTorch .* finds no GPU, or no driver for it; check `nvidia-smi` .*; or give --train-on cpu",
        ),
    ],
)
def test_where_there_is_no_gpu_what_is_missing_is_said_and_auto_is_the_cpu(
    monkeypatch: pytest.MonkeyPatch, built: bool, message: str
) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training_device("auto") == CPU
    with pytest.raises(DeviceError, match=message):
        training_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_where_there_is_a_gpu_auto_takes_it() -> None:
    assert training_device("auto") == training_device("cuda") == torch.device("cuda")
    assert missing_cuda() is None
    assert described(torch.device("cuda")).startswith("cuda (")
