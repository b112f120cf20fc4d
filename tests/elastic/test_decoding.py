"""Laws of decoding: one position after the other, with a cache, gives what the whole network gives."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.elastic.decoding import DecodingModule, decoder
from hwnas.elastic.space import elasticize
from hwnas.errors import SpaceError
from hwnas.modules.assemble import network
from hwnas.modules.build import build
from hwnas.operators.transformer import Attention, TokenClassifier
from hwnas.profiler.export import to_onnx
from hwnas.profiler.runtime import RuntimeOptions, require_output
from hwnas.profiler.runtime_onnx import OnnxModel

Made = tuple[nn.Module, Tensor]
BATCH = 2


def gpt() -> SearchSpace:
    return hwnas.space("gpt", length=8, vocabulary=12, embeddings=(16, 24), layers=(1, 2), heads=(1, 2), head_size=8)


def furthest(module: nn.Module, step: DecodingModule, x: Tensor) -> float:
    """Returns how far decoding is from the whole network at any position of inputs (N, T, ...)."""
    with torch.no_grad():
        expected, apart = module.eval()(x), []
        dtype = next(module.parameters()).dtype
        past = [torch.empty(len(x), heads, 0, size, dtype=dtype) for heads, size in step._cached]
        for position in range(x.shape[1]):
            output, *past = step.eval()(x[:, position : position + 1], *past)
            apart.append(float((output - expected[:, position : position + 1]).abs().max()))
    assert all(tensor.shape[2] == x.shape[1] for tensor in past)
    return max(apart)


@pytest.mark.parametrize("arch", ["smallest", "largest"])
def test_decoding_a_gpt_gives_what_the_whole_network_gives(arch: str) -> None:
    space = gpt()
    module = network(space, getattr(space, arch)())
    step = DecodingModule(module, space.input_shape, space.vocabulary, BATCH).double()
    assert furthest(module.double(), step, torch.randint(12, (BATCH, 8))) < 1e-9


def test_decoding_every_network_of_a_trained_decoder_gives_what_it_gives(make: Callable[[str], Made]) -> None:
    """Queries share keys there, and positions are looked up in a table."""
    space, supernet = elasticize(*make("decoder"))
    rng, x = np.random.default_rng(0), torch.randint(50, (BATCH, 16))
    for arch in (space.largest(), space.smallest(), space.sample(rng)):
        module = supernet.uncalibrated(arch).eval()
        step = DecodingModule(module, (16,), 50, BATCH).double()
        assert furthest(module.double(), step, x) < 1e-9


class Masked(nn.Module):
    """Attention by a mask that is made in the forward pass."""

    def __init__(self, mask: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.joint, self.mask = nn.Linear(8, 24), mask

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in self.joint(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=self.mask(x.shape[1]))
        return x + mixed.transpose(1, 2).flatten(2)


def causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def window(length: int) -> Tensor:
    """Each position attends to itself and two earlier ones (Mistral)."""
    return causal(length) & ~causal(length).tril(-3)


def distance(length: int) -> Tensor:
    """Scores fall with the distance (ALiBi)."""
    places = torch.arange(length, dtype=torch.float32)
    return (places[None] - places[:, None]).masked_fill(~causal(length), -1e9)


@pytest.mark.parametrize("mask", [causal, window, distance])
def test_a_mask_is_read_at_the_new_position(mask: Callable[[int], Tensor]) -> None:
    torch.manual_seed(0)
    module = Masked(mask)
    step = DecodingModule(module, (6, 8), None, BATCH)
    assert furthest(module, step, torch.randn(BATCH, 6, 8)) < 1e-5
    assert ("narrow" in step._code) == (mask is not causal)  # a row that leaves nothing out is left out itself


def test_the_cache_holds_one_tensor_of_keys_for_a_group_of_queries(make: Callable[[str], Made]) -> None:
    model, _ = make("decoder")
    cached = DecodingModule(model, (16,), 50, 1)._cached
    assert cached == [(4, 4)] * 4  # two layers of 8 queries and 4 keys


class Shifted(nn.Module):
    """Adds the position before, which no cache holds."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.pad(x, (0, 0, 1, 0))[:, :-1]


class WrittenOut(nn.Module):
    """Causal attention without the operation of that name."""

    def forward(self, x: Tensor) -> Tensor:
        scores = (x @ x.transpose(1, 2)).masked_fill(~causal(x.shape[1]), -1e9)
        return scores.softmax(-1) @ x


