"""Laws of mixtures: a mean of operators, of depths and of edges; only what is drawn runs; gradients are differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
import torch
from torch import Tensor

import hwnas
from hwnas.core.layer import Layer
from hwnas.core.operations import tie
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.modules.build import build
from hwnas.modules.cells import AveragePoolModule
from hwnas.operators.cells import AveragePool, ReluConv, Skip
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.spaces.compose import cell, compose, pick, place, stage
from hwnas.spaces.nasbench201 import OPERATORS, edge_operator
from hwnas.supernet.elastic import ElasticLayer
from hwnas.supernet.mixture import Drawn, Mixture
from hwnas.supernet.network import Supernet

SHAPE: Final = (4, 6, 6)
NO_DROPOUT: Final = {"features": 16, "dropout": 0}
SKIP, POOL, CONV1, CONV3 = (
    Skip(input_shape=SHAPE),
    AveragePool(input_shape=SHAPE),
    ReluConv(input_shape=SHAPE, kernel=1),
    ReluConv(input_shape=SHAPE, kernel=3),
)


@torch.no_grad()
def randomised(module: torch.nn.Module) -> Any:
    """In float64, with every weight and statistic random; what comes before a gate's sigmoid is small."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.double().state_dict().items():
        scale = 0.3 if tensor.dim() == 1 else (2 / tensor[0].numel()) ** 0.5
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * scale
        positive = name.endswith(("running_var", "norm/weight"))
        tensor.copy_((1 + noise).abs() + 0.1 if positive else 0.3 * noise if "squeeze" in name else noise)
    return module


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.double)


