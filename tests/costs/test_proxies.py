"""Laws of the zero-cost proxies, on networks whose gradients are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hwnas
from hwnas.costs.expressivity import jacobian_score, naswot, zen
from hwnas.costs.proxies import MEASURES
from hwnas.costs.saliency import fisher, gradient_norm, grasp, snip, synflow
from hwnas.errors import HwnasError

LABELS = torch.tensor([0, 1, 1, 0, 1, 0])


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, -2), labels.flatten())


class Function(nn.Module):
    """A network without weights."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 2))


def images(count: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


# ---- jacobian


def test_the_jacobian_score_is_the_published_formula() -> None:
    network, x = small_network(), images()
    inputs = x.clone().requires_grad_()
    network(inputs).backward(torch.ones(6, 2))
    eigenvalues = np.linalg.eigvals(np.corrcoef(inputs.grad.reshape(6, -1).double())).real
    expected = -np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5))
    assert jacobian_score(network, x, LABELS, loss) == pytest.approx(expected, rel=1e-6)


def test_gradients_that_do_not_correlate_have_the_highest_score_and_equal_ones_the_lowest() -> None:
    hadamard = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    apart = jacobian_score(Function(lambda x: x**2 / 2), hadamard, LABELS, loss)
    assert apart == pytest.approx(-3 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5)))
    partly = jacobian_score(Function(lambda x: x**2 / 2), hadamard + hadamard[0], LABELS, loss)
    alike = jacobian_score(Function(lambda x: x @ torch.tensor([1.0, 2, 3, 4])), hadamard, LABELS, loss)
    assert alike < partly < apart
    assert alike == pytest.approx(-2 * (math.log(1e-5) + 1e5) - math.log(3) - 1 / 3, rel=1e-4)


@pytest.mark.parametrize("ignore", [lambda x: 0 * x, lambda x: torch.ones(6, 2, requires_grad=True)])
def test_a_network_that_ignores_its_input_has_a_finite_score_below_all_others(ignore) -> None:
    dead = jacobian_score(Function(ignore), images(), LABELS, loss)
    assert math.isfinite(dead)
    assert dead < jacobian_score(Function(lambda x: x.flatten(1) @ torch.arange(108.0)), images(), LABELS, loss)


def test_the_scale_of_the_output_makes_no_difference_to_the_jacobian_score() -> None:
    network, x = small_network(), images()
    # A power of two, so that gradients stay exact.
    assert jacobian_score(Function(lambda x: network(x) * 2.0**-60), x, LABELS, loss) == jacobian_score(
        network, x, LABELS, loss
    )


def test_labels_make_no_difference_to_the_jacobian_score() -> None:
    network, x = small_network(), images()
    assert jacobian_score(network, x, LABELS, loss) == jacobian_score(network, x, 1 - LABELS, loss)


def test_a_jacobian_of_token_ids_is_refused_and_the_other_proxy_named() -> None:
    with pytest.raises(HwnasError, match="token ids have none; use 'grad-norm'"):
        jacobian_score(nn.Embedding(5, 2), torch.tensor([[1, 2]]), LABELS, loss)


def test_a_network_whose_gradients_are_not_numbers_has_no_score() -> None:
    assert math.isnan(jacobian_score(Function(lambda x: x / 0), images(), LABELS, loss))


# ---- grad-norm


def test_the_gradient_norm_is_the_sum_over_parameters() -> None:
    network, x = small_network(), images()
    expected = gradient_norm(network, x, LABELS, loss)
    F.cross_entropy(network(x), LABELS).backward()
    assert expected == pytest.approx(sum(float(parameter.grad.norm()) for parameter in network.parameters()))


def test_a_network_that_is_certain_and_right_has_no_gradient() -> None:
    network = nn.Linear(2, 2, bias=False)
    x = F.one_hot(LABELS).float()
    network.weight.data = 1000 * torch.eye(2)
    assert gradient_norm(network, x, LABELS, loss) == 0
    assert gradient_norm(network, x, 1 - LABELS, loss) > 0


def test_every_position_of_a_text_counts() -> None:
    network = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
    x = torch.tensor([[0, 1, 2], [2, 3, 4]])
    labels = torch.tensor([[1, 2, 3], [3, 4, 0]])
    assert gradient_norm(network, x, labels, loss) == pytest.approx(
        gradient_norm(network, x.reshape(6, 1), labels.reshape(6, 1), loss)
    )


