"""Fixtures of searches: a shipped device that is not this one."""

from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import FOLDERS, predictor_path


@pytest.fixture
def board(small_predictor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LatencyPredictor:
    """A shipped device twice as slow as this one."""
    here = LatencyPredictor.load(small_predictor)
    slower = tuple(replace(factor, values=2 * factor.values) for factor in here.additive)
    board = replace(here, additive=slower, booster=None, conditions={**here.conditions, "hardware": "a board"})
    path = predictor_path(tmp_path / "devices", "board", "mobilenet")
    path.parent.mkdir(parents=True)
    board.save(path)
    monkeypatch.setenv(FOLDERS, str(tmp_path / "devices"))
    return board
