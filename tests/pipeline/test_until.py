"""Laws of measuring until an error is expected: it stops when that is so, or when all that is allowed is measured."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.until import FIRST, profile_until
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import ProfileSummary, Profiling, Workload, operator_workloads
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.table import read_table
from hwnas.spaces import load_space
from hwnas.testing.notes import Notes

QUICK = Protocol(rounds=3, most_rounds=3, burst_ms=0.5, warmup_ms=0.5, unconverged=10.0)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    """A space of 16 operators: what these tests measure are networks."""
    return load_space("nasbench201", {"resolution": 8, "width": 8, "cells": 1})


def measured(
    space: SearchSpace, path: Path, error: float, most: int, operators: Sequence[Workload] | None = None
) -> tuple[ProfileSummary, Notes]:
    notes = Notes()
    profiling = Profiling(space=space, conditions=conditions_here("cpu"), path=path, protocol=QUICK, reporter=notes)
    works = operator_workloads(space) if operators is None else operators
    return profile_until(profiling, works, error=error, most=most), notes


def networks(path: Path) -> list[str]:
    return [row["key"] for row in read_table(path).rows if row["kind"] == "network" and not row.get("repeat")]


def test_an_error_that_is_easy_needs_the_first_networks_only(space: SearchSpace, tmp_path: Path) -> None:
    _, notes = measured(space, tmp_path / "t.jsonl", error=0.99, most=60)
    assert len(networks(tmp_path / "t.jsonl")) == FIRST
    assert sum("is expected" in note for note in notes.texts) == 1


def test_an_error_that_cannot_be_reached_ends_at_the_most(space: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    _, notes = measured(space, path, error=1e-6, most=20)
    assert len(networks(path)) == len(set(networks(path))) == 20
    assert "more than 0.0%" in notes.texts[-1]
    assert fit_table(path, allow_unconverged=True).report["networks"] == 20


def test_asked_again_it_goes_on_from_what_is_measured(space: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    measured(space, path, error=1e-6, most=14)
    before = networks(path)
    measured(space, path, error=1e-6, most=18)
    assert networks(path)[: len(before)] == before
    assert len(networks(path)) == 18


def test_operators_may_be_left_out(space: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    measured(space, path, error=0.99, most=60, operators=())
    assert not [row for row in read_table(path).rows if row["kind"] == "operator"]
    assert "isolated_sum" not in fit_table(path, allow_unconverged=True).report["baselines"]