REFUSED: list[tuple[nn.Module, tuple[int, ...], str]] = [
    (build(Attention(input_shape=(6, 8), heads=2, head_size=4)), (6, 8), "attention is not causal"),
    (Masked(lambda length: torch.ones(length, length, dtype=torch.bool)), (6, 8), "attention is not causal"),
    (build(TokenClassifier(input_shape=(6, 8), classes=3)), (6, 8), "mean joins its positions"),
    (Shifted(), (6, 8), "joins its positions"),
    (WrittenOut(), (6, 8), "matmul joins its positions"),
    (nn.Sequential(nn.Linear(8, 8), nn.Softmax(dim=1)), (6, 8), "decoding gives other outputs than the network"),
    (nn.Conv2d(3, 4, 1), (3, 6, 6), r"an input of shape \(3, 6, 6\) has none"),
]


@pytest.mark.parametrize(("module", "shape", "reason"), REFUSED)
def test_what_joins_positions_otherwise_is_refused(module: nn.Module, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(SpaceError, match=f"^decoding needs .* causal attention alone joins, and .*{reason}; leave out"):
        DecodingModule(module, shape, None, BATCH)


def test_a_layer_that_joins_positions_is_named(make: Callable[[str], Made]) -> None:
    space, supernet = elasticize(*make("vit"))
    module = supernet.uncalibrated(space.largest())
    with pytest.raises(SpaceError, match="an input of shape"):
        DecodingModule(module, space.input_shape, None, 1)
    mixed = nn.Sequential(nn.Linear(8, 8), build(TokenClassifier(input_shape=(6, 8), classes=3)))
    with pytest.raises(SpaceError, match="and in 1 mean joins its positions"):
        DecodingModule(mixed, (6, 8), None, 1)


def test_the_file_of_a_decoder_computes_what_the_module_computes_with_the_same_cache(
    make: Callable[[str], Made],
) -> None:
    model, _ = make("decoder")
    module = decoder(model, (16,), 50, BATCH).eval()
    content = to_onnx(module, (1,), batch=BATCH, vocabulary=50)
    loaded, ids = OnnxModel(content, RuntimeOptions()), torch.randint(50, (BATCH, 1))
    loaded.bind(ids.numpy())
    with torch.no_grad():
        require_output(loaded, ids.numpy(), module(ids).numpy(), 1e-4)
        with_another_cache = module.step(ids, *(2 * tensor for tensor in module.cache))[0]
    assert not torch.allclose(torch.from_numpy(loaded.run(ids.numpy())), with_another_cache, rtol=1e-3)


def test_the_cache_is_an_input_and_an_output_of_the_file_and_no_constant(make: Callable[[str], Made]) -> None:
    model, _ = make("decoder")
    graph = onnx.load_model_from_string(to_onnx(decoder(model, (16,), 50, 1), (1,), vocabulary=50)).graph
    names = [f"{part}_{layer}" for layer in range(2) for part in ("key", "value")]
    assert [one.name for one in graph.input] == ["input", *(f"past_{name}" for name in names)]
    assert [one.name for one in graph.output] == ["output", *(f"present_{name}" for name in names)]
    shape = [dim.dim_param or dim.dim_value for dim in graph.input[1].type.tensor_type.shape.dim]
    assert shape == [1, 4, "past", 4]
    assert sum(node.op_type == "Concat" and "past_key_0" in node.input for node in graph.node) == 1


def test_text_generated_by_the_decoding_file_is_that_of_whole_passes(make: Callable[[str], Made]) -> None:
    """Greedy, 20 characters: the file of whole inputs runs on what is known so far, filled up behind."""
    space, supernet = elasticize(make("decoder")[0], torch.randint(50, (2, 24)))
    module = supernet.uncalibrated(space.sample(np.random.default_rng(1))).eval()
    whole = onnxruntime.InferenceSession(to_onnx(module, (24,), vocabulary=50))
    step = onnxruntime.InferenceSession(to_onnx(decoder(module, (24,), 50, 1), (1,), vocabulary=50))
    known = [7, 3, 11]
    for _ in range(20):
        ids = np.zeros((1, 24), dtype=np.int64)
        ids[0, : len(known)] = known
        known.append(int(whole.run(None, {"input": ids})[0][0, len(known) - 1].argmax()))
    past = {one.name: np.empty([0 if d == "past" else d for d in one.shape], "f4") for one in step.get_inputs()[1:]}
    generated = known[:3]
    for position in range(22):
        output, *present = step.run(None, {"input": np.array([[generated[position]]]), **past})
        past = dict(zip(past, present, strict=True))
        if position >= 2:
            generated.append(int(output[0, 0].argmax()))
    assert generated == known and len(known) == 23
    assert len(set(known[3:])) > 2
