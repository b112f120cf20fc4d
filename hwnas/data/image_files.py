"""Image files and encoded bytes: which are read, decoded upright, and what is said of those that are not.

The file knows nothing of labels and splits.
"""

import os
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import BadZipFile
from zlib import error as BadZlib

from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.Image import DecompressionBombError

from hwnas.errors import DamagedImageError, DataError

# Pillow's names of still image formats. Not EPS or PDF, which run a program to be read; not JPEG 2000, whose colours of more
# than 8 bits Pillow cuts without a trace; none that Pillow knows by a few bytes that other files may have, too (TGA, PCX).
READ: Final = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF")
# Decoders' names of samples that they cut to their upper 8 bits: RGB;16B, not BGR;16, which holds 5 and 6 bits per colour.
_CUT: Final = re.compile(r";16[BLN]")
NOT_READ: Final = "formats that are not read"
TURNED: Final = range(2, 9)  # EXIF orientations of images that are not stored upright
NAMED: Final = 5  # files that a note names; further ones are counted

# Errors of pillow, numpy and zipfile for files with bytes changed or missing: all that the fuzz tests have met.
DAMAGE: Final = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    RuntimeError,
    BadZipFile,
    BadZlib,
    DecompressionBombError,
)


@cache
def formats() -> dict[str, str]:
    """Returns the names of those formats that Pillow has here, by suffix: it may be built without AVIF and WebP.

    The first call imports all of Pillow's formats.
    """
    known = Image.registered_extensions()
    return {suffix: name for suffix, name in known.items() if name in READ and name in Image.OPEN}


def is_picture(path: Path) -> bool:
    """Returns True for file names of known formats."""
    return path.suffix.lower() in formats()


def picture(file: Path | BytesIO, where: str) -> Image.Image:
    """Returns a decoded image as a viewer shows it, turned by its EXIF orientation; of several frames the first.

    `info["frames"]` says whether there are several, `info["halved"]` whether pillow keeps only the upper 8 of 16 bits per
    colour, `info["turned"]` how EXIF turned the image. LAB becomes RGB, the one mode that pillow converts it to. Raises
    DamagedImageError, which names `where`.
    """
    try:
        with _ignoring_bad_exif(), Image.open(file, formats=list(set(formats().values()))) as image:
            is_cut, orientation = _is_cut(image), _orientation(image)  # loading a TIFF turns it
            image.load()
            image.info["halved"] = is_cut and not image.mode.startswith("I")
            image.info["frames"] = image.format != "MPO" and getattr(image, "is_animated", False)
            _turn_upright(image)
            image.info["turned"] = orientation if orientation in TURNED else 0
            if image.mode == "LAB":
                converted = image.convert("RGB")
                converted.info, converted.format = image.info, image.format
                return converted
    except UnidentifiedImageError as error:
        raise DamagedImageError(where, "is not a PNG, JPEG, BMP, WebP, TIFF or GIF image") from error
    except DAMAGE as error:
        raise DamagedImageError(where, f"cannot be decoded ({line_of(error)})") from error
    return image


def _is_cut(image: ImageFile.ImageFile) -> bool:
    """Returns True for an image, not loaded yet, whose samples of more than 8 bits pillow cuts or scales to 8."""
    if image.format == "PPM":  # the last of its decoder's arguments is the largest value
        return any(isinstance(tile[3], tuple) and int(tile[3][-1]) > 255 for tile in image.tile)
    return _CUT.search(str(image.tile)) is not None


@contextmanager
def _ignoring_bad_exif() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Corrupt EXIF data")
        yield


def _orientation(image: Image.Image) -> int | None:
    """Returns the EXIF orientation of an image, None where there is none or the EXIF is damaged."""
    with suppress(*DAMAGE, struct.error, KeyError, TypeError):
        orientation: int | None = image.getexif().get(ExifTags.Base.Orientation)
        return orientation
    return None


def _turn_upright(image: Image.Image) -> None:
    """Turns an image by its EXIF orientation, in place. Viewers show an image whose EXIF is damaged as it is stored."""
    with suppress(*DAMAGE, struct.error, KeyError, TypeError):
        ImageOps.exif_transpose(image, in_place=True)


def pictures_below(folder: Path, kind: str) -> tuple[list[Path], list[Path]]:
    """Returns the images of a folder and of its subfolders, and the other files there; hidden ones in neither.

    Links to folders are not followed, and count as other files.
    """
    return files_below(folder, is_picture, kind)


def any_below(folder: Path, keep: Callable[[Path], bool], kind: str) -> bool:
    """Returns True where a folder or its subfolders hold a file that `keep` accepts; stops at the first."""
    return any(keep(path) and path.is_file() for path in _walk(folder, kind))


def files_below(folder: Path, keep: Callable[[Path], bool], kind: str) -> tuple[list[Path], list[Path]]:
    """Returns the files of a folder and of its subfolders that `keep` accepts, and the others, as `pictures_below` does."""
    kept, others = list[Path](), list[Path]()
    for path in _walk(folder, kind):
        (kept if keep(path) and path.is_file() else others).append(path)
    return sorted(kept), sorted(others)


def _walk(folder: Path, kind: str) -> Iterator[Path]:
    """Yields the files of a folder and of its subfolders, and links to folders, without hidden ones."""
    for root, folders, names in os.walk(folder, onerror=_raise_unreadable(kind)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        yield from (Path(root, name) for name in (*names, *links) if not name.startswith("."))


def _raise_unreadable(kind: str) -> Callable[[OSError], None]:
    def raise_it(error: OSError) -> None:
        raise unreadable(Path(error.filename), kind, error) from error

    return raise_it


def unread(where: Path, paths: Sequence[Path | str], reason: str) -> tuple[str, ...]:
    """Returns the note on files that are left out, counted and named; no note where there are none."""
    if not paths:
        return ()
    names = [str(path.relative_to(where)) if isinstance(path, Path) else path for path in paths]
    return (f"{where}: not read, {reason}: {len(names)} ({named(names)})",)


def left_out(where: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    """Returns the notes on files that no reader takes: those of other formats, and links that are not followed."""
    links, others = list[Path](), list[Path]()
    for path in paths:
        (links if is_lost_link(path) else others).append(path)
    return (*unread(where, others, NOT_READ), *unread(where, links, "links to folders, or to nothing"))


def is_lost_link(path: Path) -> bool:
    """Returns True for a link that is not followed: to a folder, or to nothing."""
    return path.is_symlink() and not path.is_file()


def named(names: Sequence[str], most: int = NAMED) -> str:
    """Returns the first names in one line, and the number of further ones.

    >>> named(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    further = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + further


def listed(folder: Path, keep: Callable[[Path], bool], kind: str) -> list[Path]:
    """Returns the paths in a folder that `keep` accepts, by name, without hidden ones."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and keep(path))
    except OSError as error:
        raise unreadable(folder, kind, error) from error


def unreadable(path: Path, kind: str, error: Exception) -> DataError:
    """Returns the error for a file or folder that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: does not exist; check what follows `{kind}:`")
    if isinstance(error, NotADirectoryError) and path.is_file():
        return DataError(f"{path}: is a file; give the folder of the data, as {kind}:DIR")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a folder; give the file, as {kind}:FILE")
    return DataError(f"{path}: cannot be read as {kind} ({line_of(error)}); make or fetch it again")


def line_of(error: Exception) -> str:
    """Returns an error's message in one line, or its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
