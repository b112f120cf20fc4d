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


# ---- a user's own


def own(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(
        f"def make(input_shape, *, outputs, vocabulary, seed, limit):\n    {body}\n\nvalue = 3\n"
    )
    return f"{folder / 'mine.py'}:make"


def test_a_function_of_a_users_file_is_given_the_request(tmp_path: Path) -> None:
    body = (
        "from hwnas.data.dataset import load_data; assert vocabulary is None\n"
        "    return load_data('digits', input_shape, outputs=outputs, seed=seed, limit=limit)"
    )
    data = load_data(own(tmp_path, body), RGB, outputs=10, seed=3, limit=20)
    assert data.digest() == load_data("digits", RGB, outputs=10, seed=3, limit=20).digest()


@pytest.mark.parametrize(
    ("body", "name", "message"),
    [
        ("return 1 / 0", "make", r"mine\.py:make: ZeroDivisionError: division by zero"),
        (
            "return 3",
            "make",
            r"mine\.py:make returned int, which has no 'calibration_order'; return an object with all of",
        ),
        ("return 3", "value", r"mine\.py:value is a int, not a function; write a function that returns a data set"),
        ("return 3", "other", r"mine\.py.*'other'"),
    ],
)
def test_a_users_file_that_does_not_work_is_named(tmp_path: Path, body: str, name: str, message: str) -> None:
    reference = own(tmp_path, body).replace(":make", f":{name}")
    with pytest.raises(DataError, match=message):
        load_data(reference, RGB)


def test_every_kind_names_its_task_and_its_outputs(text: str) -> None:
    data = [load_data(name, RGB, limit=20) for name in ("digits", "digits-angle", "digits-canvas")]
    data.append(load_data(text, (8,), outputs=12, vocabulary=12))
    assert [(one.task, one.outputs) for one in data] == [
        ("classification", 10),
        ("regression", 1),
        ("segmentation", 11),
        ("language", 12),
    ]


def test_more_tokens_than_outputs_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"a\.txt: has 7 tokens, the space takes 6; give --space-option vocabulary=7"):
        load_data(text, (8,), outputs=6, vocabulary=12)


def test_images_are_refused_where_networks_take_series() -> None:
    with pytest.raises(
        DataError, match=r"digits: holds images, but the space takes inputs of shape \(8,\); give a --space"
    ):
        load_data("digits", (8,))
