"""Models of transformers with new weights: each is traced, made elastic, and computes what it computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import hwnas
from hwnas.elastic import decoding
from hwnas.elastic.elasticity import Elasticity
from hwnas.elastic.sources import first_tensor, load_model
from hwnas.elastic.space import elasticize
from hwnas.errors import SpaceError
from hwnas.pipeline.checked import load_for
from hwnas.pipeline.request import search_request
from hwnas.spaces import load_space

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers

IMAGE: Final = {"num_labels": 5}
TEXT: Final = {"vocab_size": 100, "num_labels": 5}
# A decoder whose queries share keys in pairs.
GROUPED: Final = {
    "vocab_size": 100,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
}
# The model's class, its configuration, what becomes elastic in it among others, and the input's sizes.
MODELS: Final[Mapping[str, tuple[str, dict[str, Any], set[str], tuple[int, ...]]]] = {
    "resnet": (
        "ResNetForImageClassification",
        {"embedding_size": 16, "hidden_sizes": [64, 128], "depths": [1, 2], **IMAGE},
        {"resnet.encoder.stages.0.layers.0.width", "stage1.depth"},
        (3, 32, 32),
    ),
    "mobilenet_v2": (
        "MobileNetV2ForImageClassification",
        {"depth_multiplier": 0.35, "image_size": 32, **IMAGE},
        {"mobilenet_v2.layer.1.width", "stage1.depth"},
        (3, 32, 32),
    ),
    "efficientnet": (
        "EfficientNetForImageClassification",
        {"width_coefficient": 0.25, "depth_coefficient": 0.5, "image_size": 32, "hidden_dim": 320, **IMAGE},
        {"efficientnet.encoder.blocks.2.width", "stage1.depth"},
        (3, 32, 32),
    ),
    "convnext": (
        "ConvNextForImageClassification",
        {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2, **IMAGE},
        {"convnext.encoder.stages.0.layers.0.width", "convnext.encoder.stages.0.layers.0.kernel", "stage2.depth"},
        (3, 32, 32),
    ),
    "vit": (
        "ViTForImageClassification",
        {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "image_size": 32,
            "patch_size": 8,
            **IMAGE,
        },
        {"vit.layers.0.attention.heads", "vit.layers.1.mlp.width", "stage1.depth"},
        (3, 32, 32),
    ),
    "swin": (
        "SwinForImageClassification",
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            **IMAGE,
        },
        {"swin.encoder.layers.0.blocks.0.mlp.width", "stage1.depth"},
        (3, 32, 32),
    ),
    "bert": (
        "BertForSequenceClassification",
        {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "max_position_embeddings": 64,
            **TEXT,
        },
        {"bert.encoder.layer.0.attention.heads", "bert.encoder.layer.1.mlp.width", "stage1.depth"},
        (16,),
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {
            "vocab_size": 100,
            "n_embd": 48,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 32,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
        {"transformer.h.0.attention.heads", "transformer.h.1.mlp.width", "stage1.depth"},
        (16,),
    ),
    "opt": (
        "OPTForCausalLM",
        {
            "vocab_size": 100,
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "ffn_dim": 96,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 48,
            "max_position_embeddings": 64,
        },
        {"model.decoder.layers.0.attention.heads", "model.decoder.layers.1.mlp.width", "stage1.depth"},
        (16,),
    ),
    "mistral": (
        "MistralForCausalLM",
        {**GROUPED, "sliding_window": 5},
        {"model.layers.0.attention.heads", "model.layers.1.mlp.width", "stage1.depth"},
        (16,),
    ),
    "llama": (
        "LlamaForCausalLM",
        GROUPED,
        {"model.layers.0.attention.heads", "model.layers.1.mlp.width", "stage1.depth"},
        (16,),
    ),
}


def made(name: str) -> tuple[nn.Module, Tensor]:
    kind, settings, _, shape = MODELS[name]
    torch.manual_seed(0)
    model_class = getattr(transformers, kind)
    model = model_class(model_class.config_class(**settings, use_cache=False)).eval()
    with torch.no_grad():
        for tensor_name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point() and tensor.dim() == 1 and "inv_freq" not in tensor_name:
                tensor.add_(0.2 * torch.rand_like(tensor))
    return model, torch.randn(2, *shape) if len(shape) > 1 else torch.randint(100, (2, *shape))


@pytest.mark.parametrize("name", list(MODELS))
def test_the_largest_network_is_the_model_and_smaller_ones_are_exported(name: str, tmp_path: Path) -> None:
    model, x = made(name)
    space, supernet = elasticize(model, x, Elasticity(widths=(0.5, 1.0)))
    assert MODELS[name][2] <= set(space.by_name)
    supernet.eval()
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, space.largest()), first_tensor(model(x)), rtol=1e-4, atol=1e-5)
        arch = space.sample(np.random.default_rng(0))
        plain = supernet.uncalibrated(arch).eval()
        torch.testing.assert_close(plain(x), supernet(x, arch), rtol=1e-5, atol=1e-5)
        hwnas.export_onnx(plain, space.input_shape, tmp_path / "small.onnx", batch=2, vocabulary=space.vocabulary)
        session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(y, plain(x).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "opt", "llama", "mistral"])
def test_decoding_one_position_after_the_other_gives_what_the_network_gives(name: str) -> None:
    space, supernet = elasticize(*made(name), Elasticity(widths=(0.5, 1.0)))
    ids = torch.randint(100, (2, 16))
    for arch in (space.largest(), space.smallest()):
        plain = supernet.uncalibrated(arch).eval()
        decoder = decoding.decoder(plain, space.input_shape, space.vocabulary, 2).eval()
        past = [tensor[:, :, :0] for tensor in decoder.cache]
        with torch.no_grad():
            expected = plain(ids)
            for position in range(16):
                output, *past = decoder.step(ids[:, position : position + 1], *past)
                torch.testing.assert_close(output[:, 0], expected[:, position], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "vit"])
def test_decoding_a_network_that_reads_both_ways_is_refused(name: str) -> None:
    space, supernet = elasticize(*made(name), Elasticity(widths=(0.5, 1.0)))
    with pytest.raises(SpaceError, match=r"^decoding needs .*leave out step=decode$"):
        decoding.decoder(supernet.uncalibrated(space.smallest()), space.input_shape, space.vocabulary, 1)


@pytest.mark.parametrize("name", ["vit", "gpt2"])
def test_a_folder_of_transformers_is_a_source(name: str, tmp_path: Path) -> None:
    model, x = made(name)
    model.save_pretrained(tmp_path / "model")
    loaded = load_model(f"hf:{tmp_path / 'model'}")
    with torch.no_grad():
        torch.testing.assert_close(first_tensor(loaded.module(x)), first_tensor(model(x)))
    length = {"length": 16} if loaded.takes_ids else {}
    space = load_space("elastic", {"model": f"hf:{tmp_path / 'model'}", **length})
    assert space.input_shape == tuple(x.shape[1:]) and space.vocabulary == (100 if loaded.takes_ids else None)


def test_images_are_normalised_as_the_saved_processor_says(tmp_path: Path) -> None:
    model, _ = made("vit")
    model.save_pretrained(tmp_path)
    assert load_model(f"hf:{tmp_path}").image_moments == ""
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.25]}'
    )
    space = load_space("elastic", {"model": f"hf:{tmp_path}", "classes": 10})
    assert space.image_moments == "0.1,0.2,0.3/0.5,0.5,0.25"
    data, _ = load_for(space, search_request({}))
    assert (data.normalise.mean, data.normalise.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.25))
    assert load_space("elastic", {"model": f"hf:{tmp_path}", "weights": "new"}).image_moments == ""
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_processor_type": "ViTImageProcessor", "do_normalize": false, "image_mean": [0.1, 0.2, 0.3]}'
    )
    assert load_model(f"hf:{tmp_path}").image_moments == "none"


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpaceError, match=r"cannot be loaded: .*; give --weights FILE") as refusal:
        load_model(f"hf:{tmp_path / 'empty'}")
    assert "\n" not in str(refusal.value)
