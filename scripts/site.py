"""A hook of MkDocs (mkdocs.yml): adds the documents of the root to the site, and pages that are generated from the code."""

import re
from pathlib import Path
from typing import Final

import click
from click.testing import CliRunner
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import hwnas
from hwnas.cli import cli

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
    for name, page in PAGES.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text


def command_line() -> str:
    """Returns the page of the command line: the help of every command, as `--help` prints it."""
    context = click.Context(cli, info_name="hwnas")
    parts = [f"# The command line\n\n```text\n{context.get_help()}\n```"]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        help_text = CliRunner().invoke(command, ["--help"], prog_name=f"hwnas {name}", terminal_width=WIDTH).output
        parts.append(f"## hwnas {name}\n\n```text\n{help_text.strip()}\n```")
    return "\n\n".join(parts)


def interface() -> str:
    """Returns the page of the public names, with their docstrings."""
    names = [getattr(hwnas, name) for name in hwnas.__all__]
    places = [f"::: {value.__module__}.{value.__qualname__}" for value in names]
    return "\n\n".join(["# The Python interface", "All of these are names of `hwnas`.", *places])
