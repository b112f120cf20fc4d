"""Tasks by name and from files, and messages about those that do not work."""

import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import TaskError, UnknownNameError
from hwnas.tasks.registry import load_task


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown task 'sorting'; known: FILE\.py:NAME, classification, language"
    ):
        load_task("sorting")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("make = 3", r"is a int; give a function or class that makes a task"),
        ("def make():\n    return 1 / 0", "cannot make the task: ZeroDivisionError"),
        ("def make():\n    return 3", "makes a int without loss, imitation, score, require_outputs"),
        ("raise ValueError('broken')", "cannot be loaded.*broken"),
        ("other = 3", "make"),
        ("class make:\n    loss = imitation = score = require_outputs = print", "a task without a name"),
        (
            "class make:\n    name = 'a'\n    loss = imitation = score = require_outputs = print",
            "the metrics .* are None",
        ),
        (
            "from hwnas.tasks.task import Metric\nclass make:\n    name = 'a'\n"
            "    metrics = (Metric(name='f 1'),)\n    loss = imitation = score = require_outputs = print",
            r"named \['f 1'\]; give different names",
        ),
    ],
)
def test_a_file_that_makes_no_task_is_told_by_its_name_and_what_to_do(
    tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(TaskError, match=rf"mine\.py.*{message}|{message}"):
        load_task(f"{tmp_path / 'mine.py'}:make")


def test_names_of_tasks_are_known_without_torch() -> None:
    code = "import sys; from hwnas.tasks.registry import TASKS; print(sorted(TASKS), 'torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['classification', 'language', 'regression', 'segmentation'] False"
