"""Streamed images are those in memory, bit for bit: examples, splits, notes, errors, and what is trained on them."""

import os
import pickle
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import hwnas
from hwnas.core.reporter import Silent
from hwnas.data.dataset import Dataset, load_data
from hwnas.data.options import ImageOptions
from hwnas.data.splits import Examples
from hwnas.data.streamed import Streamed, ahead, is_streamed, mapped
from hwnas.errors import DataError
from hwnas.evaluate.split import SplitScore
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.alone import train_network
from hwnas.train.recipes import BY_OPTIMIZER
from hwnas.train.supernet import train_supernet

SHAPE = (3, 16, 16)
CPU = torch.device("cpu")
MEMORY, STREAMED = (ImageOptions(data_memory_gib=gib, data_workers=2) for gib in (1, 0))
HERE = replace(STREAMED, data_workers=0)
Kind = Callable[[Any, int], Image.Image]


def coloured(rng: Any, shade: int) -> Image.Image:
    height, width = rng.integers(5, 40, 2)
    return Image.fromarray((rng.integers(0, 100, (height, width, 3)) + shade).astype(np.uint8))


def transparent(rng: Any, shade: int) -> Image.Image:
    image = coloured(rng, shade)
    image.putalpha(shade)
    return image


def deep(rng: Any, shade: int) -> Image.Image:
    return Image.fromarray((rng.integers(0, 60000, (9, 12)) + shade).astype(np.uint16))


