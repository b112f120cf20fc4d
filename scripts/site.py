"""A hook of MkDocs (mkdocs.yml): adds the documents of the root to the site, and pages that are generated from the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from click.testing import CliRunner
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import hwnas
from hwnas.cli import cli
from hwnas.core.space import SearchSpace
from hwnas.pipeline.result import SearchResult
from hwnas.pipeline.trained import TrainedNetwork

ROOT: Final = Path(__file__).parents[1]
# Documents of the root by their page.
PAGES: Final = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
WIDTH: Final = 100  # letters of a line of help
# The classes that the public functions return.
RETURNED: Final = (SearchResult, TrainedNetwork, SearchSpace)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not files of docs/."""
    pages = {page: with_links((ROOT / name).read_text(encoding="utf-8")) for name, page in PAGES.items()}
    pages |= {"command-line.md": command_line(), "interface.md": interface()}
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Returns a page whose links to documents of the root lead to their pages."""
    for name, page in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}")
    return markdown


def with_links(text: str) -> str:
    """Returns a document of the root whose links lead to pages of the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(
        r"```mermaid\n(.*?)```", r"```text\n\1```", text, flags=re.DOTALL
    )  # which is drawn by a script from elsewhere
    for name, page in PAGES.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text


def command_line() -> str:
    """Returns the page of the command line: the help of every command, as `--help` prints it."""
    return "\n\n".join(["# The command line", *helps(cli, "hwnas")])


def helps(command: click.Command, words: str) -> Iterator[str]:
    """Yields the help of a command, and of the commands of a group."""
    result = CliRunner().invoke(command, ["--help"], prog_name=words, terminal_width=WIDTH)
    yield f"## {words}\n\n```text\n{result.output.strip()}\n```"
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from helps(inner, f"{words} {name}")


def interface() -> str:
    """Returns the page of the public names, and of what they give, with their docstrings."""
    names = {f"hwnas.{name}": getattr(hwnas, name) for name in hwnas.__all__}
    names |= {f"{value.__name__} (what the functions return)": value for value in RETURNED}
    places = [
        f"::: {value.__module__}.{value.__qualname__}\n    options:\n      heading: {name}"
        for name, value in names.items()
    ]
    return "\n\n".join(["# The Python interface", *places])
