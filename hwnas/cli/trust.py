"""The Python files that this user has run by naming them, or has allowed."""

from pathlib import Path

import click

from hwnas.cli.options import JSON, PATH
from hwnas.core import trust as trust_list
from hwnas.errors import HwnasError
from hwnas.terminal import print_rows


@click.command()
@click.argument("files", nargs=-1, type=PATH)
@click.option(
    "--empty", is_flag=True, help="Empty the list first: tables, predictors and runs run no Python file then."
)
@JSON
def trust(files: tuple[Path, ...], empty: bool, as_json: bool) -> None:
    """List the Python files that tables, predictors and runs may run; FILES are added with the modules beside them that
    they import.

    A file that you name in a command or from Python is added by itself. Only the very content that was added may run.
    """
    for file in files:
        if file.suffix != ".py" or not file.is_file():
            raise HwnasError(f"{file}: no Python file there; give the FILE.py of FILE.py:NAME")
    if empty:
        trust_list.forget()
    for file in files:
        trust_list.trust(file)
    print_rows(
        {"trusted": [{"file": path, "sha256": digest} for digest, path in trust_list.trusted().items()]}, as_json
    )
