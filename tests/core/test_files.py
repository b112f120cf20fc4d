"""Files are whole or not there."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hwnas.core.files import decoded, replace_file


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond `size` bytes fails half way, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("content", ["größer", b"\x00\xff"], ids=["text", "bytes"])
def test_folders_are_made_and_content_is_replaced(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for written in (b"old", content):
        replace_file(path, written)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_half_way_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "old")
    with largest_file(1_000), pytest.raises(OSError, match="File too large") as caught:
        replace_file(path, b"x" * 100_000)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_in_every_encoding_that_programs_save(encoding: str) -> None:
    assert decoded('{"größe": 3}\r\n'.encode(encoding)) == '{"größe": 3}\r\n'


@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("bits", [16, 32])
def test_a_byte_order_mark_tells_the_encoding_and_is_no_text(order: str, bits: int) -> None:
    assert decoded("\ufeffgröße".encode(f"utf-{bits}-{order}")) == "größe"


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, Path()):
        with pytest.raises(IsADirectoryError):
            replace_file(path, "new")
