"""Laws of samplers: what every one of them must hold, and the formula each of them is."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hwnas.errors import UnknownNameError
from hwnas.strategies.gradient.samplers import LEAST_CONCENTRATION, SAMPLERS, dirichlet_divergence, sampler
from hwnas.strategies.gradient.schedule import Schedule
from hwnas.supernet.mixture import Drawn

TRAINED = [name for name in SAMPLERS if name != "uniform"]
# So close that sparsemax keeps all.
LOGITS = (0.3, 0.05, 0.1, 0.4)
# Options of different losses: what a draw's weights are multiplied by, where one needs a gradient.
LOSS = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)

logit_lists = st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits_of(values: tuple[float, ...] | list[float] = LOGITS) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def dense(drawn: Drawn, options: int) -> Tensor:
    """The weights of all options, 0 for those left out; (K,)."""
    return drawn.weights.new_zeros(options).index_put((torch.tensor(drawn.options),), drawn.weights)


def draws(name: str, logits_K: Tensor, count: int, temperature: float = 1.0) -> Iterator[Drawn]:
    source = generator(1)
    return (SAMPLERS[name].draw(logits_K, temperature, source) for _ in range(count))


def assert_mean(samples_NK: Tensor, expected_K: Tensor) -> None:
    """Within four and a half standard errors."""
    error_K = samples_NK.std(0) / len(samples_NK) ** 0.5
    assert ((samples_NK.mean(0) - expected_K).abs() <= 4.5 * error_K + 1e-9).all()


@pytest.mark.parametrize("name", SAMPLERS)
@given(logits=logit_lists, seed=st.integers(0, 2**32), temperature=st.floats(0.05, 20))
def test_a_draw_is_of_options_in_order_whose_weights_are_shares(
    name: str, logits: list[float], seed: int, temperature: float
) -> None:
    drawn = SAMPLERS[name].draw(torch.tensor(logits), temperature, generator(seed))
    assert drawn.weights.shape == (len(drawn.options),) and drawn.weights.dtype == torch.float32
    assert list(drawn.options) == sorted(set(drawn.options) & set(range(len(logits))))
    assert (drawn.weights >= 0).all() and float(drawn.weights.sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
@given(logits=logit_lists)
def test_probabilities_are_shares_that_never_fall_where_a_logit_rises(name: str, logits: list[float]) -> None:
    probability_K = SAMPLERS[name].probabilities(torch.tensor(logits))
    assert probability_K.shape == (len(logits),) and probability_K.dtype == torch.float32
    assert (probability_K >= 0).all() and float(probability_K.sum()) == pytest.approx(1, abs=1e-4)
    assert (probability_K[np.argsort(logits)].diff() >= 0).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_equal_generators_give_equal_draws_and_nothing_else_is_random(name: str) -> None:
    state = torch.get_rng_state()
    source, same = generator(7), generator(7)
    for _ in range(20):
        found, again = (SAMPLERS[name].draw(logits_of(), 1.0, each) for each in (source, same))
        assert found.options == again.options and torch.equal(found.weights, again.weights)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["darts", "sparsemax", "gdas", "drnas", "uniform"])
@pytest.mark.parametrize("logits", [LOGITS, (3.0, -4.0), (0.0,)])
def test_probabilities_are_the_mean_of_draws(name: str, logits: tuple[float, ...]) -> None:
    with torch.no_grad():
        samples_NK = torch.stack([dense(drawn, len(logits)) for drawn in draws(name, logits_of(logits), 4000)])
    assert_mean(samples_NK, SAMPLERS[name].probabilities(logits_of(logits)).detach())


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_of_draws_and_of_probabilities_reach_every_logit(name: str) -> None:
    for values in (
        lambda logits_K: sum(dense(drawn, 4) for drawn in draws(name, logits_K, 30)) @ LOSS,
        lambda logits_K: SAMPLERS[name].probabilities(logits_K) @ LOSS,
    ):
        logits_K = logits_of()
        (slope_K,) = torch.autograd.grad(values(logits_K), logits_K)
        assert slope_K.isfinite().all() and (slope_K != 0).all()


@pytest.mark.parametrize("name", TRAINED)
@given(logits=st.lists(st.floats(-60, 60, width=32), min_size=2, max_size=6), seed=st.integers(0, 2**32))
def test_gradients_are_finite_however_far_apart_logits_are(name: str, logits: list[float], seed: int) -> None:
    logits_K = torch.tensor(logits, requires_grad=True)
    weights_K = dense(SAMPLERS[name].draw(logits_K, 0.1, generator(seed)), len(logits))
    (slope_K,) = torch.autograd.grad(weights_K @ torch.arange(len(logits)).float(), logits_K)
    assert slope_K.isfinite().all()


@pytest.mark.parametrize("name", ["darts", "sparsemax"])
def test_gradients_of_certain_draws_are_finite_differences(name: str) -> None:
    def weights(logits_K: Tensor) -> Tensor:
        return dense(SAMPLERS[name].draw(logits_K, 1.0, generator()), len(logits_K))

    assert torch.autograd.gradcheck(weights, [logits_of()])
    assert torch.autograd.gradcheck(weights, [logits_of((2.0, -1.0, 1.7))])


@pytest.mark.parametrize("name", SAMPLERS)
def test_probabilities_have_gradients_of_finite_differences(name: str) -> None:
    assert torch.autograd.gradcheck(SAMPLERS[name].probabilities, [logits_of((0.3, -0.4, 0.1))])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_sparsemax_is_the_nearest_point_of_the_simplex(logits: list[float]) -> None:
    """Its optimality conditions: logits exceed the probabilities by one threshold, and reach it nowhere else."""
    logits_K = torch.tensor(logits, dtype=torch.float64)
    drawn = SAMPLERS["sparsemax"].draw(logits_K, 1.0, generator())
    kept = torch.tensor(drawn.options)
    threshold = logits_K[kept] - drawn.weights
    assert float(drawn.weights.sum()) == pytest.approx(1) and (drawn.weights > 0).all()
    assert threshold.numpy() == pytest.approx(float(threshold[0]), abs=1e-9)
    left_out = [value for option, value in enumerate(logits) if option not in drawn.options]
    assert max(left_out, default=-np.inf) <= float(threshold[0]) + 1e-9


def test_sparsemax_trains_what_it_keeps_alone() -> None:
    """The Jacobian of Martins & Astudillo 2016: diag(s) - s s^T / |s| of the support s."""
    jacobian = torch.autograd.functional.jacobian(SAMPLERS["sparsemax"].probabilities, logits_of((1.0, 0.8, -2.0)))
    expected = torch.tensor([[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(jacobian, expected)


def test_gdas_runs_one_option_of_weight_one_however_hot() -> None:
    for temperature in (0.01, 1.0, 100.0):
        for drawn in draws("gdas", logits_of(), 50, temperature):
            assert len(drawn.options) == 1 and drawn.weights.tolist() == [1]


def test_gdas_passes_the_gradient_of_its_softmax_on() -> None:
    """Which is that of equal shares where it is hot: (1/K) (1[i drawn] - 1/K) / temperature."""
    logits_K, hot = logits_of(), 1e6
    for drawn in draws("gdas", logits_K, 20, hot):
        (slope_K,) = torch.autograd.grad(drawn.weights.sum(), logits_K)
        is_drawn_K = torch.nn.functional.one_hot(torch.tensor(drawn.options[0]), 4)
        assert slope_K.numpy() * hot == pytest.approx((is_drawn_K - 1 / 4).numpy() / 4, abs=1e-4)


@pytest.mark.parametrize("logits", [LOGITS, (-1.0, -2.0, 1.5, 0.0)])
def test_drnas_gradients_are_those_of_the_mean(logits: tuple[float, ...]) -> None:
    logits_K = logits_of(logits)
    slopes_NK = torch.stack(
        [torch.autograd.grad(dense(drawn, 4) @ LOSS, logits_K)[0] for drawn in draws("drnas", logits_K, 4000)]
    )
    (expected_K,) = torch.autograd.grad(SAMPLERS["drnas"].probabilities(logits_K) @ LOSS, logits_K)
    assert_mean(slopes_NK, expected_K)


@pytest.mark.parametrize("logits", [(0.0, 0.0, 0.0, 0.0), LOGITS])
def test_drnas_gradients_vary_less_than_those_of_normalised_gamma_draws(logits: tuple[float, ...]) -> None:
    def shares_of_gammas(logits_K: Tensor, source: torch.Generator) -> Tensor:
        gamma_K = torch._standard_gamma(torch.nn.functional.elu(logits_K) + 1, generator=source)
        return gamma_K / gamma_K.sum()

    variances = []
    for draw in (shares_of_gammas, lambda logits_K, source: SAMPLERS["drnas"].draw(logits_K, 1.0, source).weights):
        source, logits_K = generator(2), logits_of(logits)
        slopes = [torch.autograd.grad(draw(logits_K, source) @ LOSS, logits_K)[0] for _ in range(3000)]
        variances.append(float(torch.stack(slopes).var(0).mean()))
    assert variances[1] < 0.8 * variances[0]


@pytest.mark.parametrize("logits", [LOGITS, (-60.0, -60.0)])
def test_drnas_draws_are_of_the_dirichlet_of_its_concentrations(logits: tuple[float, ...]) -> None:
    """However small those are: then nearly all of the weight is one option's."""
    logits_K = torch.tensor(logits)
    samples_NK = torch.stack([drawn.weights for drawn in draws("drnas", logits_K, 4000)]).double()
    known = torch.distributions.Dirichlet((torch.nn.functional.elu(logits_K) + 1).clamp(min=LEAST_CONCENTRATION))
    assert_mean((samples_NK - known.mean).square(), known.variance)


