"""Laws of the zero-cost proxies, on networks whose gradients are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hwnas
from hwnas.costs.proxies import MEASURES, gradient_norm, jacobian_score
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


# ---- both


@pytest.mark.parametrize("proxy", MEASURES.values(), ids=MEASURES.keys())
def test_gradients_that_parameters_hold_and_the_inputs_stay_as_they_are(proxy) -> None:
    network, x = small_network(), images()
    F.cross_entropy(network(x), LABELS).backward()
    before = [parameter.grad.clone() for parameter in network.parameters()]
    score = proxy(network, x, LABELS, loss)
    assert all(torch.equal(p.grad, was) for p, was in zip(network.parameters(), before, strict=True))
    assert not x.requires_grad and torch.equal(x, images())
    assert proxy(network, x, LABELS, loss) == score and math.isfinite(score)


@pytest.mark.parametrize("proxy", MEASURES.values(), ids=MEASURES.keys())
def test_networks_of_a_space_differ_in_their_scores(proxy) -> None:
    space = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    torch.manual_seed(0)
    supernet = hwnas.Supernet(space)
    rng = np.random.default_rng(0)
    x = torch.randn(6, 3, 8, 8)
    scores = [proxy(supernet.extract(space.sample(rng)), x, LABELS, loss) for _ in range(5)]
    assert len(set(scores)) > 1 and np.isfinite(scores).all()
