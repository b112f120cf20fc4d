"""Memory: images that do not fit are refused before they are loaded, and statistics take little beside the images."""

import math
import os
import re
import resource
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hwnas.data import tables
from hwnas.data.dataset import load_data
from hwnas.data.memory import available_bytes, require_memory
from hwnas.data.options import ImageOptions
from hwnas.data.pictures import normalisation
from hwnas.data.streamed import is_streamed
from hwnas.errors import DataError

MIB = 2**20
TOLD = pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="this system does not tell its memory")


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leaves this process 100 MiB beside the memory that it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resource.setrlimit(resource.RLIMIT_AS, (int(facts["VmSize"].split()[0]) * 1024 + 100 * MIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def write_folder(folder: Path, count: int) -> str:
    for number in range(count):
        (folder / "ab"[number % 2]).mkdir(exist_ok=True)
        Image.new("L", (8, 8), number).save(folder / "ab"[number % 2] / f"{number}.png")
    return f"imagefolder:{folder}"


@TOLD
def test_images_that_do_not_fit_are_refused_before_they_are_loaded(tmp_path: Path, little_memory: None) -> None:
    reference = write_folder(tmp_path, 12)
    with pytest.raises(DataError) as refusal:
        load_data(reference, (3, 4000, 4000), images=ImageOptions(data_memory_gib=9))
    message = str(refusal.value)
    assert message.startswith(
        f"{reference}: 12 images of 3 x 4000 x 4000 take 0.5 GiB of memory, 0.1 GiB are available"
    )
    assert message.endswith("; give a smaller --data-memory-gib") and "\n" not in message
    assert len(load_data(reference, (3, 8, 8)).train) == 8


@TOLD
def test_images_that_take_more_than_half_of_the_memory_are_streamed(tmp_path: Path, little_memory: None) -> None:
    data = load_data(write_folder(tmp_path, 60), (3, 1300, 1300), images=ImageOptions(data_workers=0))
    assert is_streamed(data.train.raw) and not is_streamed(load_data(data.reference, (3, 8, 8)).train.raw)


@TOLD
def test_arrays_that_do_not_fit_are_refused_before_they_are_loaded(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (("x", (12, 4000, 4000)), ("y", (12,))):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for _ in range(shape[0]):
                    file.write(bytes(math.prod(shape[1:])))
    request.getfixturevalue("little_memory")  # not before: writing takes memory, too
    with pytest.raises(
        DataError, match=r"a\.npz: its arrays take 0\.2 GiB of memory, 0\.1 GiB are available; use fewer or smaller"
    ):
        load_data(f"npz:{tmp_path / 'a.npz'}", (3, 8, 8))


@TOLD
def test_tables_that_declare_more_than_fits_are_refused_before_they_are_loaded(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    with pq.ParquetWriter(tmp_path / "train.parquet", schema, compression="zstd", use_dictionary=False) as writer:
        for number in range(20):
            writer.write_table(pa.table({"image": [bytes(10 * MIB)], "label": [number % 2]}, schema))
    assert (tmp_path / "train.parquet").stat().st_size < MIB
    request.getfixturevalue("little_memory")
    with pytest.raises(DataError, match=r"its images take 0\.2 GiB of memory, .* GiB are available; use fewer rows"):
        load_data(f"parquet:{tmp_path}", (3, 8, 8))


# What reserves addresses that a limit counts: Arrow's usual pools (1 GiB at once), and stacks and arenas of threads.
FRUGAL = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
LIMITED = """
import resource, sys
from pathlib import Path
import pyarrow.parquet
from hwnas.data.dataset import load_data
from hwnas.errors import DataError
facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
most = int(facts["VmSize"].split()[0]) * 1024 + 2**30
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    load_data(sys.argv[1], (3, 8, 8))
except DataError as error:
    print(error)
"""


@TOLD
def test_a_table_whose_dictionary_repeats_an_image_is_refused_while_it_is_loaded(tmp_path: Path) -> None:
    """A process of its own has 1 GiB for 4 GiB of images in a file of 1 MiB."""
    images = pa.DictionaryArray.from_arrays(np.zeros(4000, np.int32), pa.array([bytes(MIB)]))
    table = pa.table({"image": images, "label": np.arange(4000) % 2})
    pq.write_table(table, tmp_path / "train.parquet", store_schema=False)
    assert (tmp_path / "train.parquet").stat().st_size < 2 * MIB
    command = [sys.executable, "-c", LIMITED, f"parquet:{tmp_path}"]
    done = subprocess.run(command, env=os.environ | FRUGAL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"train\.parquet: its (next images take|images do not fit into) .*memory.*; use fewer rows", done.stdout
    )


def test_the_memory_is_looked_at_once_per_64_mib_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dict[str, list[int]]()
    for name, size, count in (("small", 100, 640), ("large", 2 * MIB, 80)):
        asked[name] = []
        monkeypatch.setattr(tables, "require_memory", lambda *request, sizes=asked[name]: sizes.append(request[2]))
        (tmp_path / name).mkdir()
        rows = pa.table({"image": [bytes(size)] * count, "label": np.arange(count) % 2})
        pq.write_table(rows, tmp_path / name / "train.parquet")
        tables.read_parquet(tmp_path / name)
    assert len(asked["small"]) == 1  # what the file declares
    assert (
        len(asked["large"]) == 2 and asked["large"][1] >= 128 * MIB
    )  # 64 rows of 2 MiB; the last 16 are less than 64 MiB


@pytest.mark.parametrize("more", [[], ["img"], ["img", "labels"]])
def test_only_the_columns_that_are_read_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    asked = list[int]()
    monkeypatch.setattr(tables, "require_memory", lambda where, what, needed, advice: asked.append(needed))
    columns = {"image": [bytes([n]) * 1000 for n in range(12)], "label": np.arange(12) % 2}
    extra = {"img": [bytes([n, 1]) * 50_000 for n in range(12)], "labels": np.arange(12)}
    table = pa.table(columns | {name: extra[name] for name in more})
    pq.write_table(table, tmp_path / "train.parquet")
    tables.read_parquet(tmp_path)
    assert 12_000 < asked[0] < 16_000


@TOLD
def test_a_message_says_both_sizes_and_what_to_do() -> None:
    require_memory("here", "nothing", 0)
    with pytest.raises(
        DataError, match=r"^here: images take 1048576\.0 GiB of memory, .* GiB are available; ask for less$"
    ):
        require_memory("here", "images", 2**50, "ask for less")


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, 500),
        ({"proc/self/cgroup": "0::/a/b", "a/b/memory.max": "max", "a/b/memory.current": "7"}, 500),
        ({"proc/self/cgroup": "0::/a/b", "a/b/memory.max": "300", "a/b/memory.current": "100"}, 200),
        ({"proc/self/cgroup": "0::/a/b", "a/memory.max": "300", "a/memory.current": "100"}, 200),
        ({"proc/self/cgroup": "0::/host/c", "memory.max": "90", "memory.current": "80"}, 10),
        ({"proc/self/cgroup": "0::/", "memory.max": "90", "memory.current": "95"}, 0),
        (
            {
                "proc/self/cgroup": "3:cpu:/d\n2:memory:/d",
                "memory/d/memory.limit_in_bytes": "400",
                "memory/d/memory.usage_in_bytes": "100",
                "memory/d/memory.stat": "total_inactive_file 50",
            },
            350,
        ),
    ],
    ids=["none", "max", "group", "parent", "container", "more-than-all", "version-1"],
)
def test_what_control_groups_leave_is_what_is_available(files: dict[str, str], left: int, tmp_path: Path) -> None:
    """Figures are in MiB, of a machine with 500."""
    meminfo = tmp_path / "proc/meminfo"
    meminfo.parent.mkdir()
    meminfo.write_text(f"MemAvailable: {500 * 1024} kB\n")
    for name, content in files.items():
        path = tmp_path / ("" if name.startswith("proc") else "sys/fs/cgroup") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        words = content.split(" ")
        path.write_text(" ".join(str(int(word) * MIB) if word.isdigit() else word for word in words))
        stat = path.parent / "memory.stat"
        if not stat.exists():
            stat.write_text("")
    assert available_bytes(tmp_path) == left * MIB


def test_statistics_take_little_memory_and_are_those_of_all_images_at_once() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4000, 3, 64, 64), dtype=np.uint8)
    tracemalloc.start()
    found = normalisation(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * images.nbytes  # of 47 MiB: the squares of 4 MiB
    parts = images.transpose(1, 0, 2, 3).reshape(3, -1)
    mean = parts.mean(axis=1)
    variance = np.square(parts, dtype=np.uint16).mean(axis=1) - mean**2
    assert found.mean == tuple((mean / 255).tolist())
    assert found.std == tuple((np.sqrt(variance) / 255).tolist())


def test_loading_takes_little_more_than_the_images(tmp_path: Path) -> None:
    reference = write_folder(tmp_path, 40)
    load_data(reference, (3, 8, 8))  # imports
    tracemalloc.start()
    data = load_data(reference, (3, 512, 512))
    data.digest()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.4 * sum(split.raw.nbytes for split in (data.train, data.validation, data.test))
