"""Laws of transformer blocks: costs, slices, causality, and what ONNX Runtime makes of them."""

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hwnas.core.operator import Operator, OperatorCost
from hwnas.errors import SpaceError
from hwnas.modules.build import build
from hwnas.modules.transformer import INITIAL_STD
from hwnas.operators.transformer import (
    Attention,
    FeedForward,
    LanguageHead,
    PatchEmbedding,
    TokenClassifier,
    TokenEmbedding,
)
from hwnas.profiler.export import to_onnx
from hwnas.supernet.elastic import ElasticLayer

WIDTH = st.integers(1, 9)
SEQUENCES = st.tuples(WIDTH, st.integers(2, 12))
OPERATORS = st.one_of(
    st.builds(
        lambda channels, rows, columns, patch, embedding: PatchEmbedding(
            input_shape=(channels, rows * patch, columns * patch), patch=patch, embedding=embedding
        ),
        *[WIDTH] * 5,
    ),
    st.builds(Attention, input_shape=SEQUENCES, heads=WIDTH, head_size=WIDTH, causal=st.booleans()),
    st.builds(FeedForward, input_shape=SEQUENCES, hidden=WIDTH),
    st.builds(TokenClassifier, input_shape=SEQUENCES, classes=WIDTH),
    st.builds(TokenEmbedding, input_shape=st.tuples(WIDTH), tokens=WIDTH, embedding=WIDTH),
    st.builds(LanguageHead, input_shape=SEQUENCES, tokens=WIDTH),
)

# Two sizes of every family: the second is the larger on each axis that may differ.
FAMILIES = {
    "patch-embedding": [PatchEmbedding(input_shape=(3, 8, 12), patch=4, embedding=e) for e in (5, 8)],
    "attention": [Attention(input_shape=(7, e), heads=h, head_size=4) for e, h in ((6, 2), (10, 3))],
    "causal": [Attention(input_shape=(7, e), heads=h, head_size=4, causal=True) for e, h in ((6, 3), (10, 5))],
    "feed-forward": [FeedForward(input_shape=(7, e), hidden=h) for e, h in ((6, 9), (10, 20))],
    "token-classifier": [TokenClassifier(input_shape=(7, e), classes=5) for e in (6, 10)],
    "token-embedding": [TokenEmbedding(input_shape=(7,), tokens=11, embedding=e) for e in (6, 10)],
    "language-head": [LanguageHead(input_shape=(7, e), tokens=11) for e in (6, 10)],
}
EXAMPLES = [operator for family in FAMILIES.values() for operator in family]


