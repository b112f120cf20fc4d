"""Data named by a plain path: which kind it is, by what is there."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from hwnas.core.references import is_reference
from hwnas.data.layout import split_of

SUFFIXES: Final = {".npz": "npz", ".txt": "text"}
TABLES: Final = ("*.parquet", "*/*.parquet")
MASKS: Final = ("images", "masks")


def recognised(reference: str, kinds: Collection[str]) -> str:
    """Returns `KIND:PATH` for a path that is there; other references as they are.

    A folder with parquet files is `parquet`, one with `images` and `masks`, or with these in a folder of a split, is `masks`,
    another an `imagefolder`.
    """
    path = Path(reference).expanduser()
    is_named = reference.partition(":")[0] in kinds or is_reference(reference)
    if not reference or is_named or not path.exists():
        return reference
    kind = _of_folder(path) if path.is_dir() else SUFFIXES.get(path.suffix.lower(), "")
    return f"{kind}:{reference}" if kind else reference


def _of_folder(folder: Path) -> str:
    if any(next(folder.glob(pattern), None) for pattern in TABLES):
        return "parquet"
    places = [folder, *(path for path in folder.iterdir() if split_of(path.name) is not None)]
    if any(all((place / name).is_dir() for name in MASKS) for place in places):
        return "masks"
    return "imagefolder"
