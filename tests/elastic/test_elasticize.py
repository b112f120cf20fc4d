"""Trained networks made elastic: what holds for every kind of network."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hwnas
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.elastic.elasticity import Elasticity
from hwnas.elastic.importance import first_order
from hwnas.elastic.operator import Traced
from hwnas.elastic.source import source_of
from hwnas.elastic.sources import first_tensor, freeze_weights
from hwnas.elastic.space import elastic_space, elasticize
from hwnas.errors import SpaceError, UnknownNameError
from hwnas.modules.assemble import network
from hwnas.supernet.network import Supernet
from hwnas.testing.check import check_space
from hwnas.train.imitation import Relations
from hwnas.train.supernet import _WithoutDropout

Made = tuple[nn.Module, Tensor]


def drawn(space: SearchSpace, count: int) -> list[hwnas.core.arch.Arch]:
    rng = np.random.default_rng(0)
    return [space.smallest(), *(space.sample(rng) for _ in range(count))]


def test_the_largest_network_computes_what_the_model_computes(made: Made) -> None:
    model, x = made
    space, supernet = elasticize(model, x)
    x = x.double() if x.is_floating_point() else x
    with torch.no_grad():
        expected = model.double()(x)
        for network_of_it in (
            lambda: supernet.double().eval()(x, space.largest()),
            lambda: network(space, space.largest()).double().eval()(x),
        ):
            torch.testing.assert_close(network_of_it(), expected, rtol=1e-9, atol=1e-9)


def test_the_model_stays_as_it_is(make: Callable[[str], Made]) -> None:
    model, x = make("resnet")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _, supernet = elasticize(model, x)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_every_smaller_network_is_a_plain_module_that_computes_the_same_as_in_the_supernet(made: Made) -> None:
    model, x = made
    space, supernet = elasticize(model, x)
    supernet.eval()
    for arch in drawn(space, 6):
        plain = supernet.uncalibrated(arch).eval()
        with torch.no_grad():
            torch.testing.assert_close(plain(x), supernet(x, arch), rtol=1e-5, atol=1e-5)
        assert sum(parameter.numel() for parameter in plain.parameters()) == space.cost("params", arch)


def test_a_new_network_has_the_weights_of_the_supernet(made: Made) -> None:
    model, x = made
    space, supernet = elasticize(model, x)
    supernet.eval()
    for arch in drawn(space, 3):
        with torch.no_grad():
            torch.testing.assert_close(network(space, arch).eval()(x), supernet(x, arch), rtol=1e-5, atol=1e-5)


def test_smaller_networks_are_exported_and_cost_less(made: Made, tmp_path: Path) -> None:
    model, x = made
    space, supernet = elasticize(model, x)
    arch = space.smallest()
    plain = supernet.uncalibrated(arch).eval()
    path = tmp_path / "small.onnx"
    hwnas.export_onnx(plain, space.input_shape, path, batch=2, vocabulary=space.vocabulary)
    session = onnxruntime.InferenceSession(path)
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(y, plain(x).numpy(), rtol=1e-3, atol=1e-4)
    assert space.cost("flops", arch) < 0.7 * space.cost("flops", space.largest())


def test_the_space_obeys_the_laws_of_spaces(made: Made) -> None:
    space = elastic_space(*made, Elasticity(widths=(0.5, 1.0)))
    report = check_space(space, Silent())
    assert not report.broken, report.broken


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "resnet",
            {"stage1.depth": (1, 2), "stage2.depth": (0, 1), "layer1.1.width": (8, 16), "stem.kernel": (3, 5, 7)},
        ),
        ("efficientnet", {"stage1.depth": (1, 2), "blocks.0.width": (16, 32, 48, 64), "blocks.1.kernel": (3, 5)}),
        (
            "vit",
            {
                "stage1.depth": (1, 2, 3),
                "blocks.0.attention.heads": (1, 2, 3, 4),
                "blocks.2.mlp.width": (8, 16, 24, 32),
            },
        ),
        ("decoder", {"stage1.depth": (1, 2), "layers.0.heads": (1, 2, 3, 4)}),
        ("plain", {"features.0.output": (8, 16), "features.6.kernel": (3, 5)}),
    ],
)
def test_what_becomes_elastic(kind: str, names: dict[str, tuple[int, ...]], make: Callable[[str], Made]) -> None:
    space, _ = elasticize(*make(kind))
    assert {name: space.choice(name).options for name in names if name in space.by_name} == names, list(space.by_name)


def test_the_output_and_what_blocks_share_stay_as_they_are(make: Callable[[str], Made]) -> None:
    space = elastic_space(*make("resnet"), Elasticity())
    assert space.output_shape == (5,)
    assert {layer.operator(space.smallest()).output_shape[0] for layer in space.layers if layer.name == "layer1.0"} == {
        32
    }  # type: ignore[union-attr]


def test_streams_become_elastic_where_they_are_asked_for(make: Callable[[str], Made]) -> None:
    model, x = make("resnet")
    space, supernet = elasticize(model, x, Elasticity(streams=True))
    assert "layer1.0.output" in space.by_name
    with torch.no_grad():
        torch.testing.assert_close(supernet.eval()(x, space.largest()), model(x), rtol=1e-4, atol=1e-5)
    narrow = space.arch({**space.largest(), "layer1.0.output": 8})
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, narrow), supernet.uncalibrated(narrow).eval()(x), rtol=1e-5, atol=1e-5)


def test_nothing_else_is_elastic_than_what_is_asked_for(make: Callable[[str], Made]) -> None:
    space = elastic_space(*make("efficientnet"), Elasticity(depth=False, kernels=False, widths=(0.5, 1.0)))
    assert {name.rpartition(".")[2] for name in space.by_name} == {"width"}
    assert {len(choice.options) for choice in space.choices} == {2}


@pytest.mark.parametrize("importance", ["l1", "norm"])
def test_units_that_do_nothing_are_the_first_to_go(importance: str, make: Callable[[str], Made]) -> None:
    model, x = make("efficientnet")
    with torch.no_grad():  # every second hidden channel of the first block is dead
        for parameter in model.blocks[0].parameters():  # type: ignore[index, operator]
            if parameter.shape[0] == 64:
                parameter[::2] = 0
            if parameter.dim() > 1 and parameter.shape[1] == 64:
                parameter[:, ::2] = 0
        for norm in (model.blocks[0].expand[1], model.blocks[0].depthwise[1]):  # type: ignore[index, union-attr, operator]
            norm.running_mean[::2] = 0
    space, supernet = elasticize(model, x, Elasticity(importance=importance))
    half = space.arch({**space.largest(), "blocks.0.width": 32})
    with torch.no_grad():
        torch.testing.assert_close(supernet.eval()(x, half), model(x), rtol=1e-4, atol=1e-5)
        quarter = space.arch({**space.largest(), "blocks.0.width": 16})
        assert not torch.allclose(supernet(x, quarter), model(x), atol=1e-4)


def test_the_taylor_importance_is_the_squared_sum_of_weight_times_gradient(make: Callable[[str], Made]) -> None:
    model, x = make("plain")
    model(x).logsumexp(1).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    _, supernet = elasticize(model, x, importance=first_order(gradients))
    layer = model.classifier[0]  # type: ignore[index]
    scores = (layer.weight * layer.weight.grad).sum(1) + layer.bias * layer.bias.grad  # type: ignore[union-attr, operator]
    after = model.classifier[3]  # type: ignore[index]
    scores = (scores + (after.weight * after.weight.grad).sum(0)).square()  # type: ignore[union-attr, operator]
    order = scores.argsort(descending=True, stable=True)
    stored = next(tensor for name, tensor in supernet.named_parameters() if name.endswith("classifier/0/bias"))
    torch.testing.assert_close(stored, layer.bias[order])  # type: ignore[union-attr, index]


def test_gradients_reach_only_what_a_network_uses(make: Callable[[str], Made]) -> None:
    space, supernet = elasticize(*make("vit"))
    arch = space.arch({**space.largest(), "blocks.0.mlp.width": 16})
    supernet(torch.randn(2, 3, 32, 32), arch).sum().backward()
    gradient = next(
        p.grad for name, p in supernet.named_parameters() if "blocks_0_mlp" in name and name.endswith("down/weight")
    )
    assert gradient is not None
    assert gradient[:, :16].abs().sum() > 0 and gradient[:, 16:].abs().sum() == 0


def test_parts_of_equal_structure_are_measured_once(make: Callable[[str], Made]) -> None:
    space = elastic_space(*make("vit"), Elasticity())
    placed = [layer.operator(space.largest()) for layer in space.layers]
    keys = [operator.key for operator in placed if operator is not None]
    assert len(keys) == 8 and len(set(keys)) == 4  # patches, three blocks of two parts, head


def test_dropout_is_on_in_training_alone(make: Callable[[str], Made]) -> None:
    space, supernet = elasticize(*make("efficientnet"))
    operator = next(
        op for layer in space.layers if (op := layer.operator(space.largest())) and layer.name == "blocks.0"
    )
    module = supernet.uncalibrated(space.largest()).get_submodule("blocks_0")
    x = torch.randn(4, *operator.input_shape)
    assert isinstance(operator, Traced)
    module.eval()
    assert torch.equal(module(x), module(x))
    assert [one.p for one in module.modules() if isinstance(one, nn.Dropout)] == [0.2]


class Dropping(nn.Module):
    """An attention with dropout, which is given by place or by name, as timm and transformers do it."""

    def __init__(self, by_name: bool) -> None:
        super().__init__()
        self.by_name, self.q, self.o = by_name, nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (one.unflatten(-1, (4, 4)).transpose(1, 2) for one in self.q(x).chunk(3, dim=-1))
        share = 0.3 if self.training else 0.0
        if self.by_name:
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=share, is_causal=True)
        else:
            y = F.scaled_dot_product_attention(q, k, v, None, share, True)
        return x + self.o(y.transpose(1, 2).flatten(2))


class Encoding(nn.Module):
    """An encoder of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 4, 32, 0.3, batch_first=True) for _ in range(2))
        self.head = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Weighing(nn.Module):
    """Torch's own attentions, of which the first and the last are written out, because they give their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(16, 4, 0.3, batch_first=True) for _ in range(3))
        self.head = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = x + layer(x, x, x, need_weights=number != 1)[0]
        return self.head(x)


@pytest.mark.parametrize("make", [partial(Dropping, True), partial(Dropping, False), Encoding, Weighing])
def test_dropout_inside_attention_is_that_of_the_model_in_training_alone(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, x = make(), torch.randn(4, 6, 16)
    space, supernet = elasticize(model, x, Elasticity(importance="none"))
    plain = supernet.uncalibrated(space.largest())

    def outputs(run: Callable[[Tensor], Tensor]) -> Tensor:
        torch.manual_seed(3)
        return run(x)

    expected = outputs(model.train())
    torch.testing.assert_close(outputs(plain.train()), expected)
    torch.testing.assert_close(outputs(lambda x: supernet(x, space.largest())), expected)
    assert not torch.allclose(expected, model.eval()(x))
    torch.testing.assert_close(plain.eval()(x), model(x))
    with _WithoutDropout():
        torch.testing.assert_close(plain.train()(x), model(x))
    torch.testing.assert_close(copy.deepcopy(plain).eval()(x), model(x))
    hwnas.export_onnx(plain.eval(), space.input_shape, tmp_path / "small.onnx", batch=4)
    written = from_source(plain, x)
    torch.testing.assert_close(outputs(written.train()), expected)
    torch.testing.assert_close(written.eval()(x), model(x))


class Branches(nn.Module):
    """A network whose operations depend on the numbers of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else x