def inputs(space: SearchSpace, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if space.vocabulary is not None:
        return torch.randint(space.vocabulary, (count, *space.input_shape), generator=generator)
    return torch.randn(count, *space.input_shape, generator=generator, dtype=torch.double)


def probabilities(space: SearchSpace) -> dict[str, Tensor]:
    """All different, those of each choice sum to 1."""
    generator = torch.Generator().manual_seed(1)
    drawn = {c.name: torch.rand(len(c.options), generator=generator, dtype=torch.double) for c in space.choices}
    return {name: (0.2 + each) / (0.2 + each).sum() for name, each in drawn.items() if not space.choice(name).tied_to}


# ---- one layer


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def mixture_of(operators: Sequence[Operator | None]) -> tuple[ElasticLayer, Mixture]:
    elastic = randomised(ElasticLayer("edge", [each for each in operators if each]))
    layer = Layer("edge", (), lambda options: None)  # only its name is asked for
    return elastic, Mixture(layer, elastic.eval(), operators, doubles())


def test_operators_that_do_not_nest_are_mixed_by_their_outputs(x: Tensor) -> None:
    elastic, mixture = mixture_of([SKIP, POOL, CONV3])
    expected = 0.2 * x + 0.3 * elastic(x, POOL) + 0.5 * elastic(x, CONV3)
    torch.testing.assert_close(mixture(x, doubles(0.2, 0.3, 0.5), passing=True), expected, rtol=1e-12, atol=1e-12)


def test_operators_that_nest_are_mixed_by_their_weights_for_their_share(x: Tensor) -> None:
    _, mixture = mixture_of([CONV1, CONV3, SKIP])
    _, alone = mixture_of([CONV1, CONV3])
    expected = 0.8 * alone(x, doubles(0.25, 0.75), passing=True) + 0.2 * x
    torch.testing.assert_close(mixture(x, doubles(0.2, 0.6, 0.2), passing=True), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("passing", [True, False], ids=["in a chain", "in a graph"])
def test_where_nothing_stands_the_input_passes_in_a_chain_and_nothing_is_added_in_a_graph(x, passing: bool) -> None:
    elastic, mixture = mixture_of([None, CONV3, None])
    expected = 0.5 * elastic(x, CONV3) + (0.5 * x if passing else 0)
    torch.testing.assert_close(mixture(x, doubles(0.1, 0.5, 0.4), passing=passing), expected, rtol=1e-12, atol=1e-12)


def test_where_nothing_can_stand_the_input_passes_or_nothing_comes_of_it(x: Tensor) -> None:
    _, mixture = mixture_of([None, None])
    torch.testing.assert_close(mixture(x, doubles(0.5, 0.5), passing=True), x, rtol=1e-12, atol=0)
    assert mixture(x, doubles(0.5, 0.5), passing=False) is None


def test_a_group_without_probability_leaves_gradients_finite(x: Tensor) -> None:
    elastic, mixture = mixture_of([SKIP, CONV1, CONV3])
    weights_K = doubles(1, 0, 0).requires_grad_()
    mixture(x, weights_K, passing=True).square().sum().backward()
    assert weights_K.grad.isfinite().all() and weights_K.grad[0] != 0
    assert all(p.grad.isfinite().all() and not p.grad.any() for p in elastic.parameters())


def test_a_batch_norm_in_train_mode_does_not_cancel_the_masks_before_it(x: Tensor) -> None:
    elastic, mixture = mixture_of([ConvBlock(input_shape=SHAPE, channels=channels) for channels in (2, 5)])
    elastic.train()
    weights_K = doubles(0.4, 0.6).requires_grad_()
    (gradient_K,) = torch.autograd.grad(mixture(x, weights_K, passing=True)[:, 2:].sum(), [weights_K])
    assert gradient_K[0] == 0, "the narrower one has none of these channels"
    assert gradient_K[1] > 1


def test_inputs_of_fewer_channels_are_filled_with_zeros_and_of_more_cut() -> None:
    operators = [ConvBlock(input_shape=(c, 6, 6), channels=c) for c in (2, 4)]
    elastic, mixture = mixture_of(operators)
    x = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    narrow, wide = doubles(1, 0), doubles(0, 1)
    expected = elastic(x[:, :2], operators[0])
    for given in (x[:, :2], torch.cat([x, x], 1)):
        torch.testing.assert_close(mixture(given, narrow, passing=True)[:, :2], expected, rtol=1e-12, atol=1e-12)
    filled = torch.cat([x[:, :2], torch.zeros_like(x[:, :2])], 1)
    expected = elastic(filled, operators[1])
    torch.testing.assert_close(mixture(x[:, :2], wide, passing=True), expected, rtol=1e-12, atol=1e-12)


# ---- depths, ties


def staged(depths: Sequence[int] = (1, 2, 3), kernels: Sequence[int] = (3,)) -> SearchSpace:
    def block(number: int) -> Any:
        return place(f"block{number}", MBConv, channels=4, kernel=pick(*kernels), expansion=2)

    parts = [
        place("stem", ConvBlock, channels=4, stride=2),
        stage("", depths, block),
        place("head", PoolClassifier, features=8, classes=3),
    ]
    return compose("staged", (2, 12, 12), 3, parts)


@pytest.mark.parametrize("depths", [(1, 2, 3), (0, 3), (3, 1)])
def test_a_stages_output_is_the_mean_of_those_at_its_depths(depths: tuple[int, ...]) -> None:
    """And a block, where it stands, is the mean of its operators, however probable it is to stand."""
    space = staged(depths, kernels=(3, 5))
    supernet = randomised(Supernet(space)).eval()
    given = probabilities(space)
    stem, *blocks, head = space.layers
    largest = space.largest()
    after = [supernet.elastic(stem)(inputs(space), stem.operator(largest))]
    for block in blocks:
        kernels = [block.operator({**largest, f"{block.name}.kernel": kernel}) for kernel in (3, 5)]
        mixture = Mixture(block, supernet.elastic(block), kernels, doubles())
        after.append(mixture(after[-1], given[f"{block.name}.kernel"], passing=True))
    mean = sum(p * after[depth] for p, depth in zip(given["depth"], depths, strict=True))
    expected = supernet.elastic(head)(mean, head.operator(largest))
    torch.testing.assert_close(supernet(inputs(space), given), expected, rtol=1e-12, atol=1e-12)


def test_choices_that_are_tied_share_the_leaders_probabilities() -> None:
    space = staged((2,), kernels=(3, 5))
    supernet, tied = (randomised(Supernet(each)).eval() for each in (space, tie(space, "*kernel")))
    p_K = doubles(0.3, 0.7)
    assert tied.space.choice("block2.kernel").tied_to == "block1.kernel"
    expected = supernet(inputs(space), {"block1.kernel": p_K, "block2.kernel": p_K})
    torch.testing.assert_close(tied(inputs(space), {"block1.kernel": p_K}), expected, rtol=1e-12, atol=1e-12)
    ignored = {"block1.kernel": p_K, "block2.kernel": doubles(1, 0)}
    assert torch.equal(tied(inputs(space), ignored), tied(inputs(space), {"block1.kernel": p_K}))


# ---- what is drawn


@pytest.fixture
def cells() -> Supernet:
    return randomised(Supernet(hwnas.space("nasbench201", resolution=8, width=4, cells=1))).train()


def test_options_that_are_not_drawn_do_not_run_and_get_no_gradient(cells: Supernet) -> None:
    """Edges are none, skip, 1x1, 3x3, pool; the convolutions nest."""
    drawn = {name: Drawn((1, 4), doubles(0.5, 0.5)) for name in cells.space.by_name}
    cells(inputs(cells.space), drawn).square().sum().backward()
    convolutions = {name: p.grad for name, p in cells.named_parameters() if "relu_conv" in name}
    assert len(convolutions) == 3 * 6 * 3
    assert all(gradient is None for gradient in convolutions.values())
    assert all(p.grad is not None for name, p in cells.named_parameters() if "relu_conv" not in name)


def test_gradients_reach_only_the_slice_of_what_is_drawn(cells: Supernet) -> None:
    drawn = {name: Drawn((2,), doubles(1)) for name in cells.space.by_name}
    cells(inputs(cells.space), drawn).square().sum().backward()
    kernels = [p.grad for name, p in cells.named_parameters() if "relu_conv" in name and p.dim() == 4]
    assert len(kernels) == 3 * 6
    for gradient in kernels:
        assert gradient[:, :, 1, 1].any()
        gradient[:, :, 1, 1] = 0
        assert not gradient.any()


def test_gradients_reach_only_the_channels_of_the_widest_option_drawn() -> None:
    space = compose(
        "wide",
        (2, 6, 6),
        3,
        [
            place("stem", ConvBlock, channels=pick(2, 4, 8)),
            place("head", PoolClassifier, features=8, classes=3),
        ],
    )
    supernet = randomised(Supernet(space)).train()
    supernet(inputs(space), {"stem.channels": Drawn((0, 1), doubles(0.5, 0.5))}).square().sum().backward()
    stem, head = (supernet.elastic(layer) for layer in space.layers)
    weight = next(p.grad for p in stem.parameters() if p.dim() == 4)
    assert weight[:4].all() and not weight[4:].any()
    weight = next(p.grad for p in head.parameters() if p.dim() == 4)
    assert weight[:, :4].all() and not weight[:, 4:].any()


@pytest.mark.parametrize(
    ("name", "options", "training"), [("mobilenet", {"width": 0.5}, False), ("conv_macro", NO_DROPOUT, True)]
)
def test_of_one_option_drawn_the_value_is_fixed_and_its_weight_gets_a_gradient(name, options, training: bool) -> None:
    """In train mode, of a network without norms: a batch-norm makes the scale of what comes before it immaterial."""
    space = hwnas.space(name, resolution=16, **options)
    supernet = randomised(Supernet(space)).train(training)
    arch = space.largest()
    row = space.encode([arch])[0]
    drawn = {
        choice.name: Drawn((int(index),), torch.ones(1, dtype=torch.double, requires_grad=True))
        for choice, index in zip(space.choices, row, strict=True)
        if len(choice.options) > 1
    }
    output = supernet(inputs(space), drawn)
    torch.testing.assert_close(output, supernet(inputs(space), arch), rtol=1e-12, atol=1e-12)
    output.square().sum().backward()
    for choice, each in drawn.items():
        assert each.weights.grad.abs() > 1e-4 * output.square().sum(), choice


def test_options_drawn_are_those_of_the_choice_in_any_order() -> None:
    space = staged((1, 2), kernels=(3, 5, 7))
    supernet = randomised(Supernet(space)).eval()
    given = probabilities(space) | {"block1.kernel": doubles(0.2, 0, 0.8)}
    drawn = given | {"block1.kernel": Drawn((2, 0), doubles(0.8, 0.2))}
    torch.testing.assert_close(supernet(inputs(space), drawn), supernet(inputs(space), given), rtol=1e-12, atol=1e-12)


def test_resolutions_cannot_be_mixed_but_one_can_be_drawn() -> None:
    space = hwnas.space("ofa", resolutions=(16, 24), width=0.25)
    supernet = randomised(Supernet(space)).eval()
    message = r"layer 'stem': its operators map positions \(16, 16\) to \(8, 8\), and \(24, 24\) to \(12, 12\), which"
    with pytest.raises(SpaceError, match=message):
        supernet(inputs(space, 2), probabilities(space))
    for index in (0, 1):
        outputs = [
            supernet(inputs(space, 2), probabilities(space) | {"resolution": drawn})
            for drawn in (Drawn((index,), doubles(1)), Drawn((index,), doubles(1).requires_grad_()))
        ]
        assert torch.equal(*outputs) and outputs[0].shape == (2, 10)


def test_probabilities_that_are_missing_or_of_another_length_are_refused() -> None:
    space = staged((1, 2))
    supernet, x = Supernet(space).double(), inputs(space)
    with pytest.raises(SpaceError, match=r"a mixture of staged needs probabilities of 'depth'"):
        supernet(x, {})
    for drawn in (doubles(1, 0, 0), Drawn((0, 1), doubles(1)), Drawn((2,), doubles(1)), Drawn((), doubles())):
        with pytest.raises(SpaceError, match=r"'depth' has 2 options; its mixture has weights of shape"):
            supernet(x, {"depth": drawn})
    assert supernet(x, {"depth": doubles(0.5, 0.5)}).shape == (6, 3), "choices of one option need no probabilities"


def test_in_mixed_precision_masks_are_not_rounded() -> None:
    space = hwnas.space("vit", resolution=8, embeddings=(8, 12), depths=(1, 2), heads=(1, 3), head_size=4)
    supernet = randomised(Supernet(space)).float().train()
    x, given = inputs(space).float(), {name: p_K.float() for name, p_K in probabilities(space).items()}
    for p_K in given.values():
        p_K.requires_grad_()
    expected = torch.autograd.grad(supernet(x, given).square().sum(), list(given.values()))
    with torch.autocast("cpu", torch.bfloat16):
        output = supernet(x, given)
    found = torch.autograd.grad(output.float().square().sum(), list(given.values()))
    scale = max(float(each.abs().max()) for each in expected)
    assert max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True)) < 0.05 * scale


