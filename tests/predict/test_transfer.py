"""Laws of transfer: known devices save measurements of a new one, whatever their units, names and order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import hwnas
from hwnas.benchmarks.columns import read_columns
from hwnas.benchmarks.published import TABLES, published_rows, published_space
from hwnas.core.factors import Factor, total
from hwnas.core.space import SearchSpace
from hwnas.errors import DataError, PredictorError, UnknownNameError
from hwnas.predict.additive import fit_additive
from hwnas.predict.features import space_basis
from hwnas.predict.transfer import KnownDevices, features_of_rows, transfer_ms

ROWS = 400
NOISE = 0.02
# Devices by their number: these are known, those are new.
KNOWN = range(5)
NEW = range(20, 26)
FEW = 10

Device = Callable[[int], np.ndarray]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("fbnet", resolution=32, width=0.25)


@pytest.fixture(scope="module")
def rows(space: SearchSpace) -> np.ndarray:
    return space.sample_rows(np.random.default_rng(0), ROWS)


def kind_ms(space: SearchSpace, rows: np.ndarray, seed: int) -> np.ndarray:
    """What rows take on a kind of device: anything of any option at any place; shape (N,)."""
    rng = np.random.default_rng(seed)
    factors = []
    for layer in (each for each in space.layers if each.scope):
        sizes = [len(space.choice(name).options) for name in layer.scope]
        factors.append(Factor(layer.name, layer.scope, rng.lognormal(0, 0.7, sizes)))
    return total(factors, rows, space.columns)


@pytest.fixture(scope="module")
def device(space: SearchSpace, rows: np.ndarray) -> Device:
    """What a device took for the rows: a mixture of three kinds, faster or slower, with noise."""
    of_kinds_ms = np.array([kind_ms(space, rows, seed) for seed in range(3)])

    def measure(number: int) -> np.ndarray:
        rng = np.random.default_rng(100 + number)
        return rng.uniform(1, 50) * (rng.dirichlet([0.7, 0.7, 0.7]) @ of_kinds_ms) * rng.lognormal(0, NOISE, ROWS)

    return measure


@pytest.fixture(scope="module")
def sources(device: Device) -> dict[str, np.ndarray]:
    return {f"device{number}": device(number) for number in KNOWN}


@pytest.fixture(scope="module")
def known(space: SearchSpace, rows: np.ndarray, sources: dict[str, np.ndarray]) -> KnownDevices:
    return KnownDevices(space, rows, sources)


def some(seed: int, count: int = FEW) -> np.ndarray:
    """Rows that are measured."""
    return np.random.default_rng(seed).choice(ROWS, count, replace=False)


def error(predicted_ms: np.ndarray, measured_ms: np.ndarray, index: np.ndarray) -> float:
    """Mean relative error on the rows that were not measured."""
    return float(np.abs(np.delete(predicted_ms / measured_ms - 1, index)).mean())


@pytest.fixture(scope="module")
def errors(known: KnownDevices, device: Device) -> np.ndarray:
    """Of every new device."""
    return np.array([error(known.predict_ms(some(n), device(n)[some(n)]), device(n), some(n)) for n in NEW])


@pytest.fixture(scope="module")
def errors_alone(space: SearchSpace, rows: np.ndarray, device: Device) -> np.ndarray:
    """Of every new device, of a model that knows no other."""
    alone = []
    for number in NEW:
        measured_ms = device(number)[some(number)]
        basis = space_basis(space, {}, float(np.median(measured_ms)))
        predicted_ms = fit_additive(basis, space.columns, rows[some(number)], measured_ms).predict(rows)
        alone.append(error(predicted_ms, device(number), some(number)))
    return np.array(alone)


# ---- known devices save measurements


def test_ten_measurements_and_known_devices_predict_better_than_ten_measurements(errors, errors_alone) -> None:
    assert errors.mean() < 0.4 * errors_alone.mean()
    assert (errors < errors_alone).all()


def test_ten_measurements_and_known_devices_predict_better_than_the_devices_mean(errors, sources, device) -> None:
    mean = np.mean([ms / np.median(ms) for ms in sources.values()], axis=0)
    scaled = [mean * np.median(device(n)[some(n)] / mean[some(n)]) for n in NEW]
    assert errors.mean() < 0.7 * np.mean([error(ms, device(n), some(n)) for ms, n in zip(scaled, NEW, strict=True)])


def test_more_measurements_leave_less_error_down_to_the_noise(known, device) -> None:
    few, more, many = (
        np.mean([error(known.predict_ms(some(n, m), device(n)[some(n, m)]), device(n), some(n, m)) for n in NEW])
        for m in (5, 20, 100)
    )
    assert few > more > many
    assert many < 1.5 * NOISE


def test_more_known_devices_leave_less_error(space, rows, sources, device, errors) -> None:
    one = KnownDevices(space, rows, {"device0": sources["device0"]})
    of_one = [error(one.predict_ms(some(n), device(n)[some(n)]), device(n), some(n)) for n in NEW]
    assert errors.mean() < 0.7 * np.mean(of_one)


def test_one_known_device_and_one_measurement_predict_a_device_like_it(space, rows, sources) -> None:
    twice_ms = 2.0 * sources["device0"]
    predicted_ms = transfer_ms(space, rows, {"device0": sources["device0"]}, np.array([3]), twice_ms[[3]])
    assert error(predicted_ms, twice_ms, np.array([3])) < 4 * NOISE


def test_a_device_unlike_all_others_is_predicted_by_many_measurements(known, space, rows) -> None:
    strange_ms = kind_ms(space, rows, seed=7)
    spread = np.abs(strange_ms / np.median(strange_ms) - 1).mean()
    left = error(known.predict_ms(some(0, 300), strange_ms[some(0, 300)]), strange_ms, some(0, 300))
    assert left < 0.2 * spread


# ---- what makes no difference


def test_predicting_with_known_devices_is_transfer(space, rows, sources, known, device) -> None:
    index, measured_ms = some(20), device(20)[some(20)]
    assert np.array_equal(transfer_ms(space, rows, sources, index, measured_ms), known.predict_ms(index, measured_ms))


def test_predicting_one_device_makes_no_difference_to_the_next(known, device) -> None:
    before = known.predict_ms(some(20), device(20)[some(20)])
    known.predict_ms(some(21), device(21)[some(21)])
    assert np.array_equal(known.predict_ms(some(20), device(20)[some(20)]), before)


def test_the_unit_of_time_of_the_new_device_makes_no_difference(known, device) -> None:
    in_ms, in_us = (unit * device(20)[some(20)] for unit in (1.0, 1e3))
    assert known.predict_ms(some(20), in_us) / 1e3 == pytest.approx(known.predict_ms(some(20), in_ms), rel=1e-4)


def test_how_fast_known_devices_are_makes_no_difference(space, rows, sources, known, device) -> None:
    faster = {name: 10.0 ** (number - 2) * ms for number, (name, ms) in enumerate(sources.items())}
    index, measured_ms = some(20), device(20)[some(20)]
    expected = known.predict_ms(index, measured_ms)
    assert transfer_ms(space, rows, faster, index, measured_ms) == pytest.approx(expected, rel=1e-4)


def test_the_order_of_known_devices_makes_no_difference(space, rows, sources, known, device) -> None:
    index, measured_ms = some(20), device(20)[some(20)]
    backwards = transfer_ms(space, rows, dict(reversed(sources.items())), index, measured_ms)
    assert backwards == pytest.approx(known.predict_ms(index, measured_ms), rel=1e-4)


def test_the_names_of_known_devices_make_no_difference(space, rows, sources, known, device) -> None:
    index, measured_ms = some(20), device(20)[some(20)]
    unnamed = transfer_ms(space, rows, np.array(list(sources.values())), index, measured_ms)
    columns = transfer_ms(space, rows, np.array(list(sources.values())).T, index, measured_ms)
    assert np.array_equal(columns, unnamed)
    assert np.array_equal(unnamed, known.predict_ms(index, measured_ms))


def test_the_order_of_measurements_makes_no_difference(known, device) -> None:
    index, measured_ms = some(20), device(20)[some(20)]
    again = known.predict_ms(index[::-1], measured_ms[::-1])
    assert again == pytest.approx(known.predict_ms(index, measured_ms), rel=1e-4)


def test_known_devices_may_lack_rows_each_others(space, rows, sources, device, errors_alone) -> None:
    lacking = {name: ms.copy() for name, ms in sources.items()}
    for seed, ms in enumerate(lacking.values()):
        ms[some(seed, ROWS // 2)] = np.nan
    half_known = KnownDevices(space, rows, lacking)
    found = [error(half_known.predict_ms(some(n), device(n)[some(n)]), device(n), some(n)) for n in NEW]
    assert np.mean(found) < 0.5 * errors_alone.mean()


def test_rows_that_no_device_knows_are_predicted(space, rows, sources, device) -> None:
    unknown = np.arange(ROWS) >= 3 * ROWS // 4
    lacking = KnownDevices(space, rows, {name: np.where(unknown, np.nan, ms) for name, ms in sources.items()})
    index = some(20)[~unknown[some(20)]]
    predicted_ms = lacking.predict_ms(index, device(20)[index])
    assert np.abs(predicted_ms / device(20) - 1)[unknown].mean() < 4 * NOISE


# ---- networks as written and as normalised


def test_where_nothing_is_switched_off_features_are_those_of_the_space(space, rows) -> None:
    design_NP, group_P = features_of_rows(space, rows)
    basis = space_basis(space, {}, 1.0)
    assert np.array_equal(design_NP.toarray(), basis.design(rows, space.columns).toarray())
    assert np.array_equal(group_P, basis.group_P)


def test_edges_that_lead_nowhere_count_for_devices_that_timed_them() -> None:
    cells = hwnas.space("nasbench201", width=4, cells=1)
    sizes = [len(choice.options) for choice in cells.choices]
    rows = np.random.default_rng(0).integers(0, sizes, size=(ROWS, len(sizes)))
    as_written, as_normalised = (kind_ms(cells, each, seed=0) for each in (rows, cells.normalise(rows)))
    assert np.abs(as_written / as_normalised - 1).max() > 0.2
    for of_new_ms, of_other_ms in ((as_written, as_normalised), (as_normalised, as_written)):
        index = some(0, 100)
        predicted_ms = transfer_ms(cells, rows, [of_other_ms], index, of_new_ms[index])
        spread = np.abs(of_new_ms / np.median(of_new_ms) - 1).mean()
        assert error(predicted_ms, of_new_ms, index) < 0.1 * spread


# ---- named tables


def as_written(name: str, count: int) -> np.ndarray:
    """Rows as the file of a table writes them."""
    rng = np.random.default_rng(0)
    if name == "ofa":
        columns = [[3, 5, 7]] * 20 + [[3, 4, 6]] * 20 + [[2, 3, 4]] * 5 + [range(128, 225, 4)]
    else:
        columns = {"nasbench201": [range(5)] * 6, "fbnet": [range(9)] * 22}[name]
    return np.stack([rng.choice(options, count) for options in columns], axis=1)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_named_instead_of_its_space_and_its_rows_are_as_written(name) -> None:
    rows, index = as_written(name, 40), np.arange(10)
    source_ms = np.random.default_rng(1).lognormal(0, 0.1, size=(2, 40))
    named = transfer_ms(name, rows, source_ms, index, source_ms[0, index])
    indices = published_rows(name, rows)
    assert np.array_equal(named, transfer_ms(published_space(name), indices, source_ms, index, source_ms[0, index]))


# ---- what cannot be

SOURCE_MS = np.ones((2, 6))


def said(
    kind: type[Exception], space=None, rows=None, source_ms=SOURCE_MS, index=(0, 1), measured_ms=(1.0, 2.0)
) -> str:
    """The one line of the error."""
    if space is None:
        space = hwnas.space("fbnet", resolution=32, width=0.25)
    rows = np.zeros((6, 22), dtype=int) if rows is None else rows
    with pytest.raises(kind) as raised:
        transfer_ms(space, np.asarray(rows), source_ms, np.asarray(index), np.asarray(measured_ms))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("shape", [(6,), (6, 21), (6, 23), (6, 22, 1)])
def test_rows_of_another_shape_are_refused(shape) -> None:
    assert f"rows have shape {shape}; fbnet has 22 choices" in said(PredictorError, rows=np.zeros(shape, dtype=int))


@pytest.mark.parametrize("wrong", [-1, 9, 0.5, np.nan, np.inf])
def test_rows_of_no_option_are_refused(wrong) -> None:
    rows = np.zeros((6, 22))
    rows[3, 5] = wrong
    assert said(PredictorError, rows=rows) == "rows hold numbers that are no option indices of fbnet"


@pytest.mark.parametrize("source_ms", [{}, np.ones((0, 6))])
def test_no_known_device_is_refused(source_ms) -> None:
    assert said(PredictorError, source_ms=source_ms) == (
        "no device is known; `hwnas fit` predicts one from measurements of its own"
    )


@pytest.mark.parametrize(
    "wrong_ms",
    [
        pytest.param(np.ones(5), id="too few"),
        pytest.param(np.ones((6, 1)), id="two axes"),
        pytest.param(np.array([1, 1, 1, 0, 1, 1.0]), id="nothing takes 0 ms"),
        pytest.param(np.array([1, 1, 1, -1, 1, 1.0]), id="nor less"),
        pytest.param(np.full(6, np.nan), id="nothing is known"),
        pytest.param(np.array([1.0, *[np.nan] * 5]), id="one row is known"),
    ],
)
def test_a_known_device_with_impossible_latencies_is_named(wrong_ms) -> None:
    assert said(PredictorError, source_ms={"phone": np.ones(6), "chip": wrong_ms}) == (
        f"known device chip: latencies of shape {wrong_ms.shape} for 6 rows; give one for each row, above 0, or NaN where it "
        f"is not known, and two at least"
    )


@pytest.mark.parametrize(
    ("index", "measured_ms"), [([0, 1], [1.0]), ([0], [1.0, 2.0]), ([], []), ([[0, 1]], [[1.0, 1.0]])]
)
def test_measurements_that_are_not_one_for_each_row_are_refused(index, measured_ms) -> None:
    message = said(PredictorError, index=index, measured_ms=measured_ms)
    assert message == (
        f"measured rows have shape {np.shape(index)}, their latencies {np.shape(measured_ms)}; give one for each"
    )


@pytest.mark.parametrize(
    ("index", "measured_ms"),
    [
        ([0, 6], [1.0, 1.0]),
        ([0, -1], [1.0, 1.0]),
        ([0.0, 0.5], [1.0, 1.0]),
        ([True, False], [1.0, 1.0]),
        ([0, 1], [1.0, 0.0]),
        ([0, 1], [1.0, -1.0]),
        ([0, 1], [1.0, np.nan]),
        ([0, 1], [1.0, np.inf]),
    ],
)
def test_measurements_of_no_row_or_impossible_ones_are_refused(index, measured_ms) -> None:
    message = said(PredictorError, index=index, measured_ms=measured_ms)
    assert message == "measured rows are numbers from 0 to 5, with latencies above 0 ms"


def test_a_table_that_there_is_not_is_answered_with_those_there_are() -> None:
    assert said(UnknownNameError, space="resnet") == (
        "unknown table of latencies 'resnet'; known: fbnet, nasbench201, ofa"
    )


def test_rows_that_a_table_cannot_have_are_refused() -> None:
    rows = as_written("ofa", 6)
    assert "rows of ofa have 46 columns (kernel0, " in said(DataError, space="ofa", rows=rows[:, :45])
    rows[2, 0] = 4
    assert "column 'kernel0' holds 4, not one of [3, 5, 7]" in said(DataError, space="ofa", rows=rows)


# ---- the devices of HELP (Lee et al. 2021): which were known, rows they were measured on, and its rank correlation

HELP_SOURCES = (
    *("1080ti_1", "1080ti_32", "1080ti_64", "1080ti_256", "silver_4114", "silver_4210r"),
    *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
)
# What the columns of options begin with.
OPTIONS = ("edge", "layer", "kernel", "expand", "depth", "resolution")
HELP_SPEARMAN = {"nasbench201": 0.932, "fbnet": 0.910}
HELP_SAMPLES = {"nasbench201": 900, "fbnet": 4000}
HELP_TARGETS = {
    "nasbench201": ("titanx_1", "titanx_32", "titanx_256", "gold_6240"),
    "fbnet": ("titanx_1", "titanx_32", "titanx_64", "gold_6240"),
}


@pytest.mark.parametrize("name", HELP_SPEARMAN)
def test_ten_measurements_order_networks_better_than_help_did(bench_data: Path, name: str) -> None:
    table, count = TABLES[name](bench_data), HELP_SAMPLES[name]
    unseen = np.arange(len(table.rows_NC)) >= count
    sources = {
        device: np.where(unseen, np.nan, ms) for device, ms in table.latency_ms.items() if device in HELP_SOURCES
    }
    assert len(sources) == 9
    known = KnownDevices(table.space, table.rows_NC, sources)
    found = []
    for target in HELP_TARGETS[name]:
        for seed in range(3):
            index = np.random.default_rng(seed).choice(count, FEW, replace=False)
            predicted_ms = known.predict_ms(index, table.latency_ms[target][index])
            found.append(spearmanr(predicted_ms[unseen], table.latency_ms[target][unseen]).statistic)
    assert np.mean(found) > HELP_SPEARMAN[name]


@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "ofa"])
def test_rows_of_a_published_file_are_those_of_its_table(bench_data: Path, name: str) -> None:
    (path,) = bench_data.glob(f"{name}*.parquet")
    columns = {column: values for column, values in read_columns(path).items() if column.startswith(OPTIONS)}
    rows = np.stack(list(columns.values()), axis=1)
    assert np.array_equal(published_rows(name, rows), TABLES[name](bench_data).rows_NC)
