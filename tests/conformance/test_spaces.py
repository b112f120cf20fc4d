"""What every search space must obey. A new space inherits all of it by one line in SPACES."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.choice import Choice, Option, only_if
from hwnas.core.layer import Layer, Options
from hwnas.core.operations import condition, drop, keep, tie
from hwnas.core.operator import Operator, Shape
from hwnas.core.space import SearchSpace, channels_of
from hwnas.core.wiring import Chain, Flow, Graph, Stage
from hwnas.modules.assemble import build, network
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.profiler.export import export_onnx
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.network import Supernet
from hwnas.supernet.recalibrate import recalibrate


def conditional() -> SearchSpace:
    """A space that uses everything a space may: a layer that may be absent and be of several kinds, either of two
    conditions, a condition of a condition, a stage that may be empty, an option shared by all layers."""
    kinds = only_if({"extra": ("conv",)}, {"extra": ("mbconv",)})
    expansions = only_if({"extra": ("mbconv",)})
    choices = (
        Choice("width", (8, 12)),
        Choice("stem.kernel", (3, 5)),
        Choice("extra", ("none", "conv", "mbconv")),
        Choice("extra.kernel", (5, 3), kinds),
        Choice("extra.expansion", (1, 2, 6), expansions),
        Choice("extra.gate", (False, True), only_if({"extra": ("mbconv",), "extra.expansion": (2, 6)})),
        Choice("tail.depth", (2, 0)),
        Choice("tail.kernel", (3, 7), only_if({"tail.depth": (2,)})),
    )

    def stem(options: Options) -> Operator:
        return ConvBlock(input_shape=(2, 12, 10), channels=options["width"], kernel=options["stem.kernel"], stride=2)

    def extra(options: Options) -> Operator | None:
        shape = {"input_shape": (options["width"], 6, 5), "channels": options["width"]}
        if options["extra"] == "none":
            return None
        if options["extra"] == "conv":
            return ConvBlock(**shape, kernel=options["extra.kernel"])
        expansion = options["extra.expansion"]
        gate = options["extra.gate"] and expansion > 1
        return MBConv(**shape, kernel=options["extra.kernel"], expansion=expansion, squeeze_excite=gate, shortcut=True)

    def tail(number: int) -> Callable[[Options], Operator | None]:
        def make(options: Options) -> Operator | None:
            shape = {"input_shape": (options["width"], 6, 5), "channels": options["width"], "expansion": 1}
            return MBConv(**shape, kernel=options["tail.kernel"]) if number <= options["tail.depth"] else None

        return make

    def head(options: Options) -> Operator:
        return PoolClassifier(input_shape=(options["width"], 6, 5), features=16, classes=4)

    tail_scope = ("tail.depth", "width", "tail.kernel")
    parts = (
        Layer("stem", ("width", "stem.kernel"), stem),
        Layer("extra", ("width", "extra", "extra.kernel", "extra.expansion", "extra.gate"), extra),
        Stage("tail", "tail.depth", tuple(Layer(f"tail.block{n}", tail_scope, tail(n)) for n in (1, 2))),
        Layer("head", ("width",), head),
    )
    return SearchSpace("conditional", choices, Chain(parts), (2, 12, 10), 4)


EXAMPLES: Final = Path(__file__).parents[2] / "scripts/examples"
TINY_VIT: Final = {"resolution": 8, "embeddings": (8, 12), "depths": (1, 2), "heads": (1, 3), "ratios": (1, 1.5)}
TINY_GPT: Final = {"length": 6, "vocabulary": 11, "embeddings": (8, 12), "layers": (1, 2), "heads": (1, 3)}

SPACES: Final[Mapping[str, Callable[[], SearchSpace]]] = {
    "mobilenet": lambda: hwnas.space("mobilenet"),
    "mobilenet, 16 px, half as wide": lambda: hwnas.space("mobilenet", resolution=16, width=0.5),
    "mobilenet, squeeze-excite chosen": lambda: hwnas.space("mobilenet", resolution=16, squeeze_excite="choice"),
    "mobilenet, 64 px, grey": lambda: hwnas.space("mobilenet", resolution=64, width=0.25, channels=1, classes=3),
    "mobilenet, one class per pixel": lambda: hwnas.space(
        "mobilenet", resolution=16, width=0.5, classes=4, head="dense"
    ),
    "fbnet": lambda: hwnas.space("fbnet", resolution=16, width=0.25),
    "fbnet, 64 px": lambda: hwnas.space("fbnet", resolution=64, width=0.1, channels=1, classes=3),
    "proxyless": lambda: hwnas.space("proxyless", resolution=16, width=0.25),
    "ofa": lambda: hwnas.space("ofa", resolutions=(16, 24), width=0.25),
    "nasbench201": lambda: hwnas.space("nasbench201", resolution=8, width=4, cells=1),
    "conv_macro": lambda: hwnas.space("conv_macro", resolution=16, features=16),
    "vit": lambda: hwnas.space("vit", **TINY_VIT, head_size=4),
    "gpt": lambda: hwnas.space("gpt", **TINY_GPT, head_size=4),
    "own space": lambda: hwnas.space(f"{EXAMPLES / 'own_space.py'}:build", resolution=16, channels=8),
    "own network": lambda: hwnas.space(f"{EXAMPLES / 'own_network.py'}:build", resolution=16),
    "conditional": conditional,
    "conditional, fewer options": lambda: drop(keep(conditional(), "extra", ("none", "mbconv")), "*kernel", 3),
    "tied": lambda: tie(hwnas.space("mobilenet", resolution=16, width=0.5), "stage*.kernel"),
    "conditional by an operation": lambda: condition(
        hwnas.space("conv_macro", resolution=16, features=16), "conv[34].kernel", {"conv1.kernel": (5, 7)}
    ),
}


@pytest.fixture(scope="module", params=SPACES.values(), ids=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return request.param()


@pytest.fixture(scope="module")
def archs(space: SearchSpace) -> list[Arch]:
    """The ends, and some in between."""
    rng = np.random.default_rng(0)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(6))]


@pytest.fixture(scope="module")
@torch.no_grad()
def supernet(space: SearchSpace) -> Supernet:
    """In float64, with every weight and statistic random: zeros and ones would hide what is left out.

    The statistics are first those of data, so that no signal dies on its way, then disturbed.
    """
    generator = torch.Generator().manual_seed(0)
    supernet = Supernet(space).double().train()
    # Where nothing normalises, the centre of a large kernel must not be too weak a signal.
    gain = 1 if any("norm" in name for name in supernet.state_dict()) else 2
    for name, tensor in supernet.state_dict().items():
        scale = 0.3 if tensor.dim() == 1 else gain * (2 / tensor[0].numel()) ** 0.5
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * scale
        tensor.copy_((1 + noise).abs() + 0.01 if name.endswith(("running_var", "norm/weight")) else noise)
    rng = np.random.default_rng(1)
    for _ in range(30):
        supernet(inputs(space, 16), space.sample(rng))
    for name, buffer in supernet.named_buffers():
        buffer *= 1 + 0.5 * torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype)
        assert name.endswith(("running_mean", "running_var"))
    return supernet


def inputs(space: SearchSpace, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if space.vocabulary is not None:
        return torch.randint(space.vocabulary, (count, *space.input_shape), generator=generator)
    brightness = 2 * torch.randn(count, space.input_shape[0], 1, 1, generator=generator, dtype=dtype)
    return brightness + torch.randn(count, *space.input_shape, generator=generator, dtype=dtype)


@dataclass(frozen=True)
class Written(Flow[int]):
    """The flow of what a network computes, in writing: equal numbers stand for equal expressions."""

    options: Mapping[str, Option]
    known: dict[tuple, int] = field(default_factory=dict)

    def expression(self, *parts: object) -> int:
        return self.known.setdefault(parts, len(self.known))

    def layer(self, layer: Layer, value: int) -> int | None:
        operator = layer.operator(self.options)
        return None if operator is None else self.expression(layer.name, operator.key, value)

    def total(self, graph: str, source: int, terms: Sequence[int]) -> int:
        return self.expression(graph, *sorted(terms))


def computed(space: SearchSpace, options: Mapping[str, Option]) -> list[tuple]:
    """The expressions that the output is made of."""
    written = Written(options)
    last = space.wiring.run(-1, written)
    expressions = {number: parts for parts, number in written.known.items()}
    needed, waiting = set(), [last]
    while waiting:
        number = waiting.pop()
        if number in expressions and number not in needed:
            needed.add(number)
            waiting += [part for part in expressions[number] if isinstance(part, int)]
    # Numbered in the order of what is needed, so that a layer without effect leaves no trace.
    order = {number: place for place, number in enumerate(sorted(needed))}
    return [tuple(order.get(p, p) if isinstance(p, int) else p for p in expressions[n]) for n in sorted(needed)]


@dataclass(frozen=True)
class Fitting(Flow[Shape]):
    """The flow of shapes, each checked."""

    options: Mapping[str, Option]

    def layer(self, layer: Layer, value: Shape) -> Shape | None:
        operator = layer.operator(self.options)
        assert operator is None or tuple(operator.input_shape) == value
        return operator and tuple(operator.output_shape)

    def total(self, graph: str, source: Shape, terms: Sequence[Shape]) -> Shape:
        assert set(terms) <= {source}
        return source


def named(space: SearchSpace, row: np.ndarray) -> dict[str, Option]:
    """Options of a row by name, not normalised."""
    return {choice.name: choice.options[i] for choice, i in zip(space.choices, row, strict=True)}


# ---- choices, scopes and conditions


def test_rows_and_architectures_are_each_others_inverse(space: SearchSpace) -> None:
    rows = space.sample_rows(np.random.default_rng(0), 200)
    assert np.array_equal(space.encode([space.decode(row) for row in rows]), rows)
    assert np.array_equal(space.normalise(rows), rows)


def test_an_architecture_survives_json(space: SearchSpace, archs: list[Arch]) -> None:
    for arch in archs:
        assert space.arch(json.loads(arch.key)) == arch


def test_there_are_at_least_as_many_architectures_as_samples_show(space: SearchSpace) -> None:
    assert space.size >= len(np.unique(space.sample_rows(np.random.default_rng(0), 5_000), axis=0)) > 10


def test_a_layer_is_decided_by_its_scope_alone(space: SearchSpace) -> None:
    for layer in space.layers:
        for _, operator in layer.cells(space.by_name):  # gives the scope's options and nothing else
            assert operator is None or isinstance(operator, Operator)


def test_every_choice_of_a_scope_makes_a_difference_somewhere(space: SearchSpace) -> None:
    for layer in space.layers:
        shape = [len(space.choice(name).options) for name in layer.scope]
        keys = np.empty(shape, dtype=object)
        for index, operator in layer.cells(space.by_name):
            keys[index] = operator and operator.key
        for axis, name in enumerate(layer.scope):
            if shape[axis] > 1:
                first = keys.take([0], axis)
                assert (keys != first).any(), f"{layer.name} does not depend on {name}"


def test_normalising_does_not_change_a_network(space: SearchSpace) -> None:
    if any(verb in ("tie", "condition") for verb, *_ in space.operations):
        pytest.skip("a tie or a condition that was added later does change networks: that is what it is for")
    sizes = [len(choice.options) for choice in space.choices]
    raw = np.random.default_rng(0).integers(0, sizes, (200, len(sizes)))
    for drawn, normal in zip(raw, space.normalise(raw), strict=True):
        assert computed(space, named(space, drawn)) == computed(space, named(space, normal))


def test_architectures_are_equal_where_and_only_where_networks_are(space: SearchSpace, archs: list[Arch]) -> None:
    for arch in archs:
        for choice in space.choices:
            for option in choice.options:
                changed = space.decode(space.encode([{**arch, choice.name: option}])[0])
                assert (changed.key == arch.key) == (computed(space, changed) == computed(space, arch))


def test_the_size_is_what_enumeration_counts(space: SearchSpace) -> None:
    """On a part of the space: some choices, drawn by chance, have one option."""
    rng = np.random.default_rng(0)
    for name in rng.permutation([choice.name for choice in space.choices]):
        sizes = [len(choice.options) for choice in space.choices]
        if np.prod(sizes, dtype=float) <= 20_000:
            break
        space = keep(space, name, space.choice(name).options[:1])
    every = np.unique(space.normalise(np.indices(sizes).reshape(len(sizes), -1).T), axis=0)
    assert space.size == len(every) > 1


# ---- shapes and costs


def test_what_one_layer_gives_the_next_one_takes(space: SearchSpace, archs: list[Arch]) -> None:
    for arch in archs:
        assert space.wiring.run(tuple(space.input_shape), Fitting(arch)) == space.output_shape
        assert channels_of(space.output_shape) == space.classes


def test_costs_are_those_of_the_network_that_is_built(
    space: SearchSpace, archs: list[Arch], measured_cost: Callable
) -> None:
    for arch in archs:
        measured = measured_cost(network(space, arch), space.input_shape, space.vocabulary)
        assert space.cost("flops", arch) == measured.flops
        assert space.cost("params", arch) == measured.params
        assert space.cost("bytes", arch) == 4 * (measured.params + measured.statistics)


def test_the_peak_of_every_operator_is_what_its_module_has_alive_at_once(
    space: SearchSpace, measured_peak: Callable
) -> None:
    for operator in space.operators().values():
        measured = measured_peak(build(operator), operator.input_shape, operator.vocabulary)
        assert operator.peak_bytes() == measured, operator.key


def test_the_peak_of_an_architecture_is_that_of_the_network_that_is_built_and_at_least_it_in_a_graph(
    space: SearchSpace, archs: list[Arch], measured_peak: Callable
) -> None:
    for arch in archs:
        measured = measured_peak(network(space, arch), space.input_shape, space.vocabulary)
        if any(isinstance(part, Graph) for part in space.wiring.parts):
            assert space.cost("peak", arch) >= measured
        else:
            assert space.cost("peak", arch) == measured


def test_the_smallest_and_the_largest_are_the_ends(space: SearchSpace) -> None:
    rows = space.spread_rows(np.random.default_rng(0), 2_000)
    flops = sum(factor.at(rows, space.columns) for factor in space.cost_factors("flops"))
    assert space.cost("flops", space.smallest()) <= flops.min()
    assert space.cost("flops", space.largest()) >= flops.max()


def test_operators_of_one_key_are_equal_wherever_they_stand(space: SearchSpace) -> None:
    by_key = space.operators()
    for layer in space.layers:
        for _, operator in layer.cells(space.by_name):
            assert operator is None or by_key[operator.key] == operator


# ---- the supernet, and what is extracted from it


def with_seed(module: torch.nn.Module, *arguments: object) -> Tensor:
    torch.manual_seed(0)
    return module(*arguments)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_an_extracted_network_is_the_supernet_fixed_at_it(
    space: SearchSpace, archs: list[Arch], supernet: Supernet, training: bool
) -> None:
    x = inputs(space, 5)
    for arch in archs:
        extracted = supernet.train(training).extract(arch)
        with torch.no_grad():
            before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
            output = with_seed(extracted, x)  # a seed each, for what drops out by chance
            expected = with_seed(supernet, x, arch)
            for name, buffer in supernet.named_buffers():  # other tests find the statistics as they were
                buffer.copy_(before[name])
        scale = max(1.0, float(expected.abs().max()))
        assert expected.std(0).max() > 1e-5, "a dead network proves nothing"
        assert float((output - expected).abs().max()) <= 1e-9 * scale


def certain(space: SearchSpace, arch: Arch) -> dict[str, Tensor | Drawn]:
    """Probabilities of an architecture alone. Resolutions cannot be mixed: of these, its own is drawn."""
    result: dict[str, Tensor | Drawn] = {}
    for choice, index in zip(space.choices, space.encode([arch])[0], strict=True):
        probability_K = torch.zeros(len(choice.options), dtype=torch.float64)
        probability_K[index] = 1
        result[choice.name] = probability_K
        if choice.name == "resolution":
            result[choice.name] = Drawn((int(index),), probability_K[index, None])
    return result


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_mixture_at_probabilities_of_0_and_1_is_the_supernet_fixed(
    space: SearchSpace, archs: list[Arch], supernet: Supernet, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of other channels, chance drops other ones.
    monkeypatch.setattr(torch.nn.functional, "dropout2d", lambda x, *_: x)
    x = inputs(space, 5)
    supernet.train(training)
    before = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    for arch in archs[:4]:
        with torch.no_grad():
            expected, output = supernet(x, arch), supernet(x, certain(space, arch))
            for name, buffer in supernet.named_buffers():  # other tests find the statistics as they were
                buffer.copy_(before[name])
        scale = max(1.0, float(expected.abs().max()))
        assert expected.std(0).max() > 1e-5, "a dead network proves nothing"
        assert float((output - expected).abs().max()) <= 1e-9 * scale


def test_an_extracted_network_is_a_plain_one(space: SearchSpace, archs: list[Arch], supernet: Supernet) -> None:
    for arch in archs:
        extracted, plain = supernet.extract(arch), network(space, arch)
        assert list(extracted.state_dict()) == list(plain.state_dict())
        assert [tensor.shape for tensor in extracted.state_dict().values()] == [
            tensor.shape for tensor in plain.state_dict().values()
        ]
        assert extracted.code == plain.code


def test_every_weight_of_the_supernet_is_used_by_some_architecture(space: SearchSpace, supernet: Supernet) -> None:
    for layer in space.layers:
        elastic = supernet.layers[layer.name.replace(".", "_")]
        unused = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in elastic.state_dict().items()}
        starts = {tensor.data_ptr(): name for name, tensor in elastic.state_dict().items()}
        for _, operator in layer.cells(space.by_name):
            for tensor in elastic.slices(operator).values() if operator else ():
                name = starts[tensor.untyped_storage().data_ptr()]
                torch.as_strided(unused[name], tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(False)
        assert not any(left.any() for left in unused.values())


def test_every_operator_alone_is_a_module_of_its_shapes(space: SearchSpace) -> None:
    for operator in list(space.operators().values())[::5]:
        module = build(operator).eval()
        with torch.no_grad():
            dtype = torch.float32 if operator.vocabulary is None else torch.int64
            x = torch.zeros(1, *operator.input_shape, dtype=dtype)
            assert module(x).shape == (1, *operator.output_shape)


# ---- what is deployed


def test_an_exported_network_computes_what_torch_computes(
    space: SearchSpace, archs: list[Arch], supernet: Supernet, tmp_path: Path
) -> None:
    x = inputs(space, 3, torch.float32)
    for arch in archs[:3]:
        extracted = supernet.eval().extract(arch).float()
        recalibrate(extracted, [inputs(space, 16, torch.float32)])
        export_onnx(extracted, space.input_shape, tmp_path / "model.onnx", batch=3, vocabulary=space.vocabulary)
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        (output,) = session.run(["output"], {"input": x.numpy()})
        expected = extracted(x).detach().numpy()
        assert np.ptp(expected, axis=0).max() > 0.1, "a dead network proves nothing"
        assert np.abs(output - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
