"""Searches whose strategy reads costs that are neither objectives nor limits."""

from pathlib import Path
from typing import Any

import pytest

from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, TrustError, UnknownNameError
from hwnas.pipeline.checked import checked_request
from hwnas.pipeline.costs import made_costs
from hwnas.pipeline.request import search_request, stored_request
from hwnas.pipeline.search import resume, search

QUICK: dict[str, Any] = {"limit_images": 128, "epochs": 1, "evaluations": 8, "final": "none", "strategy": "robot"}


def test_robot_ranks_networks_by_scores_that_are_no_objectives(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path
) -> None:
    options = QUICK | {"predictor": (str(small_predictor),), "pool": 12, "weightings": 2, "scores": "snip,params"}
    result = search(small_space, "digits", out=tmp_path / "run", **options)
    assert result.front
    assert result.run.read()["goal"]["objectives"] == ["loss", "latency"]
    assert resume(result.run.path, Silent(), {}).front == result.front


@pytest.mark.parametrize("scores", ["loss", "snip,beauty"])
def test_a_score_that_is_no_cost_is_refused_before_a_folder_is_made(
    small_space: SearchSpace, small_predictor: Path, tmp_path: Path, scores: str
) -> None:
    options = QUICK | {"predictor": (str(small_predictor),), "scores": scores}
    with pytest.raises(UnknownNameError, match=f"unknown cost '{scores.split(',')[-1]}'; known: FILE.py:NAME, energy"):
        search(small_space, "digits", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_score_that_the_networks_cannot_have_is_refused_with_the_costs_before_training() -> None:
    small = {"resolution": 8, "embeddings": (8, 12), "depths": (1, 2), "heads": (1, 3), "ratios": (1, 1.5)}
    options = {"strategy": "robot", "space": "vit", "space_options": small, "data": "digits", "limit_images": 128}
    request = search_request(options | {"scores": "naswot,params", "objectives": "loss,params"})
    with pytest.raises(HwnasError, match="'naswot' needs ReLUs, and the network has none; use 'jacobian'"):
        made_costs(checked_request(request, request.space.load()), {})


def test_a_stored_score_of_a_file_that_is_not_trusted_is_not_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("raise SystemExit\n")
    request = search_request({"strategy": "robot", "scores": f"params,{file}:make"})
    with pytest.raises(TrustError, match="not on your trust list"):
        stored_request({"request": request.describe()}, tmp_path / "run.json")
