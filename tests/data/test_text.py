"""Laws of text as data: nothing is lost, nothing is in two splits, labels come next; and what is said of unfit files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from hwnas.data import text as module
from hwnas.data.request import DataRequest
from hwnas.data.text import TextData, Windows
from hwnas.errors import DataError

# A byte-order mark that begins a file is no text.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), min_size=60, max_size=400)
VERSE = "the cat sat on the mat and the rat sat on the cat\n" * 8


def load_text(location: str, length: int, vocabulary: int, limit: int | None = None) -> TextData:
    reference = f"text:{location}"
    return module.load_text(DataRequest(reference=reference, input_shape=(length,), vocabulary=vocabulary, limit=limit))


def write(folder: Path, text: str) -> str:
    (folder / "a.txt").write_bytes(text.encode())
    return str(folder / "a.txt")


def write_tokenizer(folder: Path, words: list[str]) -> str:
    """A tokenizer of whole words, that cuts after three tokens if it is let."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "words.json"))
    return str(folder / "words.json")


def splits(data: TextData) -> tuple[Windows, Windows, Windows]:
    return data.train, data.validation, data.test


def read(data: TextData, ids: np.ndarray) -> str:
    characters = json.loads(data.metadata()["hwnas.tokens"])
    return "".join(characters[number] for number in ids.ravel())


# ---- splits and windows


