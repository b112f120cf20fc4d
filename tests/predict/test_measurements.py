"""Tests of the messages for measurements that do not suffice."""

import numpy as np
import pytest

from hwnas.errors import MissingMeasurementError, PredictorError, TableError
from hwnas.predict.measurements import FEWEST_NETWORKS, Measurements


def measurements(networks: int = FEWEST_NETWORKS, **isolated: float) -> Measurements:
    rows = np.zeros((networks, 3), dtype=int)
    return Measurements(isolated=isolated, rows_NC=rows, networks_N=np.ones(networks))


def test_enough_is_enough() -> None:
    measurements(a=1.0, b=2.0, more=3.0).require({"a": None, "b": None}, 100, "table.jsonl")
    measurements(3, a=1.0).require({"a": None}, 3, "all three networks of a small space")


def test_missing_operators_are_counted_and_one_is_named() -> None:
    message = (
        r"^table\.jsonl: 2 of 3 operators are not measured, b for one; "
        r"run `hwnas profile --out table\.jsonl` again$"
    )
    with pytest.raises(MissingMeasurementError, match=message) as raised:
        measurements(a=1.0).require({"c": None, "a": None, "b": None}, 100, "table.jsonl")
    assert isinstance(raised.value, TableError)


def test_networks_alone_are_enough_where_no_operator_was_measured() -> None:
    measurements().require({"a": None, "b": None}, 100, "table.jsonl")


def test_too_few_networks_are_counted() -> None:
    message = (
        rf"^table\.jsonl: {FEWEST_NETWORKS - 1} whole networks are measured, a fit needs {FEWEST_NETWORKS}; "
        r"run `hwnas profile --networks 60 --out table\.jsonl`$"
    )
    with pytest.raises(PredictorError, match=message):
        measurements(FEWEST_NETWORKS - 1, a=1.0).require({"a": None}, 100, "table.jsonl")
