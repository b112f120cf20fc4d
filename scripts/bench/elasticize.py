"""Makes models of transformers, timm and torchvision elastic, with new weights: what becomes elastic, and in how many seconds.

    python scripts/bench/elasticize.py
    python scripts/bench/elasticize.py --models timm:convnext_atto torchvision:resnet18

Models of transformers have the sizes of their usual configurations; those of packages that are not installed are left out.
`difference` is the furthest output of the space's largest network from the model's, as a share of the largest output.
`smallest` is the share of FLOPs that the smallest network has. Seconds are those of `hwnas.elasticize` on one thread.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

import torch
import transformers
from torch import Tensor, nn

from hwnas.elastic.sources import first_tensor, load_model
from hwnas.elastic.space import elasticize
from hwnas.errors import SpaceError

# By the class of a model of transformers: what differs from its usual configuration.
CONFIGURED: Final[Mapping[str, dict[str, Any]]] = {
    "ResNetForImageClassification": {},
    "MobileNetV1ForImageClassification": {},
    "MobileNetV2ForImageClassification": {},
    "EfficientNetForImageClassification": {
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "image_size": 224,
        "hidden_dim": 1280,
    },
    "ConvNextForImageClassification": {},
    "RegNetForImageClassification": {},
    "ViTForImageClassification": {},
    "DeiTForImageClassification": {},
    "BeitForImageClassification": {},
    "SwinForImageClassification": {},
    "SegformerForImageClassification": {},
    "BertForSequenceClassification": {},
    "DistilBertForSequenceClassification": {},
    "RobertaForSequenceClassification": {},
    "GPT2LMHeadModel": {},
    "OPTForCausalLM": {},
    "LlamaForCausalLM": {
        "hidden_size": 576,
        "num_hidden_layers": 12,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "Qwen2ForCausalLM": {
        "hidden_size": 896,
        "num_hidden_layers": 8,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
}
OTHERS: Final[Mapping[str, tuple[str, ...]]] = {
    "timm": ("mobilenetv3_small_100", "efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224", "resnet26"),
    "torchvision": ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "regnet_y_400mf", "vgg11_bn", "densenet121"),
}
IMAGE: Final = (3, 224, 224)
LENGTH: Final = 64
# The last parts of the names of choices.
KINDS: Final = ("depth", "width", "heads", "groups", "kernel", "output")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="references as --model takes them; default: all that are installed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| model | {' | '.join(KINDS)} | smallest | difference | seconds |\n|---|{'---|' * (len(KINDS) + 3)}")
    with TemporaryDirectory() as folder:
        for name, reference in (
            {name: name for name in arguments.models} if arguments.models else usual(Path(folder))
        ).items():
            print(f"| {name} | {row(reference)} |", flush=True)


def usual(folder: Path) -> dict[str, str]:
    """Returns references by name; writes the configurations of transformers that they need."""
    references = {}
    for name, settings in CONFIGURED.items():
        config = getattr(transformers, name).config_class(**settings, architectures=[name])
        config.save_pretrained(folder / name)
        references[name] = f"hf:{folder / name}"
    for package, names in OTHERS.items():
        if find_spec(package) is not None:
            references |= {f"{package}:{name}": f"{package}:{name}" for name in names}
    return references


def row(reference: str) -> str:
    """Returns the cells of a model behind its name, or why the model is refused."""
    loaded = load_model(reference, "new")
    if not loaded.input_shape:
        loaded = replace(loaded, input_shape=(LENGTH,) if loaded.takes_ids else IMAGE)
    x = loaded.example()
    x = torch.randint_like(x, 100) if loaded.takes_ids else torch.randn_like(x)
    spread(loaded.module, x)
    began = perf_counter()
    try:
        space, supernet = elasticize(loaded.module, x)
    except SpaceError as error:
        return f"refused: {error}"
    seconds = perf_counter() - began
    kinds = Counter(choice.name.rpartition(".")[2].rstrip("0123456789") for choice in space.choices)
    smallest = space.cost("flops", space.smallest()) / space.cost("flops", space.largest())
    with torch.no_grad():
        expected = first_tensor(loaded.module(x))
        difference = (supernet.eval()(x, space.largest()) - expected).abs().max() / expected.abs().max()
    cells = [*(str(kinds[kind]) for kind in KINDS), f"{smallest:.0%}", f"{float(difference):.1g}", f"{seconds:.1f}"]
    return " | ".join(cells)


@torch.no_grad()
def spread(model: nn.Module, x: Tensor) -> None:
    """Sets the statistics of batch-norms to those of a batch, because new weights make deep networks give zeros."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(x)
    model.eval()


if __name__ == "__main__":
    main()
