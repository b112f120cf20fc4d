"""Devices that are not here: added by their tables."""

from pathlib import Path

import click

from hwnas.cli.once import OnceGroup
from hwnas.cli.options import JSON, OUT_FOLDER, PATH
from hwnas.terminal import print_rows


@click.group(cls=OnceGroup)
def device() -> None:
    """Add a device that is not here, by tables that were measured there."""


@device.command()
@click.argument("name")
@click.argument("tables", nargs=-1, required=True, type=PATH)
@click.option("--folder", type=OUT_FOLDER, help="A folder of HWNAS_DEVICES to add it to; default: this user's own.")
@click.option("--allow-unconverged", is_flag=True, help="Also of measurements that are not precise.")
@JSON
def add(name: str, tables: tuple[Path, ...], folder: Path | None, allow_unconverged: bool, as_json: bool) -> None:
    """Add a device by tables of a bundle that was measured there: then `hwnas search --device NAME`."""
    from hwnas.pipeline.boards import add_device
    from hwnas.predict.shipped import user_folder

    added = add_device(name, tables, folder or user_folder(), allow_unconverged=allow_unconverged)
    print_rows({"added": [added.describe()]}, as_json)