def test_weights_that_the_output_does_not_depend_on_count_nothing() -> None:
    network = small_network()
    expected = gradient_norm(network, images(), LABELS, loss)
    network.spare = nn.Linear(3, 3)
    network.forward = lambda x: network[3](network[2](network[1](network[0](x))))
    assert gradient_norm(network, images(), LABELS, loss) == expected


# ---- snip, grasp, fisher, synflow: a linear network has known derivatives


def squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs**2).sum() / 2


def line(*weights: float) -> nn.Module:
    """A network that multiplies a number by each weight in turn."""
    layers = [nn.Linear(1, 1, bias=False) for _ in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data.fill_(weight)
    return nn.Sequential(*layers)


ONE, NO_LABELS = torch.ones(1, 1), torch.zeros(1)


def test_snip_sums_the_sensitivities_of_all_weights() -> None:
    # L = (a b)^2 / 2, so |a dL/da| = |b dL/db| = (a b)^2.
    assert snip(line(2, -3), ONE, NO_LABELS, squared) == pytest.approx(72)


def test_grasp_is_the_product_of_weights_hessian_and_gradient() -> None:
    # L = (a b)^2 / 2 is homogeneous of degree 4, so H w = 3 g, and -w H g = -3 |g|^2.
    a, b = 2.0, -3.0
    gradient = np.array([a * b**2, a**2 * b])
    assert grasp(line(a, b), ONE, NO_LABELS, squared) == pytest.approx(-3 * float(gradient @ gradient))


def test_fisher_squares_the_sum_over_positions_and_not_over_channels_or_examples() -> None:
    network = nn.Conv2d(1, 2, 1, bias=False)
    network.weight.data = torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1)
    x = torch.arange(8.0).reshape(2, 1, 2, 2)
    products_NC = (network(x).detach() ** 2).sum((2, 3))  # a * dL/da = a^2
    expected = float((products_NC**2).mean(0).sum() / 2)
    assert fisher(network, x, NO_LABELS, squared) == pytest.approx(expected)


def test_fisher_sees_activations_before_what_follows_works_in_place() -> None:
    conv = nn.Conv2d(1, 1, 1, bias=False)
    x = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    scores = [fisher(nn.Sequential(conv, nn.ReLU(inplace=inplace)), x, NO_LABELS, squared) for inplace in (True, False)]
    assert scores[0] == scores[1] > 0


def test_synflow_is_the_flow_through_absolute_weights_without_norms() -> None:
    # R = |a b| for an input of 1, and each weight passes on all of it.
    assert synflow(line(2, -3), ONE, NO_LABELS, squared) == pytest.approx(math.log1p(12))
    norm = nn.BatchNorm1d(1)
    norm.running_var.fill_(100.0)
    first, second = line(2, -3)
    assert synflow(nn.Sequential(first, norm, second), ONE, NO_LABELS, squared) == pytest.approx(math.log1p(12))


def test_synflow_is_finite_where_single_precision_would_overflow() -> None:
    assert synflow(line(*[1e10] * 6), ONE, NO_LABELS, squared) == pytest.approx(math.log(6e60))


# ---- naswot, zen


def test_naswot_is_the_log_determinant_of_the_agreements_of_relus() -> None:
    x = torch.tensor([[1.0, -1, 1], [1, 1, -1]])  # codes 101 and 110 agree on one of three units
    assert naswot(Function(torch.relu), x, NO_LABELS, loss) == pytest.approx(math.log(3 * 3 - 1 * 1), abs=1e-4)
    assert naswot(Function(F.relu6), x, NO_LABELS, loss) == naswot(Function(torch.relu), x, NO_LABELS, loss)


def test_examples_with_equal_codes_have_a_finite_naswot_score_below_others() -> None:
    alike, apart = (naswot(Function(torch.relu), x, NO_LABELS, loss) for x in (torch.ones(2, 3), torch.eye(2)))
    assert math.isfinite(alike) and alike < apart


def test_zen_does_not_depend_on_the_weights_or_the_batch_and_grows_with_depth() -> None:
    def deep(layers: int) -> nn.Module:
        blocks = [[nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)] for _ in range(layers)]
        return nn.Sequential(*[module for block in blocks for module in block])

    def score(network: nn.Module, x: Tensor) -> float:
        torch.manual_seed(0)
        return zen(network, x, LABELS, loss)

    network = deep(2)
    before = score(network, images())
    for parameter in network.parameters():
        parameter.data.mul_(7)
    assert score(network, 100 * images(seed=1)) == before
    assert score(deep(1), images()) < before < score(deep(4), images())


