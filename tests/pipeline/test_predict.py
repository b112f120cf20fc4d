"""Laws between table and budget: rows become measurements, and a budget is proven to be one that can be met."""

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.choice import Choice
from hwnas.core.factors import Factor
from hwnas.core.layer import Layer, Options
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.errors import ArchError, MissingMeasurementError, PredictorError, SpaceError, TableError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.pipeline.predict import fit_table, measurements, usable_predictor, usable_table
from hwnas.pipeline.predictions import predictions
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.store import TableWriter
from hwnas.profiler.table import Table
from hwnas.spaces import load_space

CONDITIONS = {"device": "cpu", "threads": 1}


def fixed(operator: Operator, _: Options) -> Operator:
    return operator


def block(number: int, options: Options) -> Operator:
    kernel, expansion = (int(options[f"block{number}.{name}"]) for name in ("kernel", "expansion"))
    return MBConv(input_shape=(4, 4, 4), channels=4, kernel=kernel, expansion=expansion, shortcut=number > 1)


@cache
def tiny() -> SearchSpace:
    """Stem, two blocks of two kernels and two expansions each, head: 16 architectures."""
    choices, layers = [], [Layer("stem", (), partial(fixed, ConvBlock(input_shape=(3, 8, 8), channels=4, stride=2)))]
    for number in (1, 2):
        own = (Choice(f"block{number}.kernel", (3, 5)), Choice(f"block{number}.expansion", (2, 3)))
        layers.append(Layer(f"block{number}", tuple(choice.name for choice in own), partial(block, number)))
        choices += own
    head = PoolClassifier(input_shape=(4, 4, 4), features=8, classes=3)
    layers.append(Layer("head", (), partial(fixed, head)))
    return SearchSpace("tiny", tuple(choices), Chain(tuple(layers)), (3, 8, 8), 3)


@cache
def archs(space: SearchSpace | None = None) -> tuple[Arch, ...]:
    space = space or tiny()
    indices = itertools.product(*[range(len(choice.options)) for choice in space.choices])
    return tuple(dict.fromkeys(space.decode(row) for row in indices))


def row(kind: str, key: str, p10_ms: float, **changes: Any) -> dict[str, Any]:
    times = {"p10_ms": p10_ms, "median_ms": 1.1 * p10_ms, "p90_ms": 1.5 * p10_ms, "reference_ms": 1.0}
    times |= {"half_width": 0.01, "converged": True}
    return {"kind": kind, "key": key, **times} | changes


def network_row(number: int, p10_ms: float, **changes: Any) -> dict[str, Any]:
    return row("network", archs()[number].key, p10_ms, **changes)


def table_of(rows: Sequence[Mapping[str, Any]], space: SearchSpace | None = None) -> Table:
    return Table(
        path=Path("t"), conditions=CONDITIONS, space=(space or tiny()).describe(), provenance={}, rows=tuple(rows)
    )


# ---- rows become measurements


@given(clocks=st.lists(st.floats(0.5, 2), min_size=3, max_size=8), data=st.data())
@settings(max_examples=40, deadline=None)
def test_rows_of_sessions_with_other_clocks_are_brought_to_the_median_clock(
    clocks: list[float], data: st.DataObject
) -> None:
    true_ms = data.draw(st.lists(st.floats(0.1, 9), min_size=len(clocks), max_size=len(clocks)))
    rows = [
        kind(number, ms * clock, reference_ms=3.0 * clock)
        for number, (ms, clock) in enumerate(zip(true_ms, clocks, strict=True))
        for kind in (network_row, lambda number, *args, **kwargs: row("operator", f"op{number}", *args, **kwargs))
    ]
    found = measurements(table_of(rows), tiny())
    assert found.reference == pytest.approx(3.0 * np.median(clocks))
    expected_ms = np.array(true_ms) * np.median(clocks)
    assert found.networks_N == pytest.approx(expected_ms)
    assert found.isolated == pytest.approx({f"op{i}": ms for i, ms in enumerate(expected_ms)})


def test_networks_become_rows_of_the_space_in_the_order_of_the_table() -> None:
    found = measurements(table_of([network_row(number, 1.0 + number) for number in (5, 0, 3)]), tiny())
    assert np.array_equal(found.rows_NC, tiny().encode([archs()[number] for number in (5, 0, 3)]))
    assert found.networks_N.tolist() == [6.0, 1.0, 4.0]


