"""Trained networks by name, and their weights."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hwnas.elastic.sources import LoadedModel, load_model, load_weights, with_classes
from hwnas.errors import HwnasError, SpaceError, TrustError, UnknownNameError
from hwnas.modules.assemble import network
from hwnas.pipeline.request import search_request, stored_request
from hwnas.spaces import load_space, reload_space
from hwnas.spaces.request import SpaceRequest

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))

def make():
    return Net()

def with_example():
    return Net(), torch.zeros(1, 3, 20, 20)

def of_numbers():
    return nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 3)), torch.zeros(1, 7)

def broken():
    raise RuntimeError("no weights on Sundays")

def number():
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(MODEL)
    return path


def weights_of(file: Path, path: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    state = load_model(f"{file}:make").module.state_dict()
    state = {name: torch.randn_like(tensor) for name, tensor in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    return state


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_weights_are_read_from_safetensors_and_from_checkpoints(name: str, file: Path, tmp_path: Path) -> None:
    state = weights_of(file, tmp_path / name)
    loaded = load_model(f"{file}:make", str(tmp_path / name))
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.module.state_dict().items())
    assert not loaded.module.training


def test_the_space_of_a_model_holds_its_weights(file: Path, tmp_path: Path) -> None:
    weights_of(file, tmp_path / "net.pth")
    request = SpaceRequest(model=f"{file}:make", weights=str(tmp_path / "net.pth"), space_options={"resolution": 24})
    space = request.load()
    assert space.input_shape == (3, 24, 24) and space.output_shape == (10,) and space.is_trained
    x = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        expected = load_model(f"{file}:make", str(tmp_path / "net.pth")).module(x)
        torch.testing.assert_close(network(space, space.largest()).eval()(x), expected)
    again = reload_space(space.describe())
    assert again.fingerprint == space.fingerprint


@pytest.mark.parametrize(
    ("patterns", "trained"),
    [
        (("fc",), {"features.0.weight", "features.0.bias", "features.2.weight", "features.2.bias"}),
        (("*.weight",), {"features.0.bias", "features.2.bias", "fc.bias"}),
        (("*", "!fc"), {"fc.weight", "fc.bias"}),
        (("*", "!features", "features.0"), {"features.2.weight", "features.2.bias"}),
    ],
)
def test_weights_are_frozen_by_patterns_of_names_of_which_the_last_holds(
    patterns: tuple[str, ...], trained: set[str], file: Path
) -> None:
    request = SpaceRequest(model=f"{file}:make", freeze=patterns, space_options={"resolution": 16, "classes": 4})
    space = request.load()
    plain = network(space, space.largest())
    names = {name.partition(".")[2] for name, one in plain.named_parameters() if one.requires_grad}
    assert names == trained


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (("featurs",), "--freeze 'featurs': the model has no such layer or weight; near it are features"),
        (("fc", "!head"), "--freeze '!head': the model has no such layer or weight; near it are "),
        (("*",), r"--freeze '\*' leaves no weight to train; add --freeze '!LAYER'"),
    ],
)
def test_patterns_that_freeze_nothing_or_everything_are_refused(
    patterns: tuple[str, ...], words: str, file: Path
) -> None:
    with pytest.raises(SpaceError, match=words):
        SpaceRequest(model=f"{file}:make", freeze=patterns, space_options={"resolution": 16}).load()


def test_another_number_of_classes_replaces_the_last_layer_and_nothing_else(file: Path, tmp_path: Path) -> None:
    weights_of(file, tmp_path / "net.pth")
    options = {"model": f"{file}:make", "weights": str(tmp_path / "net.pth"), "resolution": 16}
    space, again = (load_space("elastic", {**options, "classes": 4}) for _ in range(2))
    state, other = (network(one, one.largest()).state_dict() for one in (space, again))
    assert space.output_shape == (4,)
    assert all(torch.equal(state[name], other[name]) for name in state)  # the new layer is the same in every process
    loaded = with_classes(load_model(f"{file}:with_example"), 4)
    assert loaded.input_shape == (3, 20, 20) and loaded.notes == (
        "the layer 'fc' of 10 outputs is replaced by a new one of 4; it has to be trained",
    )
    assert with_classes(loaded, 4) is loaded


def test_a_model_of_a_convolutional_head_gets_other_classes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 1))
    loaded = with_classes(LoadedModel(module=model, input_shape=(3, 8, 8)), 2)
    assert loaded.module(loaded.example()).shape == (2, 2, 6, 6)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("broken", "", "RuntimeError: no weights on Sundays"),
        ("number", "", "returned an object of the type int; let it return a torch module"),
        ("nothing", "", "has no 'nothing'"),
        ("make", "missing.pth", "missing.pth: no such file; give a file of safetensors"),
    ],
)
def test_models_that_cannot_be_had_are_refused(name: str, weights: str, words: str, file: Path) -> None:
    with pytest.raises(SpaceError, match=words):
        load_model(f"{file}:{name}", weights)


def test_weights_of_another_model_are_refused_by_the_first_difference(file: Path, tmp_path: Path) -> None:
    state = weights_of(file, tmp_path / "net.pth")
    model = load_model(f"{file}:make").module
    save_file({**state, "fc.weight": torch.zeros(7, 32)}, tmp_path / "shape.safetensors")
    with pytest.raises(
        SpaceError, match=r"'fc.weight' has shape \(7, 32\), and the model's has \(10, 32\); build the model as"
    ):
        load_weights(model, tmp_path / "shape.safetensors")
    save_file({name: tensor for name, tensor in state.items() if "fc" not in name}, tmp_path / "few.safetensors")
    with pytest.raises(SpaceError, match=r"it lacks 'fc.weight', and 1 more differ"):
        load_weights(model, tmp_path / "few.safetensors")
    save_file({**state, "extra": torch.zeros(1)}, tmp_path / "many.safetensors")
    with pytest.raises(
        SpaceError, match="it has 'extra', which the model lacks; give the model that they were trained in"
    ):
        load_weights(model, tmp_path / "many.safetensors")


def test_units_are_ordered_by_a_file_of_gradients(file: Path, tmp_path: Path) -> None:
    """The first is the unit whose weights times gradients have the largest squared sum (Molchanov et al. 2019)."""
    weights_of(file, tmp_path / "net.safetensors")
    model = load_model(f"{file}:make", str(tmp_path / "net.safetensors")).module
    model(torch.randn(4, 3, 20, 20)).logsumexp(1).sum().backward()
    gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    save_file(gradients, tmp_path / "gradients.safetensors")
    products = {name: model.get_parameter(name).detach() * gradient for name, gradient in gradients.items()}
    scores = products["features.0.weight"].sum((1, 2, 3)) + products["features.0.bias"]
    order = (scores + products["features.2.weight"].sum((0, 2, 3))).square().argsort(descending=True)
    space = SpaceRequest(
        model=f"{file}:make",
        weights=str(tmp_path / "net.safetensors"),
        importance=str(tmp_path / "gradients.safetensors"),
        space_options={"resolution": 20},
    ).load()
    for one in (space, reload_space(space.describe())):
        state = network(one, one.largest()).state_dict()
        bias = next(value for name, value in state.items() if name.endswith("features.0.bias"))
        torch.testing.assert_close(bias, model.features[0].bias.detach()[order])  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        ({}, "holds no gradients; save {name: weight.grad} of the model"),
        ({"fc.bias": torch.zeros(3)}, r"a gradient of 'fc.bias' has shape \(3,\), and 'fc.bias' has shape \(10,\)"),
        ({"x": torch.zeros(3)}, "and 'x' is no weight of the model; save those of this model"),
        ({"fc.bias": torch.full((10,), torch.nan)}, "holds gradients that are not finite"),
    ],
)
def test_gradients_of_another_model_are_refused(
    gradients: dict[str, torch.Tensor], words: str, file: Path, tmp_path: Path
) -> None:
    save_file(gradients, tmp_path / "gradients.safetensors")
    with pytest.raises(SpaceError, match=words):
        load_space("elastic", {"model": f"{file}:make", "importance": str(tmp_path / "gradients.safetensors")})
    with pytest.raises(HwnasError, match="--importance orders units of a --model; add it"):
        SpaceRequest(importance="l1")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_files_that_hold_no_tensors_are_refused(content: bytes, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match="cannot be read as tensors alone") as refusal:
        load_weights(load_model(f"{file}:make").module, path)
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_that_would_run_code_is_not_run(file: Path, tmp_path: Path) -> None:
    path, ran = tmp_path / "net.pth", tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (ran,))

    torch.save(Evil(), path)
    with pytest.raises(SpaceError, match="cannot be read as tensors alone"):
        load_weights(load_model(f"{file}:make").module, path)
    assert not ran.exists()
    torch.save([1, 2], path)
    with pytest.raises(SpaceError, match="holds no tensors by name"):
        load_weights(load_model(f"{file}:make").module, path)


@pytest.mark.parametrize("package", ["timm", "torchvision", "transformers"])
def test_a_package_that_is_not_here_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks a package that cannot be imported
    monkeypatch.setitem(sys.modules, f"{package}.models", None)
    reference = f"{'hf' if package == 'transformers' else package}:resnet18"
    with pytest.raises(SpaceError, match=f"{reference} needs {package}, which cannot be imported"):
        load_model(reference, "new")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"weights": "a.pth"}, HwnasError, "--weights are those of a --model; add it"),
        ({"model": "a.py:make", "space": "vit"}, HwnasError, "is searched instead of a --space; leave one of them out"),
        ({"model": "somewhere"}, UnknownNameError, "unknown model 'somewhere'; known: FILE.py:NAME, hf:NAME"),
        ({"model": "a.py:make"}, SpaceError, "a.py: no such file; give a model of your own as FILE.py:NAME"),
    ],
)
def test_requests_that_cannot_be_are_refused(options: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        SpaceRequest(**options).load()


def test_sizes_that_the_input_has_not_are_refused(file: Path) -> None:
    with pytest.raises(SpaceError, match="the model reads images; give resolution=N instead of length"):
        load_space("elastic", {"model": f"{file}:make", "length": 8})


def test_a_new_model_is_the_same_in_every_process(file: Path) -> None:
    options = {"model": f"{file}:make", "resolution": 16}
    first, second = (network(one, one.largest()).state_dict() for one in (load_space("elastic", options) for _ in "ab"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_of_other_inputs_than_images_keeps_its_shape(file: Path) -> None:
    space = load_space("elastic", {"model": f"{file}:of_numbers"})
    assert space.input_shape == (7,) and space.output_shape == (3,)
    with pytest.raises(
        SpaceError, match=r"reads inputs of shape \(7,\), not images; leave out resolution and channels"
    ):
        load_space("elastic", {"model": f"{file}:of_numbers", "resolution": 32})


def test_a_stored_space_runs_no_file_that_this_user_has_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + MODEL)
    description = {"reference": "elastic", "options": {"model": f"{tmp_path / 'theirs.py'}:make"}, "fingerprint": "x"}
    with pytest.raises(
        TrustError, match=r"runs/table.jsonl: names .*theirs.py to be run, which is not on your trust list"
    ):
        reload_space(description, "runs/table.jsonl")
    request = json.loads(json.dumps(search_request({"model": f"{tmp_path / 'theirs.py'}:make"}).describe()))
    with pytest.raises(TrustError, match="which is not on your trust list"):
        stored_request({"request": request}, tmp_path / "run.json")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "model._orig_mod."])
def test_prefixes_that_wrappers_add_to_all_names_are_taken_off(prefix: str, file: Path, tmp_path: Path) -> None:
    state = weights_of(file, tmp_path / "net.pth")
    save_file({f"{prefix}{name}": tensor for name, tensor in state.items()}, tmp_path / "wrapped.safetensors")
    loaded = load_model(f"{file}:make", str(tmp_path / "wrapped.safetensors"))
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.module.state_dict().items())


def test_a_model_with_a_part_called_module_loads_its_own_weights(tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module("module", nn.Linear(4, 4))
    save_file(
        {name: torch.ones_like(tensor) for name, tensor in model.state_dict().items()}, tmp_path / "own.safetensors"
    )
    load_weights(model, tmp_path / "own.safetensors")
    assert all((tensor == 1).all() for tensor in model.state_dict().values())


def test_the_layer_that_decides_the_outputs_is_replaced_and_not_one_that_looks_like_it() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head, self.aux = nn.Linear(4, 16), nn.Linear(16, 10), nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x))

    loaded = with_classes(LoadedModel(module=Auxiliary(), input_shape=(4,)), 3)
    assert "'head'" in loaded.notes[0] and loaded.module.aux.out_features == 10  # type: ignore[union-attr]
    with pytest.raises(SpaceError, match="no linear layer or 1x1 convolution of 4 outputs decides"):
        with_classes(LoadedModel(module=nn.LayerNorm(4), input_shape=(4,)), 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": 0.5}, r"widths is a list, not 0.5; write widths=\[0.5\]"),
        ({"classes": -3}, "classes is a positive whole number"),
    ],
)
def test_options_of_another_kind_are_refused(options: dict[str, object], words: str, file: Path) -> None:
    with pytest.raises(SpaceError, match=words):
        load_space("elastic", {"model": f"{file}:make", **options})  # type: ignore[dict-item]
