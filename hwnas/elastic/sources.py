"""Trained networks by name: a function of a user's file, or a model of timm, torchvision or transformers, and its weights."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hwnas.core.operator import Shape
from hwnas.core.references import IN_A_FILE, cause, resolve
from hwnas.errors import HwnasError, SpaceError, UnknownNameError, is_the_users

# Weights as the source's constructor makes them.
NEW: Final = "new"
# Names under which checkpoints keep the weights.
NESTED: Final = ("state_dict", "model_state_dict", "model", "model_ema")
# What DataParallel, torch.compile and Lightning put before the names of weights.
WRAPPERS: Final = ("module.", "_orig_mod.", "model.")
USUAL_RESOLUTION: Final = 224


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A network with its weights. `input_shape` is that of one sample where the source knows it, else empty.

    `takes_ids` is True for a network that reads token ids. `notes` say what was changed. `image_moments` say how the
    source normalises images (`data/options.py`); they are empty where the source does not tell.
    """

    module: nn.Module
    input_shape: Shape = ()
    takes_ids: bool = False
    notes: tuple[str, ...] = ()
    image_moments: str = ""

    def example(self) -> Tensor:
        """Returns two inputs of zeros."""
        return torch.zeros(2, *self.input_shape, dtype=torch.int64 if self.takes_ids else torch.float32)


def load_model(reference: str, weights: str = "") -> LoadedModel:
    """Returns the network of `timm:NAME`, `torchvision:NAME`, `hf:DIR` or `FILE.py:NAME`, in eval mode.

    `weights` is a file of safetensors, or a checkpoint that `torch.load(weights_only=True)` reads; `new` for new weights; empty
    for those that the source comes with: downloaded for timm and torchvision, those of the folder for `hf:`, those that
    the function returns for a file. Raises UnknownNameError and SpaceError.
    """
    kind, _, name = reference.partition(":")
    loaded = SOURCES[kind](name, weights) if kind in SOURCES and name else _of_file(reference)
    if weights and weights != NEW:
        load_weights(loaded.module, Path(weights))
    loaded.module.eval()
    return replace(loaded, image_moments="") if weights == NEW else loaded


def load_weights(module: nn.Module, path: Path) -> None:
    """Loads weights by name, all of them. Raises SpaceError where they do not fit, or the file cannot be read safely."""
    own = module.state_dict()
    state = _unwrapped(_state_of(path), own)
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        difference = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which the model lacks"
        count = len(missing) + len(unknown)
        raise SpaceError(
            f"{path}: are not the weights of this model: it {difference}"
            + (f", and {count - 1} more differ" if count > 1 else "")
            + "; give the model that they were trained in"
        )
    for name, tensor in own.items():
        if name in state and state[name].shape != tensor.shape:
            raise SpaceError(
                f"{path}: {name!r} has shape {tuple(state[name].shape)}, and the model's has {tuple(tensor.shape)}; build the "
                "model as it was trained, with as many classes (--space-option classes=N replaces its last layer afterwards)"
            )
    module.load_state_dict(state, strict=False)


def load_gradients(module: nn.Module, path: Path) -> dict[str, Tensor]:
    """Returns the gradients of a module's weights by name. Raises SpaceError where a file holds others, or none."""
    gradients, own = _state_of(path), dict(module.named_parameters(remove_duplicate=False))
    for name, gradient in gradients.items():
        shape = own[name].shape if name in own else None
        if gradient.shape != shape:
            has = f"has shape {tuple(shape)}" if shape is not None else "is no weight of the model"
            raise SpaceError(
                f"{path}: a gradient of {name!r} has shape {tuple(gradient.shape)}, and {name!r} {has}; save those of this model"
            )
    if not gradients or not all(gradient.isfinite().all() for gradient in gradients.values()):
        what = "gradients that are not finite" if gradients else "no gradients"
        raise SpaceError(f"{path}: holds {what}; save {{name: weight.grad}} of the model after loss.backward()")
    lacking = [name for name, weight in module.named_parameters() if weight.dim() > 1 and name not in gradients]
    if lacking:
        raise SpaceError(
            f"{path}: has no gradient of {len(lacking)} weights, such as {lacking[0]!r}; save those of all weights"
        )
    return gradients