def test_repeats_are_averaged_and_their_difference_is_the_noise() -> None:
    rows = [network_row(0, 1.0), network_row(1, 2.0), network_row(0, 1.1, repeat=1), network_row(1, 1.6, repeat=1)]
    found = measurements(table_of([*rows, network_row(2, 5.0)]), tiny())
    assert found.networks_N == pytest.approx([1.05, 1.8, 5.0])
    assert found.repeat_noise == pytest.approx(np.mean([0.1, 0.25]))


def test_noise_is_told_after_drift_is_cancelled() -> None:
    found = measurements(table_of([network_row(0, 1.0), network_row(0, 2.0, repeat=1, reference_ms=2.0)]), tiny())
    assert found.repeat_noise == pytest.approx(0.0)


def test_without_repeats_the_noise_is_not_known() -> None:
    assert measurements(table_of([network_row(0, 1.0), network_row(1, 2.0)]), tiny()).repeat_noise is None


def test_other_statistics_are_those_of_every_network() -> None:
    rows = [network_row(n, 2.0, median_ms=2.0 * (1 + 0.1 * n), p90_ms=2.0 * (1 + n)) for n in range(5)]
    found = measurements(table_of([*rows, row("operator", "conv", 1.0, median_ms=50.0, p90_ms=60.0)]), tiny())
    assert found.other["median"] == pytest.approx([2.0, 2.2, 2.4, 2.6, 2.8])
    assert found.other["p90"] == pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0])


def test_the_reference_of_another_space_is_no_reference() -> None:
    """It was that space's largest network."""
    rows = [network_row(0, 1.0)]
    assert measurements(table_of(rows), tiny()).reference == 1.0
    assert measurements(table_of(rows, hwnas.space("mobilenet")), tiny()).reference is None


def test_a_table_without_rows_is_measurements_of_nothing() -> None:
    found = measurements(table_of([]), tiny())
    assert found.isolated == {} and found.rows_NC.shape == (0, 4) and found.reference is None


def test_networks_that_are_not_of_the_space_are_left_out() -> None:
    (own,) = table_of([network_row(0, 1.0)]).rows
    strange = [row("network", '{"depth":3}', 1.0), {**network_row(1, 2.0), "operators": "those of another network"}]
    assert measurements(table_of([own, *strange]), tiny()).networks_N.tolist() == [1.0]


# ---- tables and predictors that can be used


def additive_predictor(space: SearchSpace, upper: float = 1.0, median: float = 1.0) -> LatencyPredictor:
    """Per choice, 1 ms and 0.5 ms for every step of its option; the first block's in the other direction."""
    factors = [Factor("base", (), np.array(1.0))]
    for number, choice in enumerate(space.choices):
        steps = np.arange(len(choice.options)) * (0.5 + 0.1 * number)
        factors.append(Factor(choice.name, (choice.name,), steps[::-1] if number == 0 else steps))
    return LatencyPredictor(
        choices=space.choices,
        additive=tuple(factors),
        interval=(0.9, upper),
        statistics={"p10": 1.0, "median": median, "p90": 2.0},
        report={"held_out": {"mape": 0.01}},
        conditions=CONDITIONS,
        space=space.describe(),
    )


def write_table(path: Path, space: SearchSpace, rows: Sequence[Mapping[str, Any]]) -> None:
    with TableWriter(path, CONDITIONS, space.describe()) as table:
        table.append(rows)


def test_a_table_of_these_conditions_and_this_space_is_used_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "t"
    rows = [network_row(number, 1.0 + number) for number in range(len(archs()))]
    rows += [row("operator", key, 1.0) for key in tiny().operators()]
    write_table(path, tiny(), rows)
    assert usable_table(path, tiny(), CONDITIONS).rows == tuple(rows)
    with pytest.raises(TableError, match=r"other conditions: threads 1 \(here 2\)"):
        usable_table(path, tiny(), CONDITIONS | {"threads": 2})
    with pytest.raises(TableError, match="201 of 201 operators are not measured"):
        usable_table(path, hwnas.space("mobilenet"), CONDITIONS)


