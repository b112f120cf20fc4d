"""Archives that unpack to no more than their size can be expected to hold."""

import math
import zipfile
from pathlib import Path
from typing import IO, Final

from numpy.lib import format

from hwnas.errors import HwnasError

# Deflated data grow at most a thousandfold, images, weights and masks seldom a hundredfold. Small archives may.
MOST_GROWTH: Final = 100
SMALL: Final = 2**30


def require_bounded(path: Path, error: type[HwnasError]) -> None:
    """Raises `error` for a zip archive (.npz and torch checkpoints are some) whose members unpack to more than `SMALL` bytes
    and more than `MOST_GROWTH` times the file. Does nothing for other files.

    Python's zipfile reads no more of a member than the archive declares, so the declared sizes are an upper bound.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return  # whoever reads the file says what is wrong with it
    size = path.stat().st_size
    if unpacked > SMALL and unpacked > MOST_GROWTH * size:
        raise error(
            f"{path}: {size / 2**20:.1f} MiB that unpack to {unpacked / 2**30:.1f} GiB, as archives made to fill the memory do; "
            "store it uncompressed if it is yours"
        )


def require_whole_arrays(path: Path) -> None:
    """Raises ValueError for an .npz file with an array that declares more bytes than there are. Does nothing for other files.

    numpy makes room for what is declared before it reads.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:  # numpy takes arrays by their first bytes, whatever the member is called
                is_array = file.read(len(format.MAGIC_PREFIX)) == format.MAGIC_PREFIX
                file.seek(0)
                declared = _declared_bytes(file) if is_array else 0
            if is_array and declared > member.file_size:
                raise ValueError(f"{member.filename} declares {declared:,} bytes and has {member.file_size:,}")


def _declared_bytes(file: IO[bytes]) -> int:
    """Returns the size of the array that a file in numpy's format declares. Raises ValueError where the format is another."""
    version = format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format {version} of numpy is not for numbers")
    read = format.read_array_header_1_0 if version == (1, 0) else format.read_array_header_2_0
    shape, _, kind = read(file)
    return math.prod(shape) * kind.itemsize