def _unwrapped(state: Mapping[str, Tensor], own: Collection[str]) -> Mapping[str, Tensor]:
    """Returns weights by the model's own names, without the prefix that a wrapper around it has added to all of them."""
    for prefix in WRAPPERS:
        if state and all(name.startswith(prefix) and name not in own for name in state):
            return _unwrapped({name.removeprefix(prefix): value for name, value in state.items()}, own)
    return state


def _state_of(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise SpaceError(f"{path}: no such file; give a file of safetensors or a checkpoint of torch")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, ValueError, OSError, EOFError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpaceError(
            f"{path}: cannot be read as tensors alone ({reason}); save the weights by "
            "`safetensors.torch.save_file(model.state_dict(), FILE)`"
        ) from error
    for name in NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SpaceError(f"{path}: holds no tensors by name; give a file of `model.state_dict()`")
    return dict(state)


def _of_file(reference: str) -> LoadedModel:
    """Returns the network that a function of a user's file returns: a module, or a module and an example of its input."""
    known = dict.fromkeys((f"{kind}:NAME" for kind in SOURCES), "")
    make = resolve("model", reference, known, SpaceError)
    try:
        made = make()
    except BaseException as error:
        if is_the_users(error) and not isinstance(error, HwnasError):
            raise SpaceError(f"{reference}: {cause(error, reference.rpartition(':')[0])}") from error
        raise
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise SpaceError(
            f"{reference} returned an object of the type {type(module).__name__}; let it return a torch module, or a module and "
            "an example of its input (N, ...)"
        )
    if example is None:
        return LoadedModel(module=module)
    if not isinstance(example, Tensor) or example.dim() < 2:
        raise SpaceError(f"{reference}: the example must be a tensor (N, ...), a batch of inputs")
    return LoadedModel(module=module, input_shape=tuple(example.shape[1:]), takes_ids=not example.is_floating_point())


def _of_timm(name: str, weights: str) -> LoadedModel:
    timm = _imported("timm", f"timm:{name}")
    if not timm.is_model(name):
        raise UnknownNameError("model of timm", name, list(timm.list_models()))
    module = _downloaded(lambda: timm.create_model(name, pretrained=not weights), f"timm:{name}")
    facts = module.pretrained_cfg
    return LoadedModel(
        module=module,
        input_shape=tuple(facts.get("input_size", ())),
        image_moments=_moments(facts.get("mean"), facts.get("std")),
    )


def _of_torchvision(name: str, weights: str) -> LoadedModel:
    models = _imported("torchvision.models", f"torchvision:{name}")
    if name not in models.list_models():
        raise UnknownNameError("model of torchvision", name, list(models.list_models()))
    chosen = None if weights else "DEFAULT"
    module = _downloaded(lambda: models.get_model(name, weights=chosen), f"torchvision:{name}")
    facts = models.get_model_weights(name).DEFAULT.transforms()
    return LoadedModel(module=module, image_moments=_moments(getattr(facts, "mean", None), getattr(facts, "std", None)))


def _of_transformers(name: str, weights: str) -> LoadedModel:
    """Returns the network of a folder, or of a name of the hub; `weights` other than the folder's own leave these unread."""
    transformers = _imported("transformers", f"hf:{name}")
    config = _downloaded(lambda: transformers.AutoConfig.from_pretrained(name), f"hf:{name}")
    classes = getattr(config, "architectures", None) or []
    kind = getattr(transformers, classes[0], None) if classes else None
    if kind is None:
        raise SpaceError(
            f"hf:{name}: its config.json names no architecture that this transformers has; add 'architectures' to it"
        )
    if hasattr(config, "use_cache"):
        config.use_cache = False
    module = kind(config) if weights else _downloaded(lambda: kind.from_pretrained(name, config=config), f"hf:{name}")
    image = getattr(config, "image_size", None)
    if "Image" in classes[0] or image is not None:
        size = int(image) if isinstance(image, int) else USUAL_RESOLUTION
        return LoadedModel(
            module=module,
            input_shape=(int(getattr(config, "num_channels", 3)), size, size),
            image_moments=_processor_moments(transformers, name),
        )
    return LoadedModel(module=module, takes_ids=True)


def _processor_moments(transformers: Any, name: str) -> str:
    """Returns how the image processor that is saved with a model normalises; empty where it does not tell, or none is saved."""
    try:
        facts, _ = transformers.BaseImageProcessor.get_image_processor_dict(name)
    except OSError:
        return ""
    if not facts.get("do_normalize", True):
        return "none"
    return _moments(facts.get("image_mean"), facts.get("image_std"))


def _moments(mean: Sequence[float] | None, std: Sequence[float] | None) -> str:
    """Returns mean and standard deviation per channel in the words of `--normalise`; empty where they are not known."""
    if mean is None or std is None:
        return ""
    return "/".join(",".join(f"{value:g}" for value in values) for values in (mean, std))


def _imported(package: str, reference: str) -> Any:
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise SpaceError(
            f"{reference} needs {package.partition('.')[0]}, which cannot be imported ({error}); install it"
        ) from error


def _downloaded(load: Callable[[], Any], reference: str) -> Any:
    """Returns what a library loads; its errors become one line."""
    try:
        return load()
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SpaceError(
            f"{reference} cannot be loaded: {reason}; give --weights FILE with weights that are here, or --weights {NEW} for new "
            "ones"
        ) from error


Source = Callable[[str, str], LoadedModel]
SOURCES: Final[Mapping[str, Source]] = {"timm": _of_timm, "torchvision": _of_torchvision, "hf": _of_transformers}
MODELS: Final = (*(f"{kind}:NAME" for kind in SOURCES), IN_A_FILE)


def with_classes(loaded: LoadedModel, classes: int) -> LoadedModel:
    """Returns the network with a new last layer where it gives other than `classes` outputs.

    Raises SpaceError where no linear layer or 1x1 convolution decides how many outputs the model gives.
    """
    before = _output_count(loaded)
    if before == classes:
        return loaded
    for name, layer in reversed(list(loaded.module.named_modules())):
        if not before or _outputs(layer) != before:
            continue
        loaded.module.set_submodule(name, _with_outputs(layer, classes))
        if _output_count(loaded) == classes:
            note = f"the layer {name!r} of {before} outputs is replaced by a new one of {classes}; it has to be trained"
            return replace(loaded, notes=(*loaded.notes, note))
        loaded.module.set_submodule(name, layer)
    raise SpaceError(
        f"no linear layer or 1x1 convolution of {before} outputs decides how many outputs the model gives; build it with "
        f"{classes} outputs"
    )


def freeze_weights(module: nn.Module, patterns: Sequence[str]) -> None:
    """Lets training leave the weights that match a pattern as they are; those that match `!PATTERN` are trained again.

    A pattern is a name of a weight or of a layer around it, with `*` for any text; the last one that matches a weight holds.
    Tied weights are frozen together. Raises SpaceError for a pattern that matches nothing, and where no weight would be left to
    train.
    """
    named = module.named_parameters(remove_duplicate=False)
    layers = {name: list(accumulate(name.split("."), "{}.{}".format)) for name, _ in named}
    for text in patterns:
        pattern = text.removeprefix("!")
        matching = [name for name, around in layers.items() if any(fnmatchcase(one, pattern) for one in around)]
        if not matching:
            known = list(dict.fromkeys(one for around in layers.values() for one in around))
            near = get_close_matches(pattern, known, n=5, cutoff=0.3) or known[:5]
            raise SpaceError(f"--freeze {text!r}: the model has no such layer or weight; near it are {', '.join(near)}")
        for name in matching:
            module.get_parameter(name).requires_grad_(text != pattern)
    if patterns and not any(parameter.requires_grad for parameter in module.parameters()):
        raise SpaceError(f"--freeze {patterns[-1]!r} leaves no weight to train; add --freeze '!LAYER', or leave it out")


def _output_count(loaded: LoadedModel) -> int:
    """Returns the length of the output's channel axis; 0 where the model fails."""
    try:
        with torch.no_grad():
            output = first_tensor(loaded.module(loaded.example()))
    except (RuntimeError, ValueError, IndexError):
        return 0
    return output.shape[-1] if output.dim() < 4 else output.shape[1]


def first_tensor(output: Any) -> Tensor:
    """Returns the tensor of a model's output: the logits of an output object, or the first tensor."""
    if isinstance(output, Mapping):
        output = output.get("logits", next(iter(output.values())))
    return output[0] if isinstance(output, (tuple, list)) else output  # type: ignore[no-any-return]


def _outputs(module: nn.Module) -> int:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) else 0


def _with_outputs(layer: nn.Module, count: int) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, count, layer.bias is not None)
    assert isinstance(layer, nn.Conv2d)
    return nn.Conv2d(layer.in_channels, count, 1, bias=layer.bias is not None)