def inputs(operator: Operator, batch: int = 2, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    shape = (batch, *operator.input_shape)
    return torch.randn(shape, dtype=dtype) if operator.vocabulary is None else torch.randint(operator.vocabulary, shape)


@torch.no_grad()
def disturbed(module: nn.Module) -> nn.Module:
    """The module in float64 with every parameter drawn anew, biases and norms too."""
    module.double()
    for parameter in module.parameters():
        parameter.copy_(torch.randn_like(parameter))
    return module


@given(OPERATORS)
@settings(max_examples=80)
def test_an_operators_cost_is_what_its_module_has(operator: Operator) -> None:
    module = build(operator)
    # The counter knows matrix products, not fused attention kernels: ask for the kernel that is made of products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(inputs(operator, batch=1))
    params = sum(parameter.numel() for parameter in module.parameters())
    assert OperatorCost(counter.get_total_flops(), params, len(list(module.buffers()))) == operator.cost()


@given(OPERATORS, st.booleans())
@settings(max_examples=60)
def test_a_modules_output_has_the_operators_shape_and_its_input_is_left_alone(operator: Operator, training) -> None:
    x = inputs(operator, batch=3)
    before = x.clone()
    assert build(operator).train(training)(x).shape == (3, *operator.output_shape)
    assert torch.equal(x, before)


def test_only_a_token_embedding_takes_ids() -> None:
    assert {type(operator): operator.vocabulary for operator in EXAMPLES if operator.vocabulary} == {TokenEmbedding: 11}


@pytest.mark.parametrize("patch", [5, 6, 0])
def test_patches_that_do_not_fill_the_image_are_refused(patch: int) -> None:
    with pytest.raises(SpaceError, match=f"patches of {patch} x {patch} do not fill an image of 10 x 12"):
        PatchEmbedding(input_shape=(3, 10, 12), patch=patch, embedding=8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [0, 1])
def test_each_operator_of_a_family_runs_on_the_first_entries_of_one_set_of_weights(family: str, size: int) -> None:
    layer = disturbed(ElasticLayer(family, FAMILIES[family]))
    operator, largest = FAMILIES[family][size], FAMILIES[family][1]
    plain = build(operator).double()
    weights = layer.slices(largest)
    assert {name: weight.shape for name, weight in build(largest).named_parameters()} == {
        name: weight.shape for name, weight in weights.items()
    }
    cut = {
        name: weights[name][tuple(slice(length) for length in parameter.shape)]
        for name, parameter in plain.named_parameters()
    }
    plain.load_state_dict(cut)
    x = inputs(operator, dtype=torch.float64)
    torch.testing.assert_close(layer(x, operator), plain(x), rtol=1e-9, atol=1e-9)


def test_attentions_that_differ_in_head_size_or_causality_and_patches_that_differ_in_size_share_nothing() -> None:
    shared = {"input_shape": (7, 6), "heads": 2}
    sizes = [Attention(**shared, head_size=size, causal=causal) for size in (4, 8) for causal in (False, True)]
    patches = [PatchEmbedding(input_shape=(3, 8, 8), patch=patch, embedding=6) for patch in (2, 4)]
    assert len({operator.family for operator in sizes + patches}) == 6


@torch.no_grad()
def test_fewer_heads_are_the_first_heads() -> None:
    small, large = (Attention(input_shape=(7, 6), heads=heads, head_size=4) for heads in (2, 3))
    layer = disturbed(ElasticLayer("attention", [small, large]))
    x = inputs(small, dtype=torch.float64)
    before = layer(x, small)
    assert not torch.allclose(before, layer(x, large))
    layer.slices(large)["project.weight"][:, small.inner :] = 0  # what the third head says is not heard
    torch.testing.assert_close(layer(x, large), before, rtol=1e-9, atol=1e-9)


def test_gradients_reach_only_the_chosen_slice() -> None:
    small, large = FAMILIES["attention"]
    layer = ElasticLayer("attention", [small, large])
    layer(inputs(small), small).square().sum().backward()
    gradients = {
        name.rpartition("/")[0].rpartition("/")[2]: p.grad for name, p in layer.named_parameters() if p.dim() > 1
    }
    for name in ("query", "key", "value"):
        assert gradients[name][: small.inner, :6].abs().min() > 0
        assert not gradients[name][small.inner :].any() and not gradients[name][:, 6:].any()


@torch.no_grad()
def test_attention_is_the_softmax_of_scaled_products_head_by_head() -> None:
    for operator in FAMILIES["attention"] + FAMILIES["causal"]:
        module = disturbed(build(operator))
        x = inputs(operator, dtype=torch.float64)
        y = F.layer_norm(x, x.shape[-1:], module.norm.weight, module.norm.bias, eps=1e-5)
        expected = x + module.project.bias
        for head in range(operator.heads):
            rows = slice(head * 4, head * 4 + 4)
            query, key, value = (
                y @ of.weight[rows].T + of.bias[rows] for of in (module.query, module.key, module.value)
            )
            weights = torch.exp(torch.einsum("nqd,nkd->nqk", query, key) / 2)  # 2 is the root of the head size
            weights = weights.tril() if operator.causal else weights
            mixed = torch.einsum("nqk,nkd->nqd", weights / weights.sum(2, keepdim=True), value)
            expected = expected + mixed @ module.project.weight[:, rows].T
        torch.testing.assert_close(module(x), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_feed_forward_is_norm_linear_gelu_linear_and_a_shortcut() -> None:
    module = disturbed(build(FAMILIES["feed-forward"][0]))
    x = inputs(FAMILIES["feed-forward"][0], dtype=torch.float64)
    hidden = module.norm(x) @ module.expand.weight.T + module.expand.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    expected = x + hidden @ module.project.weight.T + module.project.bias
    torch.testing.assert_close(module(x), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_patches_are_embedded_row_by_row_each_at_its_position() -> None:
    operator = FAMILIES["patch-embedding"][0]
    module = disturbed(build(operator))
    x = inputs(operator, dtype=torch.float64)
    patches = [x[:, :, row : row + 4, column : column + 4].flatten(1) for row in (0, 4) for column in (0, 4, 8)]
    expected = torch.stack(patches, 1) @ module.conv.weight.flatten(1).T + module.conv.bias + module.positions
    torch.testing.assert_close(module(x), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_token_embedding_is_the_ids_row_and_the_positions() -> None:
    module = disturbed(build(FAMILIES["token-embedding"][0]))
    ids = torch.tensor([[3, 0, 10, 3, 3, 1, 2]])
    assert torch.equal(module(ids)[0, 3], module.embedding.weight[3] + module.positions[3])
    assert torch.equal(module(ids)[0, 2], module.embedding.weight[10] + module.positions[2])


@torch.no_grad()
def test_heads_are_norm_then_linear_the_classifiers_of_the_mean_token() -> None:
    classifier, head = (disturbed(build(FAMILIES[name][0])) for name in ("token-classifier", "language-head"))
    x = inputs(FAMILIES["language-head"][0], dtype=torch.float64)
    mean = classifier.norm(x).sum(1) / 7
    torch.testing.assert_close(classifier(x), mean @ classifier.linear.weight.T + classifier.linear.bias)
    torch.testing.assert_close(head(x), head.norm(x) @ head.linear.weight.T)


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_only_causal_attention_never_looks_ahead(causal: bool) -> None:
    operator = Attention(input_shape=(9, 6), heads=3, head_size=4, causal=causal)
    module = build(operator).double()
    x = inputs(operator, dtype=torch.float64)
    for later in range(1, 9):
        changed = torch.cat([x[:, :later], torch.randn_like(x[:, later:])], 1)
        same = torch.isclose(module(changed), module(x), rtol=1e-12, atol=1e-12).all(2)
        assert same[:, :later].all() == causal
        assert not same[:, later:].any()


def test_new_linears_and_tables_start_small_and_biases_at_zero() -> None:
    module = nn.ModuleList(build(operator) for operator in EXAMPLES if not isinstance(operator, PatchEmbedding))
    wide = build(FeedForward(input_shape=(4, 64), hidden=256)).expand.weight.detach()
    assert wide.std().item() == pytest.approx(INITIAL_STD, rel=0.05)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "norm" not in name:
            assert 0 < parameter.abs().max() < 6 * INITIAL_STD


def exported(operator: Operator, module: nn.Module, batch: int = 1) -> bytes:
    return to_onnx(module, operator.input_shape, batch=batch, vocabulary=operator.vocabulary)


def session(model: bytes, optimised: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@torch.no_grad()
@pytest.mark.parametrize("operator", EXAMPLES, ids=lambda operator: operator.key)
@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_computes_what_torch_does(operator: Operator, batch: int) -> None:
    module = disturbed(build(operator)).float()
    x = inputs(operator, batch)
    got = session(exported(operator, module, batch)).run(None, {"input": x.numpy()})[0]
    expected = module(x)
    torch.testing.assert_close(torch.from_numpy(got), expected, rtol=0, atol=1e-4 * expected.abs().max().item())


# What is left of each block after ONNX Runtime's optimiser, without what only moves data. In words: biases are inside
# the products (Gemm), the scale of attention is inside the first product (FusedMatMul), GELU is one node (five as
# exported), the causal mask is a constant that one Add applies. A new node here is time lost on every device: where
# a new version of torch or onnxruntime brings one, look for a form that is fused again.
ATTENTION = {"LayerNormalization": 1, "Gemm": 4, "FusedMatMul": 1, "Softmax": 1, "MatMul": 1}
FUSED = [
    (PatchEmbedding(input_shape=(3, 32, 32), patch=4, embedding=216), {"Conv": 1, "Add": 1}),
    (Attention(input_shape=(64, 216), heads=3, head_size=64), ATTENTION | {"Add": 1}),
    (Attention(input_shape=(64, 192), heads=3, head_size=64), ATTENTION | {"Add": 1}),
    (Attention(input_shape=(64, 384), heads=6, head_size=64, causal=True), ATTENTION | {"Add": 2}),
    (FeedForward(input_shape=(64, 216), hidden=864), {"LayerNormalization": 1, "Gemm": 2, "Gelu": 1, "Add": 1}),
    (TokenClassifier(input_shape=(64, 216), classes=10), {"LayerNormalization": 1, "ReduceMean": 1, "Gemm": 1}),
    (TokenEmbedding(input_shape=(64,), tokens=65, embedding=384), {"Gather": 1, "Add": 1}),
    (LanguageHead(input_shape=(64, 384), tokens=65), {"LayerNormalization": 1, "MatMul": 1}),
]
MOVES = {"Reshape", "Transpose", "ReorderInput", "ReorderOutput"}


@pytest.mark.parametrize(("operator", "expected"), FUSED, ids=lambda value: getattr(value, "kind", ""))
def test_onnx_runtime_fuses_what_it_can(operator: Operator, expected: dict[str, int], tmp_path: Path) -> None:
    # New networks are timed, trained ones deployed: zero biases must not make another graph.
    for module in (build(operator), disturbed(build(operator)).float()):
        session(exported(operator, module), tmp_path / "optimised.onnx")
        nodes = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
        assert {kind: number for kind, number in nodes.items() if kind not in MOVES} == expected