# ---- all


TOKENS = torch.tensor([[1, 2], [3, 0]])


@pytest.mark.parametrize(
    ("proxy", "network", "x", "message"),
    [
        (snip, nn.Embedding(5, 2), TOKENS, "'snip' needs convolutions or linear layers, .*; use 'grad-norm'"),
        (grasp, nn.Embedding(5, 2), TOKENS, "'grasp' needs convolutions or linear layers"),
        (fisher, nn.Embedding(5, 2), TOKENS, "'fisher' needs convolutions or linear layers"),
        (synflow, nn.Embedding(5, 2), TOKENS, "'synflow' needs an input of ones, and token ids have none; use"),
        (synflow, nn.LayerNorm(2), torch.ones(2, 2), "'synflow' needs a network without layer norms, .*; use 'snip'"),
        (naswot, nn.Linear(2, 2), torch.ones(2, 2), "'naswot' needs ReLUs, .*; use 'jacobian' or 'grad-norm'"),
        (zen, nn.Embedding(5, 2), TOKENS, "'zen' needs normal inputs, and token ids have none; use 'grad-norm'"),
        (zen, nn.Linear(2, 2), torch.ones(2, 2), "'zen' needs batch-norms, .*; use 'snip' or 'grad-norm'"),
    ],
)
def test_a_network_that_a_score_is_not_for_is_refused_and_another_score_named(proxy, network, x, message) -> None:
    with pytest.raises(HwnasError, match=message):
        proxy(network, x, LABELS, loss)


def test_attention_has_a_second_derivative_for_grasp() -> None:
    space = hwnas.space("vit", resolution=8, embeddings=(8, 12), depths=(1, 2), heads=(1, 3), ratios=(1, 1.5))
    x = torch.randn(6, *space.input_shape, generator=torch.Generator().manual_seed(0))
    assert grasp(hwnas.Supernet(space).uncalibrated(space.largest()), x, LABELS, loss) != 0


@pytest.mark.parametrize("proxy", MEASURES.values(), ids=MEASURES.keys())
def test_gradients_that_parameters_hold_the_weights_and_the_inputs_stay_as_they_are(proxy) -> None:
    network, x = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), small_network()), images()
    F.cross_entropy(network(x), LABELS).backward()
    before = [(parameter.grad.clone(), parameter.detach().clone()) for parameter in network.parameters()]

    def score() -> float:
        torch.manual_seed(0)
        return proxy(network, x, LABELS, loss)

    first = score()
    for parameter, (gradient, weights) in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, gradient) and torch.equal(parameter, weights)
    assert not x.requires_grad and torch.equal(x, images())
    assert score() == first and math.isfinite(first)


@pytest.mark.parametrize("proxy", MEASURES.values(), ids=MEASURES.keys())
def test_networks_of_a_space_differ_in_their_scores(proxy) -> None:
    space = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    torch.manual_seed(0)
    supernet = hwnas.Supernet(space)
    rng = np.random.default_rng(0)
    x = torch.randn(6, 3, 8, 8)
    scores = [proxy(supernet.uncalibrated(space.sample(rng)), x, LABELS, loss) for _ in range(5)]
    assert len(set(scores)) > 1 and np.isfinite(scores).all()


# ---- frozen weights


@pytest.mark.parametrize("measure", [gradient_norm, snip, grasp, fisher, synflow])
def test_saliencies_are_sums_over_what_training_can_change(measure) -> None:
    network, x = small_network(), images()
    network[0].requires_grad_(False)
    alone = nn.Sequential(network[3])
    expected = measure(alone, network[:3](x), LABELS, loss)
    if measure is not synflow:  # whose input is its own
        assert measure(network, x, LABELS, loss) == pytest.approx(expected, rel=1e-5)
    assert measure(network, x, LABELS, loss) != pytest.approx(measure(small_network(), x, LABELS, loss))


@pytest.mark.parametrize("measure", [snip, grasp, fisher, synflow])
def test_saliencies_of_frozen_layers_alone_are_refused(measure) -> None:
    network = small_network().append(nn.LayerNorm(2) if measure is not synflow else nn.PReLU())
    network[0].requires_grad_(False), network[3].requires_grad_(False)
    with pytest.raises(HwnasError, match="needs a layer that is trained, and all are frozen; use 'grad-norm'"):
        measure(network, images(), LABELS, loss)