def test_a_model_that_cannot_be_traced_is_refused_in_one_line() -> None:
    with pytest.raises(SpaceError, match="Branches cannot be traced for an input of shape") as refusal:
        elasticize(Branches(), torch.randn(2, 8))
    assert "\n" not in str(refusal.value)


def test_what_has_no_rule_stays_as_it_is() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.third(torch.relu(self.second(torch.roll(self.first(x), 1, -1))))

    model, x = Odd(), torch.randn(2, 8)
    space, supernet = elasticize(model, x)
    assert [choice.name for choice in space.choices] == ["second.output"]
    with torch.no_grad():
        torch.testing.assert_close(supernet.eval()(x, space.largest()), model(x))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"widths": (0.0, 1.0)}, SpaceError, "widths are shares above 0"),
        ({"importance": "luck"}, UnknownNameError, "'luck'"),
    ],
)
def test_elasticity_that_cannot_be_is_refused(options: dict, error: type[Exception], words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(error, match=words):
        replace(Elasticity(), **options)


def test_a_mixture_of_all_networks_has_the_gradient_of_its_probabilities(make: Callable[[str], Made]) -> None:
    model, x = make("efficientnet")
    space, supernet = elasticize(model, x, Elasticity(widths=(0.5, 1.0)))
    supernet.eval()
    certain = {
        choice.name: torch.eye(len(choice.options))[choice.options.index(space.largest()[choice.name])]
        for choice in space.choices
    }
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, certain), model(x), rtol=1e-4, atol=1e-5)


