"""Laws of references: what is known, and what fits which networks."""

from pathlib import Path

import pytest

from hwnas.data.dataset import DATASETS, load_data
from hwnas.data.images import ImageData
from hwnas.data.text import TextData
from hwnas.errors import DataError, UnknownNameError

RGB = (3, 8, 8)


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text("to be or not to be " * 20)
    return f"text:{tmp_path / 'a.txt'}"


def test_a_reference_names_images_or_text(text: str) -> None:
    assert isinstance(load_data("digits", RGB, outputs=10, limit=20), ImageData)
    assert isinstance(load_data(text, (8,), outputs=9, vocabulary=9), TextData)


@pytest.mark.parametrize("reference", ["cifar", "", "digits:x", "parquet", "npz:", "csv:a.csv", ":x", "text", "text:"])
def test_an_unknown_reference_lists_the_known(reference: str) -> None:
    known = "known: FILE.py:NAME, digits, digits-angle, digits-canvas, imagefolder:DIR, masks:DIR, npz:FILE, parquet:DIR, text"
    with pytest.raises(UnknownNameError, match=f"unknown data set '{reference}'; {known}"):
        load_data(reference, RGB)


def test_every_kind_is_documented_by_the_error() -> None:
    with pytest.raises(UnknownNameError) as error:
        load_data("?", RGB)
    listed = str(error.value).split("known: ")[1].split(", ")
    assert set(listed) == {*DATASETS, "FILE.py:NAME"}


def test_images_are_refused_where_networks_take_tokens() -> None:
    with pytest.raises(DataError, match=r"digits: holds images, but the space takes token ids; give --data text:FILE"):
        load_data("digits", (8,), vocabulary=9)


def test_text_is_refused_where_networks_take_images(text: str) -> None:
    with pytest.raises(
        DataError, match=r"a\.txt: is text, but the space takes images of shape \(3, 8, 8\); give a --sp"
    ):
        load_data(text, RGB)


def test_text_is_refused_where_networks_take_tables_of_tokens(text: str) -> None:
    with pytest.raises(DataError, match=r"a\.txt: is text, but the space takes ids of shape \(4, 8\)"):
        load_data(text, (4, 8), vocabulary=9)


def test_images_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(DataError, match="digits has 10 classes, the space 7; give --space-option classes=10"):
        load_data("digits", RGB, outputs=7)
