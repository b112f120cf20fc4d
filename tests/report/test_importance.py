"""Laws of what options are worth, and of predicted random searches, on losses that are known sums over layers.

Shapes: N architectures, C choices, D objectives, E points of a curve, R repetitions.
"""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import hwnas
from hwnas.core.factors import Factor, total
from hwnas.core.space import SearchSpace
from hwnas.report.figures import save_figure
from hwnas.report.hypervolume import HypervolumePlot, Scale, counts_up_to, predicted_random
from hwnas.report.importance import Importance, importance_of
from hwnas.report.metric_fit import MOST, MetricFit
from hwnas.report.run_figures import draw_hypervolume, draw_importance
from hwnas.strategies.pareto import hypervolume
from hwnas.tasks.task import Metric

LOSS = Metric(name="loss", unit="nats")
ACCURACY = Metric(name="accuracy", unit="share", highest=True)


def losses(space: SearchSpace, rows_NC: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Returns losses that fall with the logarithm of FLOPs, by layer, and noise."""
    factors = [Factor(f.name, f.scope, -np.log1p(f.values)) for f in space.cost_factors("flops")]
    sum_N = 0.01 * total(factors, rows_NC, space.columns)
    return np.asarray(3.0 + sum_N + noise * np.random.default_rng(len(rows_NC)).normal(size=len(rows_NC)))


def fitted(space: SearchSpace, count: int = 120, noise: float = 0.0, metric: Metric = LOSS) -> MetricFit:
    rows_NC = np.unique(space.sample_rows(np.random.default_rng(3), count), axis=0)
    return MetricFit.of(metric, space, rows_NC, metric.minimised(1.0) * losses(space, rows_NC, noise))


@pytest.fixture(scope="module")
def importance(small_space: SearchSpace) -> Importance:
    return importance_of("tiny", fitted(small_space), {}, np.random.default_rng(0))


def true_effects(space: SearchSpace, name: str) -> np.ndarray:
    """Returns the mean losses of many random networks with each option of an unconditional choice, around their mean."""
    rows_NC = space.sample_rows(np.random.default_rng(9), 20_000)
    loss_N, column = losses(space, rows_NC), space.columns[name]
    means = np.array([loss_N[rows_NC[:, column] == k].mean() for k in range(len(space.choice(name).options))])
    return means - means.mean()


def test_effects_are_those_of_the_losses_that_were_fitted(small_space: SearchSpace, importance: Importance) -> None:
    compared = 0
    for name, effects in importance.by_choice.items():
        if not small_space.choice(name).when:
            found = [effect.metric for effect in effects]
            assert found == pytest.approx(true_effects(small_space, name), abs=0.015), name
            compared += 1
    assert compared >= 4 and importance.explained > 0.9


def test_the_effects_of_a_choice_sum_to_nothing_and_the_widest_come_first(importance: Importance) -> None:
    widths = []
    for effects in importance.by_choice.values():
        assert sum(effect.metric for effect in effects) == pytest.approx(0, abs=1e-9)
        widths.append(np.ptp([effect.metric for effect in effects]))
    assert widths == sorted(widths, reverse=True) and widths[0] > 3 * widths[-1]


def test_deviations_cover_the_true_effects_and_shrink_with_more_networks(small_space: SearchSpace) -> None:
    few, many = (
        importance_of("tiny", fitted(small_space, count, noise=0.02), {}, np.random.default_rng(0))
        for count in (25, 250)
    )
    inside = []
    for name, effects in many.by_choice.items():
        if not small_space.choice(name).when:
            truth = true_effects(small_space, name)
            inside += [abs(e.metric - t) <= 2.5 * e.deviation for e, t in zip(effects, truth, strict=True)]
    assert np.mean(inside) >= 0.8
    assert np.mean([e.deviation for e in many.effects]) < np.mean([e.deviation for e in few.effects])


def test_a_metric_where_higher_is_better_has_effects_in_its_own_sign(
    small_space: SearchSpace, importance: Importance
) -> None:
    other = importance_of("tiny", fitted(small_space, metric=ACCURACY), {}, np.random.default_rng(0))
    first = {(e.choice, e.option): e.metric for e in importance.effects}
    assert other.highest
    for effect in other.effects:
        assert effect.metric == pytest.approx(-first[effect.choice, effect.option], abs=0.02)


def test_choices_that_switch_each_other_off_have_effects_too() -> None:
    space = hwnas.space("nasbench201", cells=1, width=4)
    rows_NC = np.unique(space.sample_rows(np.random.default_rng(0), 60), axis=0)
    fit = MetricFit.of(LOSS, space, rows_NC, losses(space, rows_NC))
    found = importance_of("cells", fit, {}, np.random.default_rng(0)).by_choice
    assert sorted(found) == sorted(choice.name for choice in space.choices)
    assert all(len(effects) == 5 for effects in found.values())


def test_losses_of_noise_alone_are_said_to_be_unexplained(small_space: SearchSpace) -> None:
    rows_NC = small_space.sample_rows(np.random.default_rng(3), 60)
    noise_N = np.random.default_rng(4).normal(size=60)
    fit = MetricFit.of(LOSS, small_space, rows_NC, noise_N)
    assert fit.explained < 0.2
    told = importance_of("tiny", fit, {}, np.random.default_rng(0))
    assert ("read no effect" in told.reliability) == (fit.explained <= 0)


def test_predictions_of_networks_left_out_are_those_of_fits_without_them(small_space: SearchSpace) -> None:
    fit = fitted(small_space, 40)
    for number in (0, 17):
        others = np.arange(len(fit.rows_NC)) != number
        without = MetricFit.of(LOSS, small_space, fit.rows_NC[others], fit.values_N[others])
        predicted = without.factors.predict(fit.rows_NC[number : number + 1])[0]
        assert fit.left_out[number] == pytest.approx(predicted, abs=0.1 * np.ptp(fit.values_N))


def test_networks_without_a_finite_metric_are_left_out_and_of_very_many_some_are_drawn(
    small_space: SearchSpace,
) -> None:
    rows_NC = small_space.sample_rows(np.random.default_rng(0), MOST + 10)
    loss_N = losses(small_space, rows_NC)
    loss_N[3] = np.nan
    assert len(MetricFit.of(LOSS, small_space, rows_NC[:30], loss_N[:30]).rows_NC) == 29
    assert len(MetricFit.of(LOSS, small_space, rows_NC, loss_N).rows_NC) == MOST


def test_the_table_has_every_option_as_json_and_the_picture_is_drawn(importance: Importance) -> None:
    rows = list(csv.DictReader(io.StringIO(importance.csv())))
    assert [(row["choice"], json.loads(row["option"])) for row in rows] == [
        (e.choice, e.option) for e in importance.effects
    ]
    assert [float(row["loss_deviation"]) for row in rows] == [e.deviation for e in importance.effects]
    figure = draw_importance(importance)
    assert len(figure.axes) == 1 and len(figure.axes[0].get_yticklabels()) >= 12


def test_the_share_of_the_hypervolume_never_falls_and_is_that_of_all_points_at_the_end() -> None:
    points_ND = np.random.default_rng(0).random((50, 2))
    scale, counts_E = Scale.of(points_ND, [True, False]), counts_up_to(50)
    shares_E = scale.shares(points_ND, counts_E)
    assert (np.diff(shares_E) >= 0).all() and counts_E[-1] == 50
    assert scale.reference_D == pytest.approx([np.median(points_ND[:, 0]), points_ND[:, 1].max()])
    box = np.prod(scale.reference_D - scale.best_D)
    assert shares_E[-1] == pytest.approx(hypervolume(points_ND, scale.reference_D) / box)


def test_random_search_is_predicted_from_the_evaluations_of_another_search(small_space: SearchSpace) -> None:
    """The fit sees networks of half of the latencies' range; the prediction is held against random networks' own losses."""
    rng = np.random.default_rng(1)
    flops = small_space.cost_factors("flops")

    def points(rows_NC: np.ndarray, loss_N: np.ndarray) -> np.ndarray:
        return np.stack([loss_N, total(flops, rows_NC, small_space.columns)], axis=1)

    known_NC = np.unique(small_space.spread_rows(rng, 120), axis=0)
    known_ND = points(known_NC, losses(small_space, known_NC, 0.01))
    fit = MetricFit.of(LOSS, small_space, known_NC, known_ND[:, 0])
    scale, counts_E = Scale.of(known_ND, [True, False]), np.array([10, 40, 80])
    pool_NC = np.unique(small_space.sample_rows(rng, 400), axis=0)
    predicted_RE = predicted_random(pool_NC, lambda rows, rng: points(rows, fit.drawn(rows, rng)), scale, counts_E, rng)
    real_RE = predicted_random(
        pool_NC, lambda rows, _: points(rows, losses(small_space, rows, 0.01)), scale, counts_E, rng
    )
    assert predicted_RE.mean(axis=0) == pytest.approx(real_RE.mean(axis=0), rel=0.2, abs=0.03)


def test_curves_are_drawn_with_the_reference_point_and_without_random_search_where_there_is_none(
    tmp_path: Path,
) -> None:
    shares = {"counts_E": np.array([1, 2]), "evaluated_E": np.array([0.1, 0.2])}
    plot = HypervolumePlot(title="tiny", reference="loss 1 (median)", random_RE=np.ones((3, 2)), note="", **shares)
    texts = [text.get_text() for text in draw_hypervolume(plot).axes[0].texts]
    assert texts == ["loss 1 (median)"]
    none = HypervolumePlot(title="tiny", reference="", random_RE=np.zeros((0, 2)), note="too few", **shares)
    lines = [[line.get_gid() for line in draw_hypervolume(each).axes[0].lines] for each in (plot, none)]
    assert lines == [["evaluated", "random"], ["evaluated"]]
    save_figure(draw_hypervolume(none), tmp_path / "hypervolume.png")
    assert (tmp_path / "hypervolume.png").read_bytes().startswith(b"\x89PNG")
