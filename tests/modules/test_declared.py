"""Laws of declared facts: a space whose operators declare what is not so is refused before anything is made of it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.operator import Operator, OperatorCost, Shape
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError, Terminated
from hwnas.modules import declared
from hwnas.modules.assemble import network
from hwnas.modules.declared import require_declared
from hwnas.operators.cells import Reduction, ReluConv
from hwnas.operators.conv import ConvBlock, MBConv, PlainConv, PoolClassifier
from hwnas.pipeline.request import search_request
from hwnas.pipeline.search import start
from hwnas.pipeline.train import train
from hwnas.profiler.profile import operator_workloads, random_network_workloads
from hwnas.spaces.compose import compose, pick, place
from hwnas.supernet.network import Supernet


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Operator):
    """A number per channel, and a mean that is not trained; wrong in the way that `fault` names."""

    kind: ClassVar[str] = "scale"
    module: ClassVar[str] = f"{__name__}:ScaleModule"

    fault: str = ""
    bias: bool = False

    @property
    def output_shape(self) -> Shape:
        channels, height, width = self.input_shape
        return (channels, height + (self.fault == "shape"), width)

    def cost(self) -> OperatorCost:
        channels = self.input_shape[0] * (1 + self.bias)
        return OperatorCost(
            9 * (self.fault == "flops"),
            0 if self.fault == "params" else channels,
            0 if self.fault == "statistics" else channels,
        )

    def peak_bytes(self) -> int:
        return self.input_bytes + (0 if self.fault == "peak" else self.output_bytes)


class ScaleModule(nn.Module):
    def __init__(self, operator: Scale) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(operator.input_shape[0] * (1 + operator.bias), 1, 1))
        self.register_buffer("mean", torch.zeros(self.scale.shape))
        self.fault = operator.fault

    def forward(self, x_NCHW: Tensor) -> Tensor:
        channels = x_NCHW.shape[1]
        if self.fault == "forward" or (self.fault == "training" and self.training):
            raise ValueError("out of paint")
        if self.fault == "values" and bool((x_NCHW > 0).any()):
            raise ValueError("too bright")
        y_NCHW = (x_NCHW - self.mean[:channels]) * self.scale[:channels]
        match self.fault, self.training:
            case ("half", _) | ("half in eval", False):
                return y_NCHW.half()
            case "tuple", _:
                return (y_NCHW,)  # type: ignore[return-value]
            case "none in eval", False:
                return None  # type: ignore[return-value]
            case "nan", _:
                return y_NCHW * float("nan")
            case "norm", _:
                return y_NCHW / y_NCHW.norm()
            case "exit", _:
                sys.exit(3)
            case "memory", _:
                return torch.empty(2**50)
        return y_NCHW.flatten(0, 1)[None] if self.fault == "batch" else y_NCHW


def around(operator: Any, **parameters: Any) -> SearchSpace:
    parts = [
        place("stem", ConvBlock, channels=pick(4, 8), stride=2),
        place("body", operator, **parameters),
        place("head", PoolClassifier, features=8, classes=10),
    ]
    return compose("around", (3, 8, 8), 10, parts)


WRONG = {
    "params": r"scale\(.*\): cost\(\).params is 0, and its module has 4; correct",
    "flops": r"scale\(.*\): cost\(\).flops is 9, and its module has 0; correct",
    "half": r"scale\(.*\): outputs must be torch.float32, and its module gives torch.float16; correct",
    "half in eval": r"scale\(.*\): outputs must be torch.float32, and its module gives torch.float16; correct",
    "tuple": r"scale\(.*\): its module fails: TypeError: it gives a tuple, not a tensor; let forward return one tensor",
    "none in eval": r"scale\(.*\): its module fails: TypeError: it gives a NoneType, not a tensor",
    "nan": r"scale\(.*\): its module, with new weights, gives outputs that are not finite \(NaN or infinity\); correct",
    "exit": r"scale\(.*\): its module fails: SystemExit: 3 \(test_declared.py, line \d+\)",
    "statistics": r"scale\(.*\): cost\(\).statistics is 0, and its module has 4; correct",
    "forward": r"scale\(.*\): its module fails: ValueError: out of paint \(test_declared.py, line \d+\)",
    "training": r"scale\(.*\): its module fails: ValueError: out of paint",
    "batch": r"scale\(.*\): output_shape is \(4, 4, 4\), and its module gives \(1, 12, 4, 4\) for a batch of 3, "
    r"where the first axis must be the batch; correct",
}


@pytest.mark.parametrize("fault", WRONG)
def test_whatever_is_made_of_a_wrong_space_is_refused_with_place_operator_and_both_values(
    fault: str, tmp_path: Path
) -> None:
    space, message = around(Scale, fault=fault), f"^place 'body': {WRONG[fault]}"
    request = search_request({"data": "digits", "limit_images": 128})
    for made in (
        lambda: Supernet(space),
        lambda: network(space, space.smallest()),
        lambda: operator_workloads(space),
        lambda: random_network_workloads(space, 1, 0)[0].make(),
        lambda: start(request, space, tmp_path / "run", Silent()),
        lambda: train(request, space, tmp_path / "run", Silent()),
    ):
        with pytest.raises(SpaceError, match=message):
            made()
    assert not (tmp_path / "run").exists()


def test_an_output_shape_that_is_wrong_by_one_is_refused() -> None:
    space = around(Scale, fault="shape")
    with pytest.raises(
        SpaceError,
        match=r"^place 'body': scale\(.*output_shape is \(4, 5, 4\), and its module gives \(4, 4, 4\); correct",
    ):
        Supernet(space)


def test_the_peak_matters_to_whoever_limits_it(tmp_path: Path) -> None:
    options = {"data": "digits", "limit_images": 128, "predictor": ("missing.json",)}
    space = around(Scale, fault="peak")
    Supernet(space)
    for request in ({"limit": ("peak<=1GiB",)}, {"objectives": "loss,peak"}):
        with pytest.raises(SpaceError, match=r"^place 'body': scale\(.*peak_bytes\(\) is 256, and .* 512 bytes"):
            start(search_request(options | request), space, tmp_path / "run", Silent())


def test_a_module_that_is_not_finite_for_zeros_alone_is_right() -> None:
    Supernet(around(Scale, fault="norm"))


def test_memory_that_runs_out_and_the_end_of_the_process_are_no_faults_of_a_module() -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        Supernet(around(Scale, fault="memory"))
    with pytest.raises(Terminated), declared.naming("body", Scale(input_shape=(3, 8, 8))):
        raise Terminated(143)


def test_an_error_that_only_some_inputs_cause_names_place_and_operator() -> None:
    supernet = Supernet(around(Scale, fault="values"))
    space = supernet.space
    message = r"^place 'body': scale\(.*its module fails: ValueError: too bright \(test_declared.py, line \d+\)"
    certain = {"stem.channels": torch.tensor([0.5, 0.5])}
    for inputs in (space.smallest(), certain):
        with pytest.raises(SpaceError, match=message):
            supernet.train()(torch.ones(2, 3, 8, 8), inputs)


@pytest.mark.parametrize(
    "made",
    [
        lambda kernel: around(ConvBlock, channels=8, kernel=kernel),
        lambda kernel: around(MBConv, channels=8, kernel=kernel, expansion=2),
        lambda kernel: around(PlainConv, channels=8, kernel=kernel),
        lambda kernel: around(ReluConv, kernel=kernel),
    ],
    ids=["conv", "mbconv", "plain_conv", "relu_conv"],
)
@pytest.mark.parametrize("kernel", [pick(2, 3), pick(3, 4), 0, -1])
def test_a_kernel_without_a_centre_is_refused_by_every_built_in_operator(made: Any, kernel: Any) -> None:
    with pytest.raises(
        SpaceError, match=r"^place 'body': \w+\(.*needs an odd kernel, and the kernel is (2|4|0|-1); give"
    ):
        made(kernel)


def test_a_built_in_operator_on_a_shape_that_it_cannot_take_is_refused_by_name() -> None:
    odd = Reduction(input_shape=(4, 7, 7))
    with pytest.raises(
        SpaceError, match=r"^place 'cell': reduction\(input_shape=4x7x7\): its module fails: RuntimeError"
    ):
        require_declared([("cell", odd)])


def test_large_operators_run_without_storage_to_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    operators = [operator for name in ("mobilenet", "nasbench201", "vit", "gpt") for operator in few(name)]
    small = {operator.key: declared._counts("place", operator) for operator in operators}
    monkeypatch.setattr(declared, "_counted", {})
    monkeypatch.setattr(declared, "MANY_FLOPS", 0)
    assert {operator.key: declared._counts("place", operator) for operator in operators} == small


def test_a_users_large_module_runs_with_storage_and_keeps_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "_counted", {})
    monkeypatch.setattr(declared, "MANY_FLOPS", 0)
    monkeypatch.setattr(KeepingModule, "kept", {})
    Supernet(around(Keeping))
    assert KeepingModule.kept["zeros"].device.type == "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping(Scale):
    """A scale whose module keeps a tensor of its first run."""

    kind: ClassVar[str] = "keeping"
    module: ClassVar[str] = f"{__name__}:KeepingModule"


class KeepingModule(ScaleModule):
    kept: ClassVar[dict[str, Tensor]] = {}

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return super().forward(x_NCHW) + self.kept.setdefault("zeros", torch.zeros(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacked(Scale):
    """A module that only puts together torch's, and does not fit."""

    kind: ClassVar[str] = "stacked"
    module: ClassVar[str] = f"{__name__}:StackedModule"


