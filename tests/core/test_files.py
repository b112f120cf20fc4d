"""Files are whole or not there."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hwnas.core.files import decoded, is_inside, links_out, replace_file


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


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("models/a.onnx", True),
        ("models/../a.onnx", False),  # a link could lead it elsewhere
        ("..", False),
        ("a..b/c", True),
        ("/etc/passwd", False),
        ("C:a", False),
        ("\\\\host\\share", False),
        ("a\0b", False),
        ("out/a", False),
        ("in/a", True),
    ],
)
def test_a_name_is_inside_a_folder_on_every_system_or_not_at_all(tmp_path: Path, name: str, inside: bool) -> None:
    folder = tmp_path / "folder"
    (folder / "models").mkdir(parents=True)
    (folder / "out").symlink_to(tmp_path)
    (folder / "in").symlink_to("models")
    assert is_inside(folder, name) == inside


def test_only_links_that_lead_out_of_a_folder_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "in").symlink_to("deep")
    (tmp_path / "link").symlink_to(folder)
    assert links_out(folder) is links_out(tmp_path / "link") is links_out(tmp_path / "none") is None
    (folder / "deep" / "out").symlink_to(tmp_path / "not yet there")
    assert links_out(folder) == folder / "deep" / "out"
    assert links_out(tmp_path / "link") == tmp_path / "link" / "deep" / "out"


def test_a_circle_of_links_is_inside_no_folder(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert links_out(tmp_path) == tmp_path / "one"
    assert not is_inside(tmp_path, "one") and not is_inside(tmp_path, "two/model.onnx")
    assert links_out(tmp_path / "one") is None


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