# Kinds of images by the suffix of their files, each with options of saving.
KINDS: Mapping[str, tuple[Kind, dict[str, Any]]] = {
    "a.png": (coloured, {}),
    "b.jpg": (coloured, {}),
    "c.png": (lambda rng, shade: coloured(rng, shade).convert("L"), {}),
    "d.png": (transparent, {}),
    "e.gif": (coloured, {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]}),
    "f.jpg": (coloured, {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"}),
    "g.bmp": (lambda rng, shade: coloured(rng, shade).convert("P"), {}),
    "h.tiff": (lambda rng, shade: coloured(rng, shade).convert("CMYK"), {}),
}
DEEP: Mapping[str, tuple[Kind, dict[str, Any]]] = {"z.png": (deep, {})}


def write(folder: Path, splits: Sequence[str] = ("train", "val", "test"), *, kinds: Any = KINDS, each: int = 3) -> str:
    """Writes `each` images of every kind in two classes of every split, one of them twice."""
    rng = np.random.default_rng(0)
    for split in splits:
        for shade, name in ((0, "dark"), (150, "bright")):
            (folder / split / name).mkdir(parents=True)
            for number in range(each):
                for suffix, (make, options) in kinds.items():
                    make(rng, shade).save(folder / split / name / f"{number}{suffix}", **options)
            coloured(np.random.default_rng(1), 0).save(folder / split / name / "again.png")
    return f"imagefolder:{folder}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("photos"))


def splits_of(data: Dataset) -> dict[str, Examples]:
    return {"train": data.train, "validation": data.validation, "test": data.test}  # type: ignore[dict-item]


def require_equal(memory: Dataset, streamed: Dataset) -> None:
    for name, split in splits_of(streamed).items():
        other = splits_of(memory)[name]
        assert is_streamed(split.raw) and not is_streamed(other.raw)
        assert (split.raw.shape, split.raw.dtype, len(split)) == (other.raw.shape, other.raw.dtype, len(other))
        assert np.array_equal(split.raw[:], other.raw) and np.array_equal(split.labels, other.labels)
    facts, others = memory.describe(), streamed.describe()
    *notes, last = [note for note in others.pop("notes") if not note.startswith("repeated")]
    assert last.startswith("memory: train, validation, test are decoded anew in every epoch or evaluation")
    assert notes == [note for note in facts["notes"] if not note.startswith("repeated")]
    repeated = [[n for n in data.describe()["notes"] if n.startswith("repeated")] for data in (memory, streamed)]
    assert repeated[0] == repeated[1]
    del facts["notes"]
    assert others == facts
    assert streamed.metadata() == memory.metadata()
    assert np.array_equal(streamed.calibration_order(), memory.calibration_order())


@pytest.mark.parametrize("options", [STREAMED, HERE], ids=["processes", "here"])
def test_streamed_images_of_all_kinds_are_those_in_memory(photos: str, options: ImageOptions) -> None:
    memory = load_data(photos, SHAPE, images=MEMORY)
    require_equal(memory, load_data(photos, SHAPE, images=options))
    told = " ".join(memory.describe()["notes"])
    assert all(word in told for word in ("orientation:", "transparency:", "frames:", "repeated images:"))


@pytest.mark.parametrize("limit", [None, 30])
@pytest.mark.parametrize("shape", [(1, 8, 12), (4, 20, 20)])
def test_splits_are_drawn_alike(tmp_path: Path, shape: tuple[int, int, int], limit: int | None) -> None:
    reference = write(tmp_path, ["train"])
    memory, streamed = (load_data(reference, shape, images=one, seed=3, limit=limit) for one in (MEMORY, STREAMED))
    require_equal(memory, streamed)


def test_deep_grey_that_comes_late_has_the_range_of_all(tmp_path: Path) -> None:
    """All 16 bits, because 8 bits are among them; more images than one batch come before."""
    reference = write(tmp_path, kinds={"a.png": KINDS["a.png"]} | DEEP, each=33)
    memory, streamed = (load_data(reference, SHAPE, images=options) for options in (MEMORY, STREAMED))
    assert any("deep grey" in note for note in memory.describe()["notes"])
    require_equal(memory, streamed)


def said(reference: str, options: ImageOptions) -> str:
    with pytest.raises(DataError) as refusal:
        load_data(reference, SHAPE, images=options)
    return str(refusal.value)


def test_damaged_images_are_listed_and_left_out_alike(tmp_path: Path) -> None:
    reference = write(tmp_path, ["train", "test"], each=2)
    (tmp_path / "train/dark/0a.png").write_bytes(b"no image")
    (tmp_path / "test/bright/1b.jpg").write_bytes((tmp_path / "test/bright/1b.jpg").read_bytes()[:300])
    message = said(reference, MEMORY)
    assert message == said(reference, STREAMED) and "2 images are damaged" in message
    memory, streamed = (
        load_data(reference, SHAPE, images=replace(one, skip_damaged=True)) for one in (MEMORY, STREAMED)
    )
    require_equal(memory, streamed)
    (tmp_path / "train/dark/0a.png").unlink()
    assert said(reference, MEMORY) == said(reference, STREAMED)  # one alone


def test_ranges_that_cannot_be_compared_are_refused_alike(tmp_path: Path) -> None:
    reference = write(tmp_path, ["train"], kinds={"a.png": KINDS["a.png"]})
    for name in ("dark", "bright"):
        Image.fromarray(np.full((9, 9), 700, np.uint16)).save(tmp_path / "train" / name / "deep.png")
    message = said(reference, MEMORY)
    assert message == said(reference, STREAMED) and "hold grey from" in message


@pytest.mark.parametrize("struct", [False, True])
def test_tables_are_streamed_from_disk_alike(photos: str, tmp_path: Path, struct: bool) -> None:
    """Twelve images to a group of rows, shards of 20."""
    for split in ("train", "test"):
        paths = sorted(Path(photos.removeprefix("imagefolder:"), split).rglob("*.*"))
        encoded = [path.read_bytes() for path in paths] + [None] * 2
        images = [{"bytes": one, "path": None} for one in encoded] if struct else encoded
        labels = [int(path.parent.name == "dark") for path in paths] + [0, 1]
        for shard in range(3):
            chosen = slice(20 * shard, 20 * shard + 20) if shard < 2 else slice(40, None)
            table = pa.table(
                {"label": labels[chosen], "image": pa.array(images[chosen], None if struct else pa.binary())}
            )
            pq.write_table(table, tmp_path / f"{split}-0000{shard}-of-00003.parquet", row_group_size=12)
    reference = f"parquet:{tmp_path}"
    assert said(reference, MEMORY) == said(reference, STREAMED)
    skipping = [replace(one, skip_damaged=True) for one in (MEMORY, STREAMED)]
    memory, streamed = (load_data(reference, SHAPE, images=one) for one in skipping)
    require_equal(memory, streamed)
    again = pickle.loads(pickle.dumps(streamed.train.raw))
    assert np.array_equal(again[:5], memory.train.raw[:5])


def test_a_relative_folder_and_names_that_are_no_unicode_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, kinds={"a.png": KINDS["a.png"]})
    os.rename(os.fsencode(tmp_path / "train/dark/0a.png"), os.fsencode(tmp_path / "train/dark") + b"/\xff.png")
    expected = load_data(f"imagefolder:{tmp_path}", SHAPE, images=STREAMED).digest()
    monkeypatch.chdir(tmp_path)
    for reference in ("imagefolder:.", f"imagefolder:../{tmp_path.name}"):
        assert load_data(reference, SHAPE, images=STREAMED).digest() == expected


# ---- batches


