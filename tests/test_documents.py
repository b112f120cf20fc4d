"""Documents: their Python runs, their links lead somewhere, and docstrings begin with a verb or a subject."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import hwnas
from hwnas.core.optimum import minimise
from hwnas.predict.expected import ExpectedCost
from hwnas.supernet.network import Supernet

ROOT = Path(__file__).parents[1]


def test_the_examples_of_the_architecture_run_and_say_the_truth() -> None:
    space = hwnas.space("mobilenet")
    x = torch.rand(2, *space.input_shape)
    names = {
        "hwnas": hwnas,
        "Supernet": Supernet,
        "ExpectedCost": ExpectedCost,
        "minimise": minimise,
        "rows_NC": space.sample_rows(np.random.default_rng(0), 5),
        "probabilities": {
            choice.name: torch.full((len(choice.options),), 1 / len(choice.options)) for choice in space.choices
        },
        "arch": space.smallest(),
        "x": x,
    }
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    supernet = names["supernet"].eval()
    assert torch.equal(supernet(x, names["arch"]), supernet.uncalibrated(names["arch"])(x))


def test_links_between_documents_lead_to_files() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def docstrings() -> Iterator[tuple[str, str]]:
    """Yields the place and the text of every docstring of the package."""
    for path in sorted((ROOT / "hwnas").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'name', '')}", text


def test_docstrings_begin_with_a_verb_or_a_subject() -> None:
    wrong = {"As", "How", "Of", "What", "Where", "Whether", "Why"}
    places = [place for place, text in docstrings() if text.split()[0] in wrong]
    assert not places