def test_supernets_of_traced_networks_can_be_copied_and_saved(make: Callable[[str], Made], tmp_path: Path) -> None:
    space, supernet = elasticize(*make("resnet"))
    torch.save(supernet.state_dict(), tmp_path / "state.pt")
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(1.0)
    other = Supernet(space)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(other.eval()(x, space.largest()), supernet.eval()(x, space.largest()))


def test_images_can_be_scaled_down(make: Callable[[str], Made]) -> None:
    model, x = make("resnet")
    space, supernet = elasticize(model, x, Elasticity(widths=(0.5, 1.0), smaller_resolutions=(24, 16)))
    assert space.choice("input.resolution").options == (16, 24, 32)
    small = space.arch({**space.largest(), "input.resolution": 16})
    with torch.no_grad():
        torch.testing.assert_close(supernet.eval()(x, space.largest()), model(x), rtol=1e-4, atol=1e-5)
        scaled = nn.functional.interpolate(x, (16, 16), mode="bilinear")
        torch.testing.assert_close(supernet(x, small), model(scaled), rtol=1e-4, atol=1e-5)
    assert space.cost("flops", small) < 0.4 * space.cost("flops", space.largest())
    assert space.cost("params", small) == space.cost("params", space.largest())
    with pytest.raises(SpaceError, match="a smaller resolution of 32 is not below the model's, 32; leave it out"):
        elastic_space(model, x, Elasticity(smaller_resolutions=(32,)))


