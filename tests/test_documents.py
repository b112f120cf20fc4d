"""Documents: their Python runs, their commands are commands, their links lead somewhere, and docstrings begin as they should."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
import torch

import hwnas
from hwnas.cli import cli
from hwnas.cli.generated import parsed
from hwnas.core.optimum import minimise
from hwnas.errors import HwnasError
from hwnas.pipeline.request import search_request
from hwnas.predict.expected import ExpectedCost
from hwnas.supernet.network import Supernet

ROOT = Path(__file__).parents[1]
# The packages that documents name, as in `hwnas.core.reporter.Silent()`.
PACKAGES = {path.name for path in (ROOT / "hwnas").iterdir() if path.is_dir()}
# The arguments of `hwnas search` that are no options of its request.
OWN = ("out", "resume", "back", "source", "strict", "as_json")


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


def blocks() -> Iterator[tuple[str, str]]:
    """Yields the document and the text of every block of Python."""
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
            yield document.name, block


def test_python_of_documents_is_python_and_names_what_there_is() -> None:
    counted = 0
    for document, block in blocks():
        for node in ast.walk(ast.parse(block, document)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("hwnas"):
                module = import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "hwnas":
                missing = [] if hasattr(hwnas, node.attr) or node.attr in PACKAGES else [node.attr]
            else:
                continue
            assert not missing, f"{document}: {ast.unparse(node)}"
            counted += 1
    assert counted > 15


def test_links_between_documents_lead_to_files() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yields the document and the words of every command of hwnas in documents: lines of code, quoted ones, options in tables."""
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        text = document.read_text()
        found = re.findall(r"^    (?:[A-Z_]+=\S+ )*hwnas (.*)$", text.replace("\\\n", " "), re.MULTILINE)
        found += [" ".join(quoted.split()) for quoted in re.findall(r"`hwnas ([^`]+)`", text) if "..." not in quoted]
        found = [line for line in found if not line.startswith("-")]
        if document.name == "systems.md":
            found += [f"search {options}" for options in re.findall(r"`(--[^`]+)`", text)]
        for line in found:
            yield document.name, shlex.split(re.sub(r"\bN\b", "2", re.sub(r"\s#.*", "", line)))


def test_commands_of_documents_are_commands() -> None:
    """Every command and option is there, and every search is a request that can be. Quoted commands may lack arguments."""
    counted = 0
    for document, words in commands():
        try:
            require_command(words)
        except (click.NoSuchOption, click.BadParameter, HwnasError, LookupError) as error:
            if not isinstance(error, click.MissingParameter):
                raise AssertionError(f"{document}: hwnas {shlex.join(words)}: {error}") from error
        except (click.BadOptionUsage, click.exceptions.Exit):
            pass
        counted += 1
    assert counted > 250


def require_command(words: list[str]) -> None:
    """Parses a command as the command line does. Raises its errors, and LookupError where there is no such command."""
    command: click.Command | None = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        command = command.get_command(click.Context(command), rest.pop(0))
    if command is None:
        raise LookupError("no such command")
    context = command.make_context("hwnas", rest)
    if words[0] == "search" and not {"--resume", "--from"} & set(words):
        search_request(parsed({name: value for name, value in context.params.items() if name not in OWN}))


@pytest.mark.parametrize(
    "line",
    [
        "serch",
        "search --recipe none",
        "search --strategy nsga2 --steps 5",
        "export runs --onnx",
        "search --epochs many",
    ],
)
def test_commands_that_are_none_would_be_found(line: str) -> None:
    with pytest.raises((click.NoSuchOption, click.BadParameter, HwnasError, LookupError)):
        require_command(line.split())


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