# ---- gradients of probabilities

STEP: Final = 1e-7
TINY_TOKENS: Final = {"embeddings": (8, 12), "heads": (1, 3), "head_size": 4, "ratios": (1, 1.5)}
# A space, and one choice of each kind.
KINDS: Final[Mapping[str, tuple[Callable[[], SearchSpace], tuple[str, ...]]]] = {
    "mobilenet": (
        lambda: hwnas.space("mobilenet", resolution=16, width=0.25, squeeze_excite="choice"),
        (
            "stage2.width",
            "stage2.squeeze_excite",
            "stage1.block1.kernel",
            "stage2.block2.expansion",
            "stage1.depth",
            "stage4.depth",
        ),
    ),
    "vit": (
        lambda: hwnas.space("vit", resolution=8, depths=(1, 2), **TINY_TOKENS),
        ("embedding", "block1.attention.heads", "block2.mlp.ratio", "depth"),
    ),
    "gpt": (
        lambda: hwnas.space("gpt", length=6, vocabulary=11, layers=(1, 2), **TINY_TOKENS),
        ("embedding", "heads", "block1.mlp.ratio", "depth"),
    ),
    "conv_macro": (
        lambda: hwnas.space("conv_macro", resolution=16, **NO_DROPOUT),
        ("conv1.channels", "conv2.kernel", "conv4.channels"),
    ),
    "nasbench201": (
        lambda: hwnas.space("nasbench201", resolution=8, width=4, cells=1),
        ("edge0", "edge2", "edge3"),
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest) -> tuple[Supernet, tuple[str, ...]]:
    space, names = KINDS[request.param]
    return randomised(Supernet(space())).train(), names


def test_in_train_mode_gradients_of_probabilities_are_differences_and_not_about_zero(trained) -> None:
    """Also not about zero: what more of one option and less of another would do, as probabilities sum to 1."""
    supernet, names = trained
    x, given = inputs(supernet.space), probabilities(supernet.space)
    with torch.no_grad():
        logits = supernet(x, given)
    shares = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.double) / logits.std()

    def loss(name: str, p_K: Tensor) -> Tensor:
        return (supernet(x, given | {name: p_K}) * shares).sum() / len(x)

    for name in names:
        p_K = given[name].clone().requires_grad_()
        (gradient_K,) = torch.autograd.grad(loss(name, p_K), [p_K])
        steps_KK = STEP * torch.eye(len(p_K), dtype=torch.double)
        with torch.no_grad():
            differences = [(loss(name, p_K + step) - loss(name, p_K - step)) / (2 * STEP) for step in steps_KK]
        torch.testing.assert_close(gradient_K, torch.stack(differences), rtol=1e-5, atol=1e-6, msg=name)
        assert (gradient_K - gradient_K.mean()).abs().max() > 1e-3, name