def test_what_is_made_in_a_network_is_made_on_the_device_of_its_input() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)) + torch.arange(4, device=x.device)

    space, supernet = elasticize(Masked(), torch.randn(2, 8))
    plain = supernet.uncalibrated(space.largest()).to("meta")
    assert plain(torch.randn(2, 8, device="meta")).shape == (2, 4)


class Part(nn.Module):
    """Two linear layers around an operation."""

    def __init__(self, operation: Callable[[Tensor], Tensor], after: Callable[[Tensor], Any] | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 5)
        self.operation, self.after = operation, after or (lambda y: y)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.second(self.operation(self.first(x))))


def reads_what_was_written(x: Tensor) -> Tensor:
    torch.relu_(x)
    return x


def makes_a_mask(x: Tensor) -> Tensor:
    mask = x.new_zeros(32)
    mask[:16] = 1.0
    return x * mask


@pytest.mark.parametrize(
    ("operation", "after"),
    [
        (torch.relu, lambda y: {"logits": y, "probabilities": y.softmax(-1)}),
        (torch.relu, lambda y: (y, y.norm(dim=-1))),
        (reads_what_was_written, None),
        (makes_a_mask, None),
        (lambda x: torch.einsum("nc,c->nc", x, torch.arange(32.0)), None),
    ],
)
def test_outputs_and_writes_of_ordinary_code_are_understood(operation: Any, after: Any) -> None:
    model, x = Part(operation, after), torch.randn(2, 8)
    space, supernet = elasticize(model, x)
    with torch.no_grad():
        torch.testing.assert_close(supernet.eval()(x, space.largest()), first_tensor(model(x)))


