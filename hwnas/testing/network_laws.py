"""The laws of a space's networks: the supernet, what is extracted from it, mixtures, and exported models."""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.core.layer import Layer
from hwnas.modules.assemble import network
from hwnas.profiler.export import to_onnx
from hwnas.profiler.runtime import RuntimeOptions
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.recalibrate import recalibrate
from hwnas.testing.laws import Laws, naming, require
from hwnas.testing.subject import SpaceSubject, kept_statistics, without_dropout

# Differences relative to the largest output, at least 1: in float64, and of an exported model in float32.
SAME: Final = 1e-9
EXPORTED: Final = 1e-3  # random weights amplify rounding: up to 1.3e-4 over the 20 blocks of ofa
# Outputs that differ less over inputs than this are those of a dead network, of which no comparison says anything.
ALIVE: Final = 1e-5
ALIVE_FLOAT32: Final = 0.1
INPUTS: Final = 5
# Architectures that are mixed and exported: both take longer than extracting.
FEW: Final = 3


def extracted_is_supernet(subject: SpaceSubject) -> None:
    x = subject.inputs(INPUTS)
    for arch in subject.archs:
        extracted = subject.extracted(arch)
        for training in (False, True):
            subject.supernet.train(training), extracted.train(training)
            with torch.no_grad(), kept_statistics(subject.supernet, extracted):
                expected = _seeded(subject.supernet, x, arch)  # one seed for both, for what drops out by chance
                output = _seeded(extracted, x)
            _require_same(output, expected, arch, f"extracted, in {_mode(training)} mode", "the supernet fixed at it")


def mixture_is_supernet(subject: SpaceSubject) -> None:
    x = subject.inputs(INPUTS)
    for arch in subject.archs[:FEW]:
        for training in (False, True):
            subject.supernet.train(training)
            with torch.no_grad(), kept_statistics(subject.supernet), without_dropout():
                expected = subject.supernet(x, arch)
                output = subject.supernet(x, certain(subject, arch))
            what = f"as a mixture of probabilities 0 and 1, in {_mode(training)} mode"
            _require_same(output, expected, arch, what, "the supernet fixed at it")


def extracted_is_plain(subject: SpaceSubject) -> None:
    for arch in subject.archs:
        extracted, plain = subject.extracted(arch), network(subject.space, arch)
        shapes, others = ({k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (extracted, plain))
        for name in shapes.keys() | others.keys():
            ours, theirs = shapes.get(name), others.get(name)
            require(
                ours == theirs, f"network {arch.key}: {name} has shape {ours} extracted, {theirs} in the plain network"
            )
        require(list(shapes) == list(others), f"network {arch.key}: its tensors are in another order when extracted")
        require(extracted.code == plain.code, f"network {arch.key}: it is joined in another way when extracted")


def every_weight_is_used(subject: SpaceSubject) -> None:
    for layer in subject.space.layers:
        elastic = subject.supernet.elastic(layer)
        unused = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in elastic.state_dict().items()}
        starts = {tensor.data_ptr(): name for name, tensor in elastic.state_dict().items()}
        for operator in {operator.key: operator for _, operator in subject.cells[layer.name] if operator}.values():
            for tensor in elastic.slices(operator).values():
                name = starts[tensor.untyped_storage().data_ptr()]
                torch.as_strided(unused[name], tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(False)
        for name, left in unused.items():
            count = int(left.sum())
            require(
                not count, f"layer {layer.name!r}: {count:,} of {left.numel():,} weights of {name} are in no operator"
            )


def exported_is_torch(subject: SpaceSubject) -> None:
    x = subject.inputs(INPUTS, torch.float32)
    for arch in subject.archs[:FEW]:
        plain = network(subject.space, arch)
        plain.load_state_dict(subject.extracted(arch).state_dict())
        recalibrate(plain, [subject.inputs(4 * INPUTS, torch.float32)])
        with torch.no_grad():
            expected = plain.eval()(x).numpy()
        moving = float(np.ptp(expected, axis=0).max())
        require(
            moving > ALIVE_FLOAT32, f"network {arch.key}: all inputs give nearly one output; give it weights that tell"
        )
        with naming(f"network {arch.key}: it cannot be exported to ONNX and loaded"):
            model = to_onnx(plain, subject.space.input_shape, batch=INPUTS, vocabulary=subject.space.vocabulary)
            output = OnnxModel(model, RuntimeOptions()).run(x.numpy())
        _require_same(
            torch.from_numpy(output), torch.from_numpy(expected), arch, "as an ONNX model", "torch", EXPORTED, ALIVE
        )


NETWORK_LAWS: Final[Laws[SpaceSubject]] = {
    "an extracted network is the supernet fixed at it": extracted_is_supernet,
    "a mixture at probabilities of 0 and 1 is the supernet fixed": mixture_is_supernet,
    "an extracted network is a plain one": extracted_is_plain,
    "every weight of the supernet is used by some architecture": every_weight_is_used,
    "an exported network computes what torch computes": exported_is_torch,
}


def certain(subject: SpaceSubject, arch: Arch) -> dict[str, Tensor | Drawn]:
    """Returns probabilities of one architecture alone. Of a choice whose options cannot be mixed, its own is drawn."""
    space = subject.space
    unmixable = {name for layer in space.layers for name in _changing_positions(subject, layer)}
    result: dict[str, Tensor | Drawn] = {}
    for choice, index in zip(space.choices, space.encode([arch])[0], strict=True):
        probability_K = torch.zeros(len(choice.options), dtype=torch.float64)
        probability_K[index] = 1
        drawn = choice.name in unmixable
        result[choice.name] = Drawn((int(index),), probability_K[index, None]) if drawn else probability_K
    return result


def _changing_positions(subject: SpaceSubject, layer: Layer) -> set[str]:
    """The choices of a scope that change how many rows, columns, samples or tokens the layer's operators take or give."""
    cells = {index: operator.positions for index, operator in subject.cells[layer.name] if operator is not None}
    changing = set()
    for axis, name in enumerate(layer.scope):
        seen: dict[tuple[int, ...], object] = {}
        for index, sizes in cells.items():
            if seen.setdefault((*index[:axis], *index[axis + 1 :]), sizes) != sizes:
                changing.add(subject.space.choice(name).tied_to or name)
    return changing


def _seeded(module: nn.Module, *arguments: object) -> Tensor:
    torch.manual_seed(0)
    return module(*arguments)  # type: ignore[no-any-return]


def _mode(training: bool) -> str:
    return "training" if training else "evaluation"


def _require_same(
    output: Tensor,
    expected: Tensor,
    arch: Arch,
    what: str,
    other: str,
    tolerance: float = SAME,
    alive: float = ALIVE,
) -> None:
    require(
        output.shape == expected.shape,
        f"network {arch.key}: {what} its output has shape {tuple(output.shape)}, that of {other} {tuple(expected.shape)}",
    )
    moving = float(expected.std(0).max())
    require(
        moving > alive, f"network {arch.key}: outputs differ by {moving:.1e} over inputs; a dead network proves nothing"
    )
    difference = float((output - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    require(
        difference <= tolerance,
        f"network {arch.key}: {what} its output differs from that of {other} by {difference:.1e} (allowed {tolerance:.0e})",
    )