def test_what_was_first_run_while_judging_can_be_trained(tiny_space: SearchSpace) -> None:
    supernet = Supernet(tiny_space).train()
    x = torch.randn(4, *tiny_space.input_shape)
    mixture = {
        choice.name: Drawn(tuple(range(min(2, len(choice.options)))), torch.full((min(2, len(choice.options)),), 0.5))
        for choice in tiny_space.choices
    }
    with torch.inference_mode():
        supernet(x, mixture)
    supernet(x, mixture).square().mean().backward()
    assert all(parameter.grad is not None for parameter in supernet.layers["stem"].parameters())


@pytest.mark.parametrize("name", ["stage1.depth", "stage1.block1.kernel", "stage2.width"])
def test_the_gradient_of_a_path_that_a_gate_has_closed_is_the_limit_of_it_closing(
    tiny_space: SearchSpace, name: str
) -> None:
    """So that the one that is not active is known by what it would do (ProxylessNAS, section 3.2)."""
    torch.manual_seed(0)
    supernet = Supernet(tiny_space).double().eval()
    x = torch.randn(4, *tiny_space.input_shape, dtype=torch.float64)
    slopes = []
    for closed in (0.0, 1e-9):
        mixture = {choice.name: Drawn((0,), torch.ones(1, dtype=torch.float64)) for choice in tiny_space.choices}
        gate = torch.tensor([1 - closed, closed], dtype=torch.float64, requires_grad=True)
        mixture[name] = Drawn((0, 1), gate)
        loss = (supernet(x, mixture) * torch.arange(10)).square().mean()
        slopes.append(torch.autograd.grad(loss, gate)[0])
    assert slopes[0].numpy() == pytest.approx(slopes[1].numpy(), rel=0.02)
    assert slopes[0][1] != 0


