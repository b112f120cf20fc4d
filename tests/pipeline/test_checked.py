"""A request is tried before anything long begins: every method of a task of one's own, and the data of another's supernet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.errors import DataError, RunError, TaskError
from hwnas.pipeline.checked import load_for, load_trained
from hwnas.pipeline.request import SearchRequest, search_request
from hwnas.runs.folder import RunFolder, create_run
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task

TASK = """
from dataclasses import replace
from hwnas.tasks.classification import Classification

class Mine:
    name, metrics = "mine", Classification.metrics

    def __getattr__(self, name):
        return getattr(Classification(), name)

    def {method}(self, *_):
        {body}
"""
FAULTS = [
    ("guess", "return 1 / 0", "ZeroDivisionError"),
    ("guess", "import torch; return torch.zeros(3)", "RuntimeError"),
    ("class_rows", "return 1 / 0", "ZeroDivisionError"),
    ("class_rows", "return [{'labels': 1}]", "class_rows gives labels, not labels, predictions, recall, precision"),
    ("balanced", "return 1 / 0", "ZeroDivisionError"),
    ("balanced", "return None", "AttributeError"),
]


def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25, classes=2)


def pictures(folder: Path) -> str:
    """Transparent images of two classes."""
    for number in range(24):
        path = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 4), (9, 9, number, 100), np.uint8)).save(path)
    return f"imagefolder:{folder / 'pictures'}"


def asked(space: SearchSpace, **options: Any) -> SearchRequest:
    return search_request({"space": space.reference, "space_options": space.options, **options})


@pytest.mark.parametrize(("method", "body", "said"), FAULTS)
def test_a_task_whose_optional_methods_fail_is_refused_before_training(
    tmp_path: Path, method: str, body: str, said: str
) -> None:
    (tmp_path / "mine.py").write_text(TASK.format(method=method, body=body))
    options = {"data": pictures(tmp_path), "task": f"{tmp_path / 'mine.py'}:Mine"}
    options |= {"class_weights": "balanced"} if method == "balanced" else {}
    with pytest.raises(TaskError, match=f"task mine does not fit the labels of the data.*: .*{said}"):
        load_for(space(), asked(space(), **options))


def test_a_task_is_loaded_with_the_class_weights_that_are_asked_for(tmp_path: Path) -> None:
    reference = pictures(tmp_path)
    _, plain = load_for(space(), asked(space(), data=reference))
    _, balanced = load_for(space(), asked(space(), data=reference, class_weights="balanced"))
    assert plain == load_task("classification")
    assert balanced.weights == (1.0, 1.0)  # type: ignore[attr-defined]


def started(folder: Path, request: SearchRequest) -> RunFolder:
    data, _ = load_for(space(), request)
    return create_run(folder / "run", request.describe(), space().describe(), data.describe())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"background": "black"}, r"\(--background white, here black\)"),
        ({"seed": 3}, r"\(--seed 0, here 3\)"),
        ({"limit_images": 8, "seed": 3}, r"\(--limit-images None, here 8; --seed 0, here 3\)"),
        (
            {"skip_damaged": True, "background": "black"},
            r"\(--background white, here black; --skip-damaged False, here True\)",
        ),
    ],
)
def test_a_supernet_of_other_data_is_refused_with_every_option_that_differs(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    reference = pictures(tmp_path)
    run = started(tmp_path, asked(space(), data=reference))
    request = asked(space(), data=reference, **options)
    data, _ = load_for(space(), request)
    with pytest.raises(RunError, match=f"run: trained on other data than this {said}; test data would be among it"):
        load_trained(Supernet(space()), run.path, data, request)


def test_a_run_whose_data_are_read_otherwise_is_told_why(tmp_path: Path) -> None:
    request = asked(space(), data=pictures(tmp_path))
    run = started(tmp_path, request)
    Image.new("RGB", (16, 16)).save(tmp_path / "pictures/a/0.png")
    with pytest.raises(
        DataError, match=r"or this version of hwnas reads it otherwise \(EXIF, transparency, 16 bits\); restore it, or"
    ):
        load_for(space(), request, run)