def test_a_predictor_of_these_conditions_and_this_space_is_used_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    additive_predictor(tiny()).save(path)
    rows = tiny().encode(archs())
    found = usable_predictor(path, tiny(), CONDITIONS)
    np.testing.assert_array_equal(found.predict_ms(rows), additive_predictor(tiny()).predict_ms(rows))
    with pytest.raises(PredictorError, match=r"fitted under other conditions: threads 1 \(here 2\); profile and fit"):
        usable_predictor(path, tiny(), CONDITIONS | {"threads": 2})
    with pytest.raises(PredictorError, match="knows nothing of"):
        usable_predictor(path, hwnas.space("mobilenet"), CONDITIONS)


def built_in() -> SearchSpace:
    return load_space("mobilenet", {"resolution": 16, "width": 0.25})


def test_a_table_of_additive_times_is_fitted_to_a_predictor_that_is_right(tmp_path: Path) -> None:
    path = tmp_path / "t"
    space = built_in()
    operator_ms = {key: operator.cost().flops / 1e7 for key, operator in space.operators().items()}
    rows_NC = space.sample_rows(np.random.default_rng(0), 40)
    sampled = dict.fromkeys(space.decode(row) for row in rows_NC)
    networks = [row("network", arch.key, 0.01 + space.cost("flops", arch) / 1e7) for arch in sampled]
    write_table(path, space, [row("operator", key, ms) for key, ms in operator_ms.items()] + networks)
    predictor = fit_table(path)
    assert predictor.report["held_out"]["mape"] < 0.01
    assert (predictor.conditions, predictor.space) == (CONDITIONS, space.describe())
    assert predictor.statistics == pytest.approx({"p10": 1.0, "median": 1.1, "p90": 1.5})


def test_a_table_that_lacks_operators_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "t"
    first, *others = built_in().operators()
    write_table(path, built_in(), [row("operator", first, 1.0)])
    message = rf"{path}: {len(others)} of {len(others) + 1} operators are not measured"
    with pytest.raises(MissingMeasurementError, match=message):
        fit_table(path)


def test_a_table_without_rows_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_table(path, built_in(), [])
    with pytest.raises(PredictorError, match=rf"^{path}: 0 whole networks are measured, a fit needs 8; run `hwnas"):
        fit_table(path)


def test_a_table_of_networks_alone_is_fitted(tmp_path: Path) -> None:
    path = tmp_path / "t"
    space = built_in()
    sampled = dict.fromkeys(space.decode(row) for row in space.sample_rows(np.random.default_rng(0), 60))
    write_table(path, space, [row("network", arch.key, 0.01 + space.cost("flops", arch) / 1e7) for arch in sampled])
    report = fit_table(path).report
    assert report["held_out"]["mape"] < 0.02
    assert list(report["baselines"]) == ["flops"]


def test_a_table_of_a_space_that_has_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with TableWriter(path, CONDITIONS, built_in().describe() | {"fingerprint": "f" * 16}):
        pass
    with pytest.raises(SpaceError, match="has changed since this file was made"):
        fit_table(path)


# ---- predictions of architectures given as text


def test_predictions_are_the_predictors_with_their_interval_and_breakdown() -> None:
    space = built_in()
    predictor = additive_predictor(space, upper=1.2)
    sampled = [space.sample(np.random.default_rng(seed)) for seed in range(5)]
    lines = [json.dumps(dict(arch)) for arch in sampled]
    for arch, found in zip(sampled, predictions(predictor, [lines[0], "", " \n", *lines[1:]]), strict=True):
        (expected_ms,) = predictor.predict_ms(space.encode([arch]))
        assert (found["arch_id"], found["predicted_ms"]) == (arch.id, pytest.approx(expected_ms))
        assert found["interval_ms"] == pytest.approx([0.9 * expected_ms, 1.2 * expected_ms])
        assert sum(found["layers_ms"].values()) == pytest.approx(expected_ms)


@pytest.mark.parametrize("line", ["{", "[]", "3", "null", '""', '{"kernel": 3}', "{}", '[{"a": 1}]', "true"])
def test_a_line_that_is_no_architecture_is_named_by_its_number(line: str) -> None:
    good = json.dumps(dict(built_in().smallest()))
    lines = predictions(additive_predictor(built_in()), [good, line])
    next(lines)
    with pytest.raises(ArchError, match=r"^architecture 2: ."):
        next(lines)
