"""The command that says what is read of a data set."""

from pathlib import Path
from typing import Any

import click

from hwnas.cli.generated import with_options
from hwnas.cli.options import JSON, OUT_FOLDER, SEED
from hwnas.data.options import ImageOptions
from hwnas.terminal import print_facts, print_rows


@click.command()
@click.argument("reference")
@click.option(
    "--resolution", type=click.IntRange(1), default=32, show_default=True, help="Pixels that images are read at."
)
@click.option(
    "--channels",
    type=click.Choice(["1", "3", "4"]),
    default="3",
    show_default=True,
    help="Channels that images are read in: grey, colour, or colour and opacity.",
)
@click.option(
    "--length",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Tokens of a text window, or samples of audio.",
)
@with_options(ImageOptions)
@SEED
@click.option("--pictures", type=OUT_FOLDER, help="Folder for three training images as networks get them, as PNG.")
@JSON
def data(
    reference: str,
    resolution: int,
    channels: str,
    length: int,
    seed: int,
    pictures: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print what is read of a data set: counts per class and split, sizes, modes, duplicates, and what is left out.

    REFERENCE is that of --data: digits, a folder, npz:FILE, text:FILE, FILE.py:NAME.
    """
    import json

    from hwnas.core.requests import checked
    from hwnas.pipeline.reading_data import Reading, read_data, write_pictures

    reading = Reading(resolution=resolution, channels=int(channels), length=length, seed=seed)
    facts, examples = read_data(reference, reading, checked(ImageOptions, options))
    written = [] if pictures is None else write_pictures(examples, pictures)
    if as_json:
        click.echo(json.dumps(facts | {"pictures": [str(path) for path in written]}))
        return
    print_facts({name: value for name, value in facts.items() if name != "counts"}, False)
    print_rows({"counts": facts["counts"]}, False)
    for path in written:
        click.echo(path)
