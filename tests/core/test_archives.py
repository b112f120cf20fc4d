"""Laws of archives: what unpacks to far more than it is, or declares more than it has, is refused before memory is filled."""

import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.core.archives import SMALL, require_bounded, require_whole_arrays
from hwnas.core.reporter import Silent
from hwnas.data.arrays import read_npz
from hwnas.errors import DataError, HwnasError, RunError
from hwnas.profiler.board import measure_bundle
from hwnas.train.checkpoint import restored

MIB = bytes(2**20)


def packed(path: Path, compression: int = zipfile.ZIP_DEFLATED, declared: int | None = None) -> Path:
    """An archive of 8 MiB of zeros, which may declare another size."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", 8 * MIB)
        archive.filelist[0].file_size = declared or 8 * len(MIB)
    return path


def header(shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return content.getvalue()


@pytest.mark.parametrize("read", [read_npz, partial(measure_bundle, out=Path("t"), threads=None, reporter=Silent())])
def test_an_archive_that_unpacks_to_over_a_hundred_times_itself_and_a_gib_is_refused(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    bomb = packed(tmp_path / "bomb", declared=SMALL + 1)
    for refused in (read, partial(require_bounded, error=DataError), partial(restored, parts={})):
        with pytest.raises(
            HwnasError, match=r"bomb: 0.0 MiB that unpack to 1.0 GiB, .*; store it uncompressed if it is"
        ):
            refused(bomb)
    require_bounded(packed(tmp_path / "most", declared=SMALL), DataError)


def test_small_archives_uncompressed_ones_and_other_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    for path in (
        packed(tmp_path / "zeros.npz"),
        packed(tmp_path / "stored.npz", zipfile.ZIP_STORED),
        tmp_path / "text",
        tmp_path / "none",
    ):
        require_bounded(path, DataError)


@pytest.mark.parametrize("name", ["x.npy", "x", "x.png"])
def test_an_array_that_declares_more_than_it_has_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npz"
    for shape in ((10**12,), (10**30,), (1000, 32, 32, 3)):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("notes", "no array")
            archive.writestr(name, header(shape) + MIB)
        with pytest.raises(
            ValueError, match=rf"^{name} declares {np.prod(shape, dtype=object):,} bytes and has 1,048,704"
        ):
            require_whole_arrays(path)


def test_arrays_that_numpy_writes_are_whole(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4), np.uint8), y=np.float64(1), z=np.zeros((0, 7)))
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((300, 400), order="F"))
    np.save(tmp_path / "c.npy", np.zeros(3))
    for name in ("a.npz", "b.npz", "c.npy"):
        require_whole_arrays(tmp_path / name)


class Marking:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_no_array_and_no_checkpoint_runs_what_is_pickled_in_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    np.savez(tmp_path / "x.npz", x=np.array([Marking(mark)]), y=np.arange(1))
    torch.save({"epoch": Marking(mark)}, tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"x.npz: cannot be read as npz"):
        read_npz(tmp_path / "x.npz")
    with pytest.raises(RunError, match=r"x.pt: damaged or of another space \(UnpicklingError\)"):
        restored(tmp_path / "x.pt", {})
    assert not mark.exists()
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert mark.exists()
