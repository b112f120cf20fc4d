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


METHODS = "    loss = imitation = score = require_outputs = print\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("other = 3", r"mine\.py has no 'make'"),
        ("raise ValueError('broken')", r"mine\.py: cannot be loaded: ValueError: broken \(mine\.py, line 1\)"),
        ("make = 3", r"mine\.py:make is a int; give a function or class that makes a task"),
        ("def make():\n    return 1 / 0", r"make: cannot make the task: ZeroDivisionError: .* \(mine\.py, line 2\)"),
        ("def make():\n    return 3", r"make makes a int without loss, imitation, score, require_outputs; see"),
        (f"class make:\n{METHODS}", r"make makes a task without a name; set `name`"),
        (f"class make:\n    name = 'a'\n{METHODS}", r"the metrics of the task a are None; give a tuple"),
        (
            f"from hwnas.tasks.task import Metric\nclass make:\n    name = 'a'\n    metrics = (Metric(name='f 1'),)\n{METHODS}",
            r"the metrics of the task a are named \['f 1'\]; give different names",
        ),
    ],
)
def test_a_file_that_makes_no_task_is_refused_with_what_to_do(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(TaskError, match=message):
        load_task(f"{tmp_path / 'mine.py'}:make")


def test_names_of_tasks_are_known_without_torch() -> None:
    code = "import sys; from hwnas.tasks.registry import TASKS; print(sorted(TASKS), 'torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['classification', 'language', 'regression', 'segmentation'] False"
