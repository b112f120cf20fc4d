"""Series from arrays, archives and recordings: what networks get, how it is augmented, and what is refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from hwnas.data.dataset import Dataset, load_data
from hwnas.data.options import ImageOptions
from hwnas.errors import DataError

HEAD = "# a comment\n@problemName Toy\n@univariate true\n@classLabel true up down\n@data\n"


def npz(folder: Path, x: np.ndarray, y: np.ndarray) -> str:
    np.savez(folder / "a.npz", x=x, y=y)
    return f"npz:{folder / 'a.npz'}"


def walks(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (count, *shape))


def ts(folder: Path, lines: str, head: str = HEAD) -> str:
    (folder / "Toy_TRAIN.ts").write_text(head + lines)
    return f"ts:{folder}"


def wav(folder: Path, *, rate: int = 8000, count: int = 10, dtype: type = np.int16) -> str:
    """Tones of two pitches, of lengths from 90 to 120."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / ("high" if number % 2 else "low")
        path.mkdir(exist_ok=True)
        time = np.arange(90 + 30 * number // max(1, count - 1)) + rng.integers(50)
        tone = np.sin(time / (2 if number % 2 else 8))
        samples = tone * 0.5 if dtype is np.float32 else tone * 0.5 * np.iinfo(np.int16).max
        wavfile.write(path / f"{number}.wav", rate, samples.astype(dtype))
    return f"wav:{folder}"


# ---- arrays


@pytest.mark.parametrize("shape", [(24,), (2, 24)])
def test_series_are_standardised_per_channel_by_the_training_split(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x, channels = walks(60, *shape), len(shape)
    x[:, 0] *= 5
    data = load_data(npz(tmp_path, x, np.arange(60) % 3), (channels, 24))
    train = data.inputs(data.train.raw)
    assert train.shape == (36, channels, 24) and train.dtype == torch.float32
    torch.testing.assert_close(train.mean((0, 2)), torch.zeros(channels), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std((0, 2)), torch.ones(channels), atol=1e-2, rtol=0)
    facts = {name: json.loads(data.metadata()[f"hwnas.{name}"]) for name in ("mean", "std", "classes")}
    assert facts["classes"] == ["0", "1", "2"]
    by_hand = (data.test.raw - np.reshape(facts["mean"], (-1, 1))) / np.reshape(facts["std"], (-1, 1))
    np.testing.assert_allclose(data.inputs(data.test.raw).numpy(), by_hand, atol=1e-5)


def test_floating_point_labels_are_numbers_to_predict(tmp_path: Path) -> None:
    data = load_data(npz(tmp_path, walks(30, 24), walks(30, 2)), (1, 24), outputs=2)
    assert (data.task, data.outputs) == ("regression", 2)
    assert data.describe()["augmentation"] == "none"


@pytest.mark.parametrize(
    ("x", "shape", "message"),
    [
        (walks(30, 20), (1, 24), "series have 1 channels of 20 samples, and the space takes 1 channels of 24 samples; give "
         "--space-option channels=1 --space-option length=20"),
        (walks(30, 2, 24), (1, 24), "give --space-option channels=2 --space-option length=24"),
        (walks(30, 2, 3, 4), (1, 24), r"store series as numbers \(N, C, L\) or \(N, L\)"),
        (np.full((30, 24), np.nan), (1, 24), r"30 series are damaged \(.*series 0 holds samples that are missing or not fin"),
        (walks(30, 24), (1, 24, 24), r"examples of shape \(24,\), and the space takes \(1, 24, 24\); .*so store images as uint8"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, x, shape, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(npz(tmp_path, x, np.arange(30) % 2), shape)


def test_damaged_series_are_left_out_when_asked(tmp_path: Path) -> None:
    x = walks(30, 24)
    x[4, 7] = np.inf
    data = load_data(npz(tmp_path, x, np.arange(30) % 2), (1, 24), images=ImageOptions(skip_damaged=True))
    assert sum(map(len, (data.train, data.validation, data.test))) == 29
    assert any("damaged: 1 series are left out" in note for note in data.describe()["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ImageOptions(augmentation="shift+flip"),
            r"shift\+flip is not one of theirs; give none, shift or shift\+noise",
        ),
        (ImageOptions(background="black"), "--background is for images, and the data hold series; leave it out"),
        (ImageOptions(normalise="imagenet"), "--normalise is for images"),
    ],
)
def test_options_of_images_are_refused(tmp_path: Path, options: ImageOptions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(npz(tmp_path, walks(30, 24), np.arange(30) % 2), (1, 24), images=options)


def test_noise_is_refused_for_images() -> None:
    with pytest.raises(DataError, match=r"holds images, and --augmentation shift\+noise is not one of theirs"):
        load_data("digits", (1, 16, 16), images=ImageOptions(augmentation="shift+noise"))


# ---- augmentation


def augmented(tmp_path: Path, augmentation: str) -> tuple[torch.Tensor, torch.Tensor]:
    data: Dataset = load_data(
        npz(tmp_path, walks(80, 24), np.arange(80) % 2), (1, 24), images=ImageOptions(augmentation=augmentation)
    )
    rows = np.arange(len(data.train))
    return data.inputs(data.train.raw[rows]), data.training_batch(rows, np.random.default_rng(0))[0]


def test_a_shifted_series_is_the_series_moved_with_zeros_in_the_gap(tmp_path: Path) -> None:
    plain, moved = augmented(tmp_path, "shift")
    shifts = set()
    for before, after in zip(plain[:, 0], moved[:, 0], strict=True):
        fits = [
            shift
            for shift in range(-3, 4)
            if torch.equal(after[max(0, shift) : 24 + min(0, shift)], before[max(0, -shift) : 24 - max(0, shift)])
        ]
        assert len(fits) == 1
        gap = after[: fits[0]] if fits[0] > 0 else after[24 + fits[0] :]
        assert not gap.any()
        shifts.add(fits[0])
    assert shifts == set(range(-3, 4))


def test_noise_is_a_tenth_of_the_deviation(tmp_path: Path) -> None:
    _, moved = augmented(tmp_path, "shift")
    _, noisy = augmented(tmp_path, "shift+noise")
    assert float((noisy - moved).std()) == pytest.approx(0.1, rel=0.1)


# ---- archives


def test_an_archive_has_the_classes_and_channels_that_its_lines_have(tmp_path: Path) -> None:
    lines = [f"1,2,{n}.5,4:5,6,7,{n}:{'up' if n % 2 else 'down'}" for n in range(20)]
    reference = ts(tmp_path, "\n".join(lines))
    (tmp_path / "Toy_TEST.ts").write_text(HEAD + "9,9,9,9:8,8,8,8:up")
    data = load_data(reference, (2, 4), outputs=2)
    assert json.loads(data.metadata()["hwnas.classes"]) == ["down", "up"]
    assert data.test.raw.tolist() == [[[9] * 4, [8] * 4]] and data.test.labels.tolist() == [1]
    assert {tuple(row[0, :2]) for row in data.train.raw} == {(1, 2)}


@pytest.mark.parametrize(
    ("lines", "head", "message"),
    [
        ("1,2,3:up\n1,2:down", HEAD, "series have 2 to 3 samples; cut or pad them to one shape"),
        ("1,2,3:up\n1,2,3:4,5,6:down", HEAD, "series have 1 to 2 channels"),
        ("1,2,3:up\n1,x,3:down", HEAD, "line 7: could not convert string to float: 'x'; correct it"),
        ("", HEAD, "has no series after @data"),
        ("1,2,3:up", "@data\n", "names neither classes nor targets"),
        ("(0,1),(1,2):up", HEAD.replace("@data", "@timestamps true\n@data"), "time stamps|could not convert"),
        ("\n".join(["1,2,?:up"] * 5 + ["1,2,3:down"] * 5), HEAD, "5 series are damaged .*missing or not finite"),
    ],
)
def test_damaged_archives_are_refused_in_one_line(tmp_path: Path, lines: str, head: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(ts(tmp_path, lines, head), (1, 3))


def test_one_problem_of_several_is_named_by_its_training_file(tmp_path: Path) -> None:
    lines = "\n".join(f"1,2,{n}:{'up' if n % 2 else 'down'}" for n in range(10))
    reference = ts(tmp_path, lines)
    (tmp_path / "Other_TRAIN.ts").write_text(HEAD + lines)
    with pytest.raises(DataError, match=r"has Other_TRAIN.ts and Toy_TRAIN.ts, both for train; name one"):
        load_data(reference, (1, 3))
    assert len(load_data(f"{reference}/Toy_TRAIN.ts", (1, 3)).train) == 6


# ---- recordings


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_recordings_are_cropped_or_padded_in_the_middle(tmp_path: Path, dtype: type) -> None:
    data = load_data(wav(tmp_path, dtype=dtype), (1, 100))
    assert json.loads(data.metadata()["hwnas.classes"]) == ["high", "low"]
    raw = np.concatenate([split.raw[:, 0] for split in (data.train, data.validation, data.test)])
    assert raw.shape == (10, 100) and 0.4 < np.abs(raw).max() <= 0.5
    padded = (raw[:, 0] == 0) & (raw[:, -1] == 0)
    assert 0 < padded.sum() < 10
    facts = {name: json.loads(data.metadata()[f"hwnas.{name}"]) for name in ("rate", "length", "fit")}
    assert facts == {"rate": 8000, "length": 100, "fit": "crop or pad both ends"}


def test_stereo_is_mixed_down(tmp_path: Path) -> None:
    reference = wav(tmp_path)
    left = np.full(100, 1000, np.int16)
    wavfile.write(tmp_path / "low" / "0.wav", 8000, np.stack([left, -left], axis=1))
    data = load_data(reference, (1, 100))
    raw = np.concatenate([split.raw[:, 0] for split in (data.train, data.validation, data.test)])
    assert (~raw.any(axis=1)).sum() == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "cannot be read as WAV"),
        (lambda path: path.write_bytes(b"no recording"), "cannot be read as WAV"),
        (lambda path: wavfile.write(path, 16000, np.ones(99, np.int16)), "has 16,000 Hz where others have 8,000: resample it"),
        (lambda path: wavfile.write(path, 8000, np.ones(0, np.int16)), "holds no samples"),
        (lambda path: wavfile.write(path, 8000, np.full(99, np.nan, np.float32)), "missing or not finite"),
    ],
)  # fmt: skip
def test_damaged_recordings_are_refused_in_one_line_or_left_out(tmp_path: Path, damage, message: str) -> None:
    reference = wav(tmp_path)
    damage(tmp_path / "low" / "8.wav")
    with pytest.raises(DataError, match=message) as error:
        load_data(reference, (1, 100))
    assert "--skip-damaged" in str(error.value) and "\n" not in str(error.value)
    data = load_data(reference, (1, 100), images=ImageOptions(skip_damaged=True))
    assert sum(map(len, (data.train, data.validation, data.test))) == 9


def test_every_byte_of_a_head_that_is_damaged_gives_a_recording_or_one_line(tmp_path: Path) -> None:
    reference = wav(tmp_path)
    path = tmp_path / "low" / "0.wav"
    whole = path.read_bytes()
    for place in range(44):
        for byte in (0, 255):
            path.write_bytes(whole[:place] + struct.pack("B", byte) + whole[place + 1 :])
            try:
                load_data(reference, (1, 100))
            except DataError as error:
                assert "0.wav: " in str(error)


def test_folders_without_recordings_and_networks_of_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    with pytest.raises(DataError, match="has 1 classes"):
        load_data(f"wav:{tmp_path}", (1, 100))
    with pytest.raises(
        DataError, match=r"holds series, but the space takes inputs of shape \(3, 32, 32\); give --space ser"
    ):
        load_data(f"wav:{tmp_path}", (3, 32, 32))
    with pytest.raises(DataError, match="mixed down to 1 channel; give --space-option channels=1"):
        load_data(f"wav:{tmp_path}", (2, 100))
    with pytest.raises(DataError, match="holds images, but the space takes inputs of shape"):
        load_data("digits", (1, 64))