def writes_a_part(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x


def writes_a_view(x: Tensor) -> Tensor:
    x.view(-1, 4, 8).mul_(2)
    return x


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Part(writes_a_part), "writes into a part of a tensor by .*_, and reads the tensor afterwards"),
        (Part(writes_a_view), "writes into a part of a tensor by mul_"),
        (Part(lambda x: x + torch.randn_like(x)), "does not compute what the model computes: outputs differ by"),
        (Part(torch.relu).double(), "is torch.float64, and hwnas trains float32; call model.float"),
        (nn.Identity(), "does nothing to its input"),
        (lambda x: x, "only a torch module with one tensor"),
    ],
)
def test_models_that_would_be_another_network_are_refused(model: Any, words: str) -> None:
    with pytest.raises(SpaceError, match=words) as refusal:
        elasticize(model, torch.randn(2, 8))
    assert "\n" not in str(refusal.value)


def test_an_extracted_network_is_copied_and_pickled_like_any_module(
    make: Callable[[str], Made], tmp_path: Path
) -> None:
    space, supernet = elasticize(*make("resnet"))
    plain = supernet.uncalibrated(space.smallest()).eval()
    torch.save(plain, tmp_path / "plain.pt")
    x = torch.randn(2, 3, 32, 32)
    for other in (copy.deepcopy(plain), torch.load(tmp_path / "plain.pt", weights_only=False)):
        with torch.no_grad():
            assert torch.equal(other(x), plain(x))


def test_frozen_norms_of_a_model_stay_in_the_mode_that_they_had(make: Callable[[str], Made]) -> None:
    model, x = make("resnet")
    model.train()
    norm = next(one for one in model.modules() if isinstance(one, nn.BatchNorm2d))
    norm.eval()
    elasticize(model, x)
    assert model.training and not norm.training


def test_heads_of_torchs_own_attention_become_elastic() -> None:
    model, x = nn.TransformerEncoderLayer(24, 4, 64, batch_first=True, dropout=0.0), torch.randn(2, 6, 24)
    model = nn.Sequential(
        model, nn.TransformerEncoderLayer(24, 4, 64, batch_first=True, dropout=0.0), nn.Linear(24, 5)
    ).eval()
    space, supernet = elasticize(model, x)
    assert any(name.endswith("heads") for name in space.by_name), list(space.by_name)
    arch = space.smallest()
    with torch.no_grad():
        torch.testing.assert_close(
            supernet.eval()(x, arch), supernet.uncalibrated(arch).eval()(x), rtol=1e-5, atol=1e-5
        )


def test_a_kernel_of_a_weight_that_is_computed_or_shared_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(8, 8, 5, padding=2)
            self.normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 5, padding=2))
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.normed(self.shared(torch.relu(self.shared(x)))).mean((2, 3)))

    space, _ = elasticize(Net().eval(), torch.randn(2, 8, 16, 16))
    assert not any(name.endswith("kernel") for name in space.by_name)