# ---- a part of the channels


@pytest.fixture
def edge() -> Supernet:
    """A cell of one edge with the operators of NAS-Bench-201."""
    inside = cell("cell", {(0, 1): place("edge", edge_operator, operator=pick(*OPERATORS))})
    head = place("head", PoolClassifier, features=8, classes=3)
    return randomised(Supernet(compose("edge", SHAPE, 3, [inside, head]))).eval()


def test_one_in_so_many_channels_passes_the_operators_of_an_edge_and_all_are_shuffled(
    edge: Supernet, x: Tensor
) -> None:
    body, head = edge.space.layers
    given = doubles(0.1, 0.2, 0.25, 0.3, 0.15)
    weights = edge.elastic(body).slices(CONV3)

    def conv(taken: Tensor, kernel: int) -> Tensor:
        plain = build(replace(CONV3, input_shape=(2, 6, 6), kernel=kernel)).double().eval()
        centre = slice(1 - kernel // 2, 2 + kernel // 2)
        slices = {name: tensor[:2] for name, tensor in weights.items()}
        slices["conv.weight"] = weights["conv.weight"][:2, :2, centre, centre]
        plain.load_state_dict(slices, strict=False)
        return plain(taken)

    taken = x[:, :2]
    mixed = 0.2 * taken + 0.25 * conv(taken, 1) + 0.3 * conv(taken, 3) + 0.15 * AveragePoolModule(POOL)(taken)
    node = torch.stack([mixed[:, 0], x[:, 2], mixed[:, 1], x[:, 3]], 1)
    (operator,) = [operator for _, operator in head.cells(edge.space.by_name)]
    expected = edge.elastic(head)(node, operator)
    output = edge(x, {"edge.operator": given}, partial=2)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)

    output.sum().backward()
    gradient = edge.elastic(body).get_parameter("relu_conv/conv/weight").grad
    assert gradient[:2, :2].abs().min() > 0
    assert not gradient[2:].any() and not gradient[:, 2:].any()


def test_where_nothing_stands_the_channels_passed_by_still_arrive(edge: Supernet, x: Tensor) -> None:
    _, head = edge.space.layers
    (operator,) = [operator for _, operator in head.cells(edge.space.by_name)]
    zeros = torch.zeros_like(x[:, 0])
    expected = edge.elastic(head)(torch.stack([zeros, x[:, 2], zeros, x[:, 3]], 1), operator)
    output = edge(x, {"edge.operator": Drawn((0,), doubles(1.0))}, partial=2)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)


def test_edges_whose_channels_cannot_be_divided_run_whole(edge: Supernet, x: Tensor) -> None:
    given = {"edge.operator": doubles(0.1, 0.2, 0.25, 0.3, 0.15)}
    assert torch.equal(edge(x, given, partial=3), edge(x, given))
    assert not torch.allclose(edge(x, given, partial=4), edge(x, given))