class StackedModule(nn.Sequential):
    def __init__(self, operator: Stacked) -> None:
        super().__init__(nn.Conv2d(operator.input_shape[0] + 1, 4, 1))


def test_torchs_error_about_a_users_stack_of_layers_names_the_place() -> None:
    with pytest.raises(SpaceError, match=r"^place 'body': stacked\(.*its module fails: RuntimeError: Given groups=1"):
        Supernet(around(Stacked))


def test_an_error_of_torch_that_did_not_pass_through_the_modules_file_is_not_its_own(tmp_path: Path) -> None:
    operator = PoolClassifier(input_shape=(3, 8, 8), features=8, classes=10)
    with pytest.raises(RuntimeError, match=r"^device-side assert"), declared.naming("head", operator):
        raise RuntimeError("device-side assert")
    with pytest.raises(SpaceError, match=r"its module fails: ValueError: device"), declared.naming("head", operator):
        raise ValueError("device")
    with (
        pytest.raises(SpaceError, match=r"^place 'body': .*RuntimeError: shape .*test_declared.py, line \d+\)"),
        declared.naming("body", Scale(input_shape=(3, 8, 8))),
    ):
        torch.zeros(4).view(3)


def few(name: str) -> list[Operator]:
    options: dict[str, Any] = {"vit": {"preset": "small_images"}, "gpt": {"length": 16}}.get(name, {})
    kinds = {operator.kind: operator for operator in hwnas.space(name, **options).operators().values()}
    return list(kinds.values())


def test_the_comparison_leaves_torchs_random_numbers_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    space = around(Scale, bias=True)
    monkeypatch.setattr(declared, "_counted", {})
    before = torch.get_rng_state()
    require_declared(space.placed_operators().values())
    assert torch.equal(before, torch.get_rng_state())