class UNet(nn.Module):
    """A skip around a transposed convolution, and a recurrent layer behind: operations without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 16, 3, 2, 1), nn.ConvTranspose2d(16, 3, 2, 2)
        self.recurrent, self.head = nn.GRU(3 * 16, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.up(torch.relu(self.down(x)))
        rows, _ = self.recurrent(y.permute(0, 2, 1, 3).reshape(-1, 16, 3 * 16))
        return self.head(rows[:, -1])


def test_operations_without_a_rule_count_what_they_really_cost() -> None:
    model, x = UNet().eval(), torch.randn(2, 3, 16, 16)
    space, supernet = elasticize(model, x)
    with torch.no_grad():
        torch.testing.assert_close(supernet.eval()(x, space.largest()), model(x), rtol=1e-4, atol=1e-5)
    assert space.cost("params", space.largest()) == sum(parameter.numel() for parameter in model.parameters())


class Norms(nn.Module):
    """Widths under the norms of groups, instances and root mean squares, transposed convolutions, and a stack."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.groups, self.one = nn.GroupNorm(8, 32), nn.GroupNorm(1, 48)
        self.up, self.instances = nn.ConvTranspose2d(32, 48, 2, 2), nn.InstanceNorm2d(48, affine=True)
        self.first, self.root, self.second = nn.Linear(48, 64), nn.RMSNorm(64), nn.Linear(64, 16)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.instances(self.up(torch.relu(self.groups(self.stem(x)))))
        y = self.second(self.root(self.first(torch.relu(self.one(y)).amax((2, 3)))))
        return self.head(torch.stack([y, -y], 2).flatten(1))


def test_rules_of_norms_and_transposed_convolutions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Norms().eval(), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    space, supernet = elasticize(model, x, Elasticity(widths=(0.5, 1.0)))
    assert {name: choice.options for name, choice in space.by_name.items()} == {
        "stem.groups": (4, 8),
        "stem.output": (24, 48),
        "first.output": (32, 64),
        "second.output": (8, 16),
    }
    supernet.eval()
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, space.largest()), model(x), rtol=1e-5, atol=1e-6)
        arch = space.smallest()
        plain = supernet.uncalibrated(arch).eval()
        torch.testing.assert_close(plain(x), supernet(x, arch), rtol=1e-5, atol=1e-6)
        kept = model.groups(model.stem(x))[:, :16]
        narrow = nn.GroupNorm(4, 16).requires_grad_(False)
        narrow.weight.copy_(model.groups.weight[:16]), narrow.bias.copy_(model.groups.bias[:16])
        torch.testing.assert_close(narrow(model.stem(x)[:, :16]), kept)
    hwnas.export_onnx(plain, space.input_shape, tmp_path / "small.onnx", batch=2)
    assert not check_space(space, Silent()).broken


def test_source_of_a_network_has_its_padding_in_words() -> None:
    model, x = (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.Flatten(), nn.Linear(8 * 64, 5)).eval(),
        torch.randn(2, 3, 8, 8),
    )
    with torch.no_grad():
        torch.testing.assert_close(from_source(model, x).eval()(x), model(x))