def test_gates_draw_a_pair_without_replacement_and_activate_one_by_renormalised_probability() -> None:
    probability = logits_of().detach().softmax(0).tolist()
    pairs = list(itertools.combinations(range(4), 2))
    expected = torch.zeros(len(pairs), 2, dtype=torch.float64)
    for place, (one, other) in enumerate(pairs):
        p, q = probability[one], probability[other]
        expected[place] = torch.tensor([p, q]) * (p * q / (1 - p) + p * q / (1 - q)) / (p + q)
    samples = torch.zeros(8000, len(pairs), 2, dtype=torch.float64)
    for number, drawn in enumerate(draws("gates", logits_of().detach(), len(samples))):
        assert sorted(drawn.weights.tolist()) == [0, 1]
        samples[number, pairs.index(drawn.options)] = drawn.weights
    assert_mean(samples.flatten(1), expected.flatten())


def test_gates_of_two_options_activate_them_as_they_are_probable() -> None:
    logits_K = logits_of((0.7, -0.2))
    samples_NK = torch.stack([drawn.weights.detach() for drawn in draws("gates", logits_K, 4000)])
    assert_mean(samples_NK, SAMPLERS["gates"].probabilities(logits_K).detach())


def test_gates_have_the_published_gradient_over_the_pair_and_none_beside_it() -> None:
    """dL/dalpha_i = sum over j of dL/dg_j p_j (1[i = j] - p_i) (ProxylessNAS, equation 4)."""
    logits_K = logits_of()
    for drawn in draws("gates", logits_K, 50):
        pair = list(drawn.options)
        (slope_K,) = torch.autograd.grad(drawn.weights @ LOSS[pair], logits_K)
        p_2, slope_g_2 = logits_K.detach()[pair].softmax(0), LOSS[pair]
        expected_K = torch.zeros(4, dtype=torch.float64)
        for place, option in enumerate(pair):
            expected_K[option] = sum(slope_g_2[j] * p_2[j] * (float(j == place) - p_2[place]) for j in range(len(pair)))
        assert torch.allclose(slope_K, expected_K)


