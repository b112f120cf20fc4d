"""The laws of operators: what they declare against their built module, slices of a family, mixtures, exported models."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

from hwnas.core.layer import Layer
from hwnas.core.operator import Operator
from hwnas.modules.build import build
from hwnas.modules.declared import disagreement
from hwnas.profiler.export import to_onnx
from hwnas.profiler.profile import like_trained
from hwnas.profiler.runtime import RuntimeOptions
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.mixture import Mixture, added, fitted
from hwnas.supernet.nesting import alike, covers, nests, parameter_shapes
from hwnas.testing.laws import Laws, naming, require
from hwnas.testing.subject import OperatorSubject, Place, kept_statistics, without_dropout

Item = TypeVar("Item")

# Differences relative to the largest output, at least 1: in float64, and of an exported model in float32.
SAME: Final = 1e-9
EXPORTED: Final = 1e-4
INPUTS: Final = 3
# Operators that are exported, and those of one place that are mixed, at most.
EXPORTS: Final = 12
MIXED: Final = 6


def shapes_are_declared(subject: OperatorSubject) -> None:
    _require_declared(subject, "output_shape", "output_dtype")


def costs_are_declared(subject: OperatorSubject) -> None:
    _require_declared(subject, "flops", "params", "statistics")


def peaks_are_declared(subject: OperatorSubject) -> None:
    _require_declared(subject, "peak")


def smaller_operators_are_slices(subject: OperatorSubject) -> None:
    for place in subject.places:
        for family, members in place.families().items():
            if len(members) == 1:
                continue
            modules = {operator.key: subject.template(place.name, operator) for operator in members}
            _require_largest(place, family, members, modules)
            for small, large in itertools.permutations(_few(members, MIXED), 2):
                _require_nested(place, family, (small, modules[small.key]), (large, modules[large.key]))


def mixtures_are_their_parts(subject: OperatorSubject) -> None:
    generator = torch.Generator().manual_seed(0)
    for place in subject.distinct:  # the same families elsewhere are mixed in the same way
        with naming(f"{place.name}: its operators cannot share weights"):
            elastic = ElasticLayer(place.name, place.operators, entangled=place.entangled).double().eval()
        for operators in _mixable(place.operators):
            with torch.no_grad():
                for name, tensor in elastic.named_parameters():
                    noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * 0.3
                    tensor.copy_((1 + noise).abs() + 0.01 if name.endswith("norm/weight") else noise)
            with torch.no_grad(), kept_statistics(elastic), without_dropout():
                _require_mixture(place, elastic, _few(operators, MIXED))


def exported_is_torch(subject: OperatorSubject) -> None:
    for place, operator in _few(subject.sample, EXPORTS):
        torch.manual_seed(0)
        with naming(f"{place}: {operator.key}: its module cannot be exported to ONNX and loaded"), torch.no_grad():
            module = like_trained(build(operator)).eval()
            x = _inputs(operator, torch.float32)
            expected = module(x)
            model = to_onnx(module, operator.input_shape, batch=INPUTS, vocabulary=operator.vocabulary)
            output = torch.from_numpy(OnnxModel(model, RuntimeOptions()).run(x.numpy()))
        difference = _difference(output, expected)
        require(
            difference <= EXPORTED,
            f"{place}: {operator.key}: its ONNX model's output differs from torch's by {difference:.1e} "
            f"(allowed {EXPORTED:.0e})",
        )


OPERATOR_LAWS: Final[Laws[OperatorSubject]] = {
    "a module's output has the declared shape": shapes_are_declared,
    "declared FLOPs, parameters and statistics are the module's": costs_are_declared,
    "declared peak bytes are the module's": peaks_are_declared,
    "smaller operators of a family are slices of larger ones": smaller_operators_are_slices,
    "a mixture of operators equals its parts": mixtures_are_their_parts,
    "an exported operator computes what torch computes": exported_is_torch,
}


def _require_declared(subject: OperatorSubject, *facts: str) -> None:
    for place, operator in subject.sample:
        counted = subject.counts(place, operator)
        for fact in facts:
            wrong = disagreement(operator, counted, fact)
            require(not wrong, f"{place}: {operator.key}: {wrong}")


def _require_largest(place: Place, family: str, members: Sequence[Operator], modules: Mapping[str, nn.Module]) -> None:
    """Some operator of a family has the largest of each parameter, along all of its axes."""
    by_name: dict[str, list[tuple[Operator, torch.Size]]] = {}
    for operator in members:
        for name, shape in parameter_shapes(modules[operator.key]).items():
            by_name.setdefault(name, []).append((operator, shape))
    for name, shapes in by_name.items():
        other, largest = max(shapes, key=lambda pair: pair[1].numel())
        for operator, shape in shapes:
            fits = len(shape) == len(largest) and all(a <= b for a, b in zip(shape, largest, strict=True))
            require(
                fits,
                f"{place.name}: {operator.key} has {name!r} of shape {tuple(shape)}, and {other.key} has "
                f"{tuple(largest)}: neither is a slice of the other; give it another family than {family!r}",
            )


def _require_nested(
    place: Place, family: str, small: tuple[Operator, nn.Module], large: tuple[Operator, nn.Module]
) -> None:
    """An operator whose parameters fit into those of a larger one, alike in all but numbers, nests in the larger one."""
    (operator, module), (other, larger) = small, large
    if not alike(operator, other) or not covers(parameter_shapes(larger), parameter_shapes(module)):
        return
    if nests(module, larger):
        return
    parts, others = dict(module.named_modules()), dict(larger.named_modules())
    different = next((name for name in parts if name and name in others and not nests(parts[name], others[name])), "")
    require(
        False,
        f"{place.name}: {operator.key} is no slice of {other.key}: {different or 'its module'} is "
        f"{parts[different]} in one and {others.get(different, 'missing')} in the other; give it another family than "
        f"{family!r}",
    )


def _mixable(operators: Sequence[Operator]) -> list[list[Operator]]:
    """Operators that take and give the same positions; others cannot be mixed."""
    groups: dict[object, list[Operator]] = {}
    for operator in operators:
        groups.setdefault(operator.positions, []).append(operator)
    return list(groups.values())


def _require_mixture(place: Place, elastic: ElasticLayer, operators: Sequence[Operator]) -> None:
    """At probability 1 a mixture is its operator; otherwise it is the mean of what runs apart, entangled or not."""
    like = torch.ones(1, dtype=torch.float64)
    mixture = Mixture(Layer(place.name, (), lambda _: None), elastic, operators, like)
    for number, operator in enumerate(operators):
        weights_K = torch.zeros(len(operators), dtype=torch.float64)
        weights_K[number] = 1
        x = _inputs(operator, torch.float64)
        output, expected = mixture(x, weights_K, passing=False), elastic(x, operator)
        assert output is not None
        _require_same_output(place, operator, output, expected)
    apart: dict[str, int] = {}
    for number, operator in enumerate(operators):
        apart.setdefault(elastic.group(operator), number)
    weights_K = torch.zeros(len(operators), dtype=torch.float64)
    for number, share in zip(apart.values(), torch.rand(len(apart)) + 0.1, strict=True):
        weights_K[number] = share
    weights_K /= weights_K.sum()
    # What an operator does not take must be zero, because others of its group may pass it on.
    narrowest = min((operators[number] for number in apart.values()), key=lambda operator: operator.input_shape)
    x = _inputs(narrowest, torch.float64)
    terms = [
        weights_K[number] * elastic(fitted(x, operators[number].input_shape), operators[number])
        for number in apart.values()
    ]
    output = mixture(x, weights_K, passing=False)
    assert output is not None
    _require_same_output(place, narrowest, output, added(terms))


def _require_same_output(place: Place, operator: Operator, output: Tensor, expected: Tensor) -> None:
    """The mixture's output, which may be wider, is the expected one, and zero beyond."""
    padded = fitted(expected, tuple(output.shape[1:]))
    difference = (output - padded).abs()
    worst = int(difference.argmax())
    require(
        float(difference.max()) <= SAME * max(1.0, float(expected.abs().max())),
        f"{place.name}: {operator.key}: a mixture gives {float(output.flatten()[worst]):.6g} where the operator gives "
        f"{float(padded.flatten()[worst]):.6g}; it is no slice of the larger operators of its family "
        f"{operator.family!r}: give it a family of its own, or make the place entangled=False",
    )


def _inputs(operator: Operator, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (INPUTS, *operator.input_shape)
    if operator.vocabulary is not None:
        return torch.randint(operator.vocabulary, shape, generator=generator)
    return torch.randn(shape, generator=generator, dtype=dtype)


def _difference(output: Tensor, expected: Tensor) -> float:
    if output.shape != expected.shape:
        return float("inf")
    return float((output - expected).abs().max()) / max(1.0, float(expected.abs().max()))


def _few(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many items, spread over all of them, the first and the last included."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