def test_source_of_a_network_may_have_layers_of_any_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.graph = nn.Linear(4, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.graph(self.code(x))

    model, x = Named().eval(), torch.randn(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(from_source(model, x).eval()(x), model(x))


def from_source(model: nn.Module, x: Tensor) -> nn.Module:
    """Returns the network of a model's source, with its weights."""
    source, weights = source_of(model, x, "A network.", "weights.safetensors")
    names: dict[str, Any] = {}
    exec(source, names)
    network: nn.Module = names["Network"]()
    network.load_state_dict(weights)
    return network


def test_a_part_with_many_sizes_keeps_those_elastic_that_save_most() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(
                nn.Sequential(nn.Conv2d(8, 32 * number, 1), nn.ReLU(), nn.Conv2d(32 * number, 8, 3, 1, 1))
                for number in range(1, 7)
            )
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(sum(branch(x) for branch in self.branches).mean((2, 3)))

    space, _ = elasticize(Branches().eval(), torch.randn(2, 8, 8, 8))
    assert {max(choice.options) for choice in space.choices} == {8, 160, 192} and len(space.operators()) <= 65


def test_layers_of_a_network_may_have_any_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.sizes, self.operator = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.operator(torch.relu(self.sizes(torch.relu(self.code(x)))))

    model, x = Named(), torch.randn(2, 8)
    space, supernet = elasticize(model, x)
    with torch.no_grad():
        torch.testing.assert_close(supernet.eval()(x, space.largest()), model(x))


def test_relations_of_a_traced_network_are_those_of_the_models_last_attention(
    make: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, ids = make("decoder")
    space, supernet = elasticize(model, ids)
    (_, seen), attention = Relations().run(lambda x: supernet(x, space.largest()), ids), F.scaled_dot_product_attention
    own: list[Tensor] = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: (own.extend(a), attention(*a, **k))[1])
    model(ids)
    for mine, theirs in zip(seen, own[-3:], strict=True):
        sums = [(one.double() @ one.double().transpose(2, 3)).sum(1) for one in (mine, theirs)]
        torch.testing.assert_close(*sums, rtol=1e-4, atol=1e-5)  # heads stand in the order of importance


# ---- frozen weights


def test_weights_that_the_model_freezes_are_frozen(make: Callable[[str], Made]) -> None:
    model, x = make("vit")
    model.patch.requires_grad_(False)
    model.blocks[1].attn.qkv.weight.requires_grad_(False)
    space, supernet = elasticize(model, x)
    frozen = {name.rpartition("/")[0] or name for name, one in supernet.named_parameters() if not one.requires_grad}
    assert len(frozen) == 2 and all("patch" in name or "blocks/1/attn/qkv" in name for name in frozen)
    for arch in drawn(space, 2):
        for plain in (supernet.uncalibrated(arch), network(space, arch), copy.deepcopy(supernet.uncalibrated(arch))):
            names = {name for name, one in plain.named_parameters() if not one.requires_grad}
            assert names and all("patch." in name or "blocks.1.attn.qkv.weight" in name for name in names)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 8), nn.Linear(8, 9)
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x)
        return self.head(y + self.body(y))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(8, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(torch.relu(self.wide(x)))


class TiedBlocks(Tied):
    """Blocks between an embedding and its head, of which two are the same module."""

    def __init__(self) -> None:
        super().__init__()
        block = Residual()
        self.body = nn.Sequential(block, Residual(), block)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embed(x)))


def test_copies_of_a_shared_weight_are_told_with_the_parameters_that_they_add() -> None:
    model, ids = TiedBlocks(), torch.zeros(2, 5, dtype=torch.int64)
    space, _ = elasticize(model, ids)
    more = space.cost("params", space.largest()) - sum(one.numel() for one in model.parameters())
    (note,) = space.notes
    assert "used by body.0 and body.2; here each of these parts has a copy" in note
    assert "The same holds for 4 more weights" in note
    assert more == 2 * 8 * 32 + 32 + 8 + 9 * 8 and f"up to {more} parameters" in note
    model.body[2] = Residual()
    (note,) = elasticize(model, ids)[0].notes
    assert note.startswith("embed.weight and head.weight: one weight in your model, used by embed and head; here")
    model.head.weight = nn.Parameter(torch.randn(9, 8))
    assert not elasticize(model, ids)[0].notes


def test_a_weight_that_one_part_uses_twice_stays_one() -> None:
    model = Tied()
    space, _ = elasticize(model, torch.zeros(2, 5, dtype=torch.int64))
    assert not space.notes
    assert space.cost("params", space.largest()) == sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("name", ["embed", "head"])
def test_tied_weights_are_frozen_by_either_name(name: str) -> None:
    model = Tied()
    freeze_weights(model, [f"{name}.weight"])
    space, supernet = elasticize(model, torch.zeros(2, 5, dtype=torch.int64))
    parameters = list(supernet.uncalibrated(space.largest()).parameters())
    assert {one.shape == (9, 8) for one in parameters if not one.requires_grad} == {True}
    assert {one.shape == (9, 8) for one in parameters if one.requires_grad} == {False}


def test_a_model_all_of_whose_weights_are_frozen_is_trained(make: Callable[[str], Made]) -> None:
    model, x = make("plain")
    _, supernet = elasticize(model.requires_grad_(False), x)
    assert all(one.requires_grad for one in supernet.parameters())