def test_the_path_of_gates_is_one_option_as_probable_as_it_is() -> None:
    path, source = SAMPLERS["gates"].path, generator(3)
    assert path is not None
    samples = [path(logits_of(), 1.0, source) for _ in range(4000)]
    assert all(drawn.weights.tolist() == [1] and not drawn.weights.requires_grad for drawn in samples)
    expected_K = SAMPLERS["gates"].probabilities(logits_of()).detach()
    assert_mean(torch.stack([dense(drawn, 4) for drawn in samples]), expected_K)


def test_gumbel_draws_all_options_that_are_decided_where_cold_and_equal_where_hot() -> None:
    with torch.no_grad():
        cold, hot = (
            torch.stack([drawn.weights for drawn in draws("gumbel", logits_of(), 3000, temperature)])
            for temperature in (1e-4, 1e4)
        )
    assert_mean(cold, SAMPLERS["gumbel"].probabilities(logits_of()).detach())
    assert float((cold.max(1).values > 0.99).double().mean()) > 0.99
    assert torch.allclose(hot, torch.full_like(hot, 1 / 4), atol=1e-2)


def test_fbnets_temperature_falls_by_the_published_factor_every_epoch_of_its_schedule() -> None:
    schedule, temperature = Schedule(warmup_epochs=10), SAMPLERS["gumbel"].temperature
    for epoch in range(90):
        assert temperature(schedule.share(epoch, 80)) == pytest.approx(5 * np.exp(-0.045 * epoch))
    short = [temperature(Schedule(warmup_epochs=1).share(epoch, 8)) for epoch in (1, 8)]
    assert short == pytest.approx([5 * np.exp(-0.45), 5 * np.exp(-0.045 * 89)])