@given(TEXTS, st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_splits_are_the_text_in_its_order_80_10_10(tmp_path: Path, text: str, length: int) -> None:
    data = load_text(write(tmp_path, text), length, 400)
    assert "".join(read(data, split.tokens) for split in splits(data)) == text
    assert len(data.train.tokens) == len(text) * 8 // 10
    assert abs(len(data.validation.tokens) - len(data.test.tokens)) <= 1


@given(TEXTS, st.integers(1, 5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_follow_each_other_and_labels_are_the_next_tokens(tmp_path: Path, text: str, length: int) -> None:
    data = load_text(write(tmp_path, text), length, 400)
    for split in splits(data):
        assert split.raw.shape == split.labels.shape == (len(split), length)
        assert len(split) == (len(split.tokens) - 1) // length >= 1
        np.testing.assert_array_equal(split.raw.ravel(), split.tokens[: split.raw.size])
        np.testing.assert_array_equal(split.labels.ravel(), split.tokens[1 : split.raw.size + 1])


def test_characters_are_numbered_by_code_point_over_the_whole_file(tmp_path: Path) -> None:
    data = load_text(write(tmp_path, "ba" * 45 + "é\r\n🎲" * 3), 3, 9)
    assert json.loads(data.metadata()["hwnas.tokens"]) == ["\n", "\r", "a", "b", "é", "🎲"]
    assert data.tokens == 6


@given(st.integers(0, 2**32))
def test_training_windows_begin_anywhere_and_stay_in_the_training_text(seed: int) -> None:
    tokens = np.arange(100)
    data = TextData(
        reference="",
        train=Windows(tokens, 8),
        validation=Windows(tokens, 8),
        test=Windows(tokens, 8),
        tokens=100,
        outputs=100,
        read_by=(),
    )
    x, labels = data.training_batch(np.arange(len(data.train)), np.random.default_rng(seed))
    assert x.dtype == labels.dtype == torch.int64
    assert torch.equal(labels, x + 1) and torch.equal(x[:, 1:], labels[:, :-1])
    starts = x[:, 0].numpy()
    assert (starts >= 8 * np.arange(12)).all() and (starts < 8 * np.arange(1, 13)).all() and labels.max() <= 99
    again, _ = data.training_batch(np.arange(len(data.train)), np.random.default_rng(seed))
    assert torch.equal(again, x)


def test_every_training_token_is_drawn_sooner_or_later(tmp_path: Path) -> None:
    data = load_text(write(tmp_path, VERSE), 7, 20)
    numbered = TextData(
        reference="",
        train=Windows(np.arange(len(data.train.tokens)), 7),
        validation=data.validation,
        test=data.test,
        tokens=data.tokens,
        outputs=data.outputs,
        read_by=(),
    )
    rng = np.random.default_rng(0)
    drawn = [numbered.training_batch(np.arange(len(data.train)), rng)[1] for _ in range(100)]
    assert set(torch.cat(drawn).flatten().tolist()) == set(range(1, len(data.train.tokens)))


@pytest.mark.parametrize(("limit", "sizes"), [(20, [20, 5, 5]), (2, [2, 1, 1]), (1000, [45, 5, 5])])
def test_a_limit_bounds_training_windows_and_a_quarter_of_it_the_others(
    tmp_path: Path, limit: int, sizes: list[int]
) -> None:
    data = load_text(write(tmp_path, VERSE), 7, 20, limit)
    assert [len(split) for split in splits(data)] == sizes
    assert data.describe()["sizes"] == dict(zip(("train", "validation", "test"), sizes, strict=True))


def test_the_calibration_order_is_all_training_windows_and_always_the_same(tmp_path: Path) -> None:
    data = load_text(write(tmp_path, VERSE), 7, 20)
    assert sorted(data.calibration_order()) == list(range(len(data.train)))
    np.testing.assert_array_equal(data.calibration_order(), data.calibration_order())


def test_a_digest_changes_with_a_character_its_meaning_and_the_limit(tmp_path: Path) -> None:
    def digest(text: str, limit: int | None = None) -> str:
        return load_text(write(tmp_path, text), 7, 20, limit).digest()

    assert digest(VERSE) == digest(VERSE)
    assert len({digest(VERSE), digest(VERSE[:-2] + "e\n"), digest(VERSE.replace("t", "T")), digest(VERSE, 9)}) == 4


# ---- tokenizers


def test_a_tokenizer_s_tokens_are_all_of_the_text_without_its_cuts(tmp_path: Path) -> None:
    words = ["?", "the", "cat", "sat", "on", "mat"]
    data = load_text(f"{write(tmp_path, VERSE)}@{write_tokenizer(tmp_path, words)}", 3, 6)
    expected = [words.index(word) if word in words else 0 for word in VERSE.split()]
    assert np.concatenate([split.tokens for split in splits(data)]).tolist() == expected
    assert data.tokens == 6
    assert data.metadata()["hwnas.tokenizer"] == "words.json"


def test_another_tokenizer_is_other_data(tmp_path: Path) -> None:
    location = f"{write(tmp_path, VERSE)}@{write_tokenizer(tmp_path, ['?', 'the', 'cat'])}"
    first = load_text(location, 3, 6)
    write_tokenizer(tmp_path, ["?", "the", "cat", "dog"])
    second = load_text(location, 3, 6)
    np.testing.assert_array_equal(first.train.tokens, second.train.tokens)
    assert first.digest() != second.digest()


def test_an_at_sign_in_a_name_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a@b.txt").write_text(VERSE)
    assert load_text(str(tmp_path / "a@b.txt"), 7, 20).tokens == len(set(VERSE))


def test_without_the_package_a_tokenizer_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = f"{write(tmp_path, VERSE)}@{write_tokenizer(tmp_path, ['?'])}"
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # what Python itself puts there to forbid an import
    with pytest.raises(
        DataError, match=r"words\.json: takes the package tokenizers to read; run `pip install hwnas\[text\]`"
    ):
        load_text(location, 3, 6)


@pytest.mark.parametrize("content", ["", "{}", "no json", '{"model": {"type": "Nothing"}}'])
def test_what_is_no_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match=r"t\.json: cannot tokenize \(.+\); give a tokenizer\.json of Hugging Face"):
        load_text(f"{write(tmp_path, VERSE)}@{tmp_path / 't.json'}", 3, 6)


# ---- what is wrong


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("{}/none.txt", r"none\.txt: does not exist; check what follows `text:`"),
        ("{}/a.txt@{}/none.json", r"none\.json: does not exist; check what follows `text:`"),
        ("{}", r"cannot be read \(Is a directory\); give a file, as text:FILE"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, location: str, message: str) -> None:
    write(tmp_path, VERSE)
    with pytest.raises(DataError, match=message):
        load_text(location.replace("{}", str(tmp_path)), 3, 6)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_token(tmp_path: Path, encoding: str) -> None:
    plain = load_text(write(tmp_path, VERSE), 7, 20)
    marked = tmp_path / "marked.txt"
    marked.write_bytes(VERSE.encode(encoding))
    assert load_text(str(marked), 7, 20).digest() == plain.digest()


def test_bytes_that_are_no_utf8_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 " * 50)
    with pytest.raises(DataError, match=r"a\.txt: is not UTF-8 \(byte 3\); convert it, as with iconv -t UTF-8"):
        load_text(str(tmp_path / "a.txt"), 3, 9)


@pytest.mark.parametrize("size", [0, 1, 89])
def test_a_text_too_short_for_a_window_in_every_split_says_how_much_is_needed(tmp_path: Path, size: int) -> None:
    with pytest.raises(DataError, match=rf"a\.txt: its {size} tokens are too few for windows of 8; give at least 90"):
        load_text(write(tmp_path, VERSE[:size]), 8, 20)


def test_the_shortest_text_that_is_said_to_do_does(tmp_path: Path) -> None:
    assert [len(split) for split in splits(load_text(write(tmp_path, VERSE[:90]), 8, 20))] == [8, 1, 1]


def test_more_tokens_than_the_space_takes_name_the_option(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"a\.txt: has 13 tokens, the space takes 11; give --space-option vocabulary=13"
    ):
        load_text(write(tmp_path, VERSE), 8, 11)
    assert load_text(write(tmp_path, VERSE), 8, 100).tokens == 13


def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, VERSE)
    write_tokenizer(tmp_path, ["?", "the"])
    assert load_text("~/a.txt@~/words.json", 3, 9).tokens == 2