def test_rows_are_given_however_they_are_asked_for_and_whatever_was_announced(photos: str) -> None:
    memory, streamed = (load_data(photos, SHAPE, images=options).train.raw for options in (MEMORY, STREAMED))
    rows = np.random.default_rng(0).permutation(len(streamed))
    batches = [rows[start : start + 8] for start in range(0, 24, 8)]
    ahead(streamed, batches)
    for asked in (batches[0], 3, batches[2], slice(2, 9), batches[1], -1, rows < 4, slice(0, 0), batches[2], [5, 1]):
        assert np.array_equal(streamed[asked], memory[asked])
    ahead(streamed, [batches[1]])  # takes the place of what was not asked for
    assert np.array_equal(streamed[batches[1]], memory[batches[1]])
    assert all(np.array_equal(one, other) for one, other in zip(streamed, memory, strict=True))


def test_announced_batches_are_decoded_by_other_processes(photos: str) -> None:
    seen = [int(processes[0]) for processes in mapped(process, [np.arange(3)] * 4, 2)]
    assert len(set(seen)) == 2 and os.getpid() not in seen
    assert {int(processes[0]) for processes in mapped(process, [np.arange(3)], 0)} == {os.getpid()}


def process(rows: np.ndarray) -> np.ndarray:
    return np.full(len(rows), os.getpid())


def test_a_file_that_changes_while_it_is_used_is_named(tmp_path: Path) -> None:
    reference = write(tmp_path, kinds={"a.png": KINDS["a.png"]})
    raw = load_data(reference, SHAPE, images=STREAMED).train.raw
    (tmp_path / "train/dark/1a.png").write_bytes(b"")
    for rows in (slice(None), 3, 4, 5):
        ahead(raw, [np.arange(len(raw))])
        try:
            raw[rows]
        except DataError as error:
            assert "1a.png" in str(error) and "could be read when this began" in str(error)
            break
    else:
        pytest.fail("nothing was said")


def test_a_process_that_dies_is_said(photos: str) -> None:
    with pytest.raises(DataError, match=r"a process that decodes images died .*--data-workers"):
        list(mapped(die, [np.arange(2)] * 3, 2))


def die(rows: np.ndarray) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGKILL)
    return rows


def test_what_is_sent_to_a_process_is_small(photos: str) -> None:
    """On systems that do not fork, a process is sent all that it works on."""
    raw = load_data(photos, SHAPE, images=HERE).train.raw
    assert isinstance(raw, Streamed)
    ahead(raw, [np.arange(3)])
    again = pickle.loads(pickle.dumps(raw))
    assert np.array_equal(again[:], raw[:])


# ---- memory


@pytest.mark.parametrize(("images", "streamed"), [(310, ""), (300, "test"), (149, "val test"), (0.5, "train val test")])
def test_small_splits_are_kept_first(tmp_path: Path, images: float, streamed: str) -> None:
    """Of 64 training images, 18 to validate and 30 to test; those that networks are scored on count five times."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 9), ("test", 15)):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                coloured(rng, 0).save(tmp_path / split / name / f"{number}.png")
    gib = images * np.prod(SHAPE) / 2**30
    data = load_data(f"imagefolder:{tmp_path}", SHAPE, images=replace(HERE, data_memory_gib=gib))
    found = [name for name, split in splits_of(data).items() if is_streamed(split.raw)]
    assert " ".join(found).replace("validation", "val") == streamed


def test_arrays_and_masks_are_not_streamed() -> None:
    assert not is_streamed(load_data("digits", SHAPE, images=STREAMED).train.raw)


# ---- training


def test_a_supernet_and_a_network_trained_on_streamed_images_are_those_trained_in_memory(
    photos: str, tmp_path: Path
) -> None:
    """Dropout would tell if a random number of torch were drawn."""
    space = hwnas.space("mobilenet", resolution=16, width=0.25, classes=2)
    recipe = replace(BY_OPTIMIZER["sgd"], epochs=2, batch_size=16)
    task = load_task("classification")
    found = list[Any]()
    for name, options in (("memory", MEMORY), ("streamed", STREAMED)):
        data = load_data(photos, space.input_shape, images=options)
        torch.manual_seed(0)
        supernet = Supernet(space)
        train_supernet(supernet, data, task, recipe, seed=0, checkpoint=tmp_path / f"{name}.pt", reporter=Silent())
        network = torch.nn.Sequential(torch.nn.Dropout(0.2), supernet.uncalibrated(space.largest()))
        train = partial(train_network, seed=1, reporter=Silent(), what="")
        train(network, data, task, recipe, checkpoint=tmp_path / f"{name}-alone.pt")
        network.eval()
        score = SplitScore(data, task, CPU, batch_size=10)
        found.append((supernet.state_dict(), network.state_dict(), score.score(network), score.score(network)))
    assert found[0][2:] == found[1][2:] and found[0][2] == found[0][3]
    for before, after in zip(found[0][:2], found[1][:2], strict=True):
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