def test_gdas_cools_from_ten_to_a_tenth_after_the_warm_up() -> None:
    schedule = Schedule(warmup_epochs=3)
    found = [SAMPLERS["gdas"].temperature(schedule.share(epoch, 3)) for epoch in range(6)]
    assert found == pytest.approx([10, 10, 10, 10, 5.05, 0.1])


@given(logits=st.lists(st.floats(-20, 20), min_size=2, max_size=6))
def test_drnas_divergence_is_least_where_all_draws_are_equally_likely(logits: list[float]) -> None:
    logits_K = torch.tensor(logits, dtype=torch.float64)
    assert float(dirichlet_divergence(torch.zeros_like(logits_K))) == pytest.approx(0, abs=1e-9)
    assert float(dirichlet_divergence(logits_K)) >= -1e-9


def test_drnas_divergence_is_the_mean_log_ratio_of_densities() -> None:
    drawn_from = torch.distributions.Dirichlet(torch.nn.functional.elu(logits_of()).detach() + 1)
    torch.manual_seed(0)
    samples_NK = drawn_from.sample((20000,))
    ratio_N = drawn_from.log_prob(samples_NK) - torch.distributions.Dirichlet(torch.ones(4).double()).log_prob(
        samples_NK
    )
    assert_mean(ratio_N[:, None], dirichlet_divergence(logits_of()).detach()[None])


def test_uniform_draws_train_no_logits() -> None:
    logits_K = logits_of()
    assert all(
        not drawn.weights.requires_grad and drawn.weights.tolist() == [1] for drawn in draws("uniform", logits_K, 9)
    )


def test_every_sampler_is_found_by_its_name() -> None:
    assert {name: sampler(name) for name in SAMPLERS} == dict(SAMPLERS)


def test_an_unknown_sampler_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown sampler 'magic'; known: darts, drnas, gates, gdas, gumbel, .*uniform"
    ):
        sampler("magic")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SAMPLERS)
def test_on_a_gpu_draws_and_gradients_stay_there(name: str) -> None:
    logits_K = torch.tensor(LOGITS, device="cuda", requires_grad=True)
    drawn = SAMPLERS[name].draw(logits_K, 1.0, torch.Generator("cuda").manual_seed(0))
    probability_K = SAMPLERS[name].probabilities(logits_K)
    assert drawn.weights.device.type == probability_K.device.type == "cuda"
    if name != "uniform":
        (drawn.weights @ LOSS.to(drawn.weights)[list(drawn.options)]).backward()
        assert logits_K.grad is not None and logits_K.grad.device.type == "cuda" and logits_K.grad.isfinite().all()
