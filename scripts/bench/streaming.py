"""Measures memory and speed of images that are decoded anew in every epoch, against images in memory.

    python scripts/bench/streaming.py write /tmp/photos --images 20000      # generated images of mixed sizes, formats and modes
    python scripts/bench/streaming.py train /tmp/photos                     # peak memory and time, in memory and streamed
    python scripts/bench/streaming.py decode /tmp/photos                    # images per second, against the decoder's own limit
    python scripts/bench/streaming.py lay-out /tmp/imagenet                 # ImageNet's 1,281,167 files as links to one image
    python scripts/bench/streaming.py index /tmp/imagenet                   # time and memory until its files are known

`train` trains the smallest network of `mobilenet` for an epoch on a quarter and on all of the images, each in a process of its
own, and scores it on the validation split. Memory is the peak of that process (its resident set), less what it
has once all modules are imported; `workers_mib` is the largest resident set of a worker process, most of which it shares with
its parent. `weights` is a hash of those that were trained: the same in memory and streamed.

`decode` reads training images in random order. `alone` is the decoder in one process without anything else: Pillow's decoding
and resizing. Seconds are of the processors, so that other work on the machine counts little, and `wall` of the clock.

`lay-out` makes hard links, in a folder per class of `train` and `val`, with ImageNet's names and numbers of files.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

import hwnas
from hwnas.core.reporter import Silent
from hwnas.data.dataset import load_data
from hwnas.data.folders import read_folder
from hwnas.data.options import ImageOptions
from hwnas.data.pictures import Preparation
from hwnas.data.streamed import ahead
from hwnas.evaluate.split import SplitScore
from hwnas.modules.assemble import network
from hwnas.tasks.registry import load_task
from hwnas.train.alone import train_network
from hwnas.train.recipes import BY_OPTIMIZER

CLASSES: Final = 10
MODES: Final = ("RGB", "RGB", "RGB", "L", "RGBA", "P", "CMYK")
SUFFIXES: Final = {"RGB": "jpg", "L": "jpg", "CMYK": "jpg", "RGBA": "png", "P": "png"}
IMAGENET: Final = {"train": (1_281_167, 1000), "val": (50_000, 1000)}
LINKS: Final = 30_000  # links to one file: file systems have a limit, ext4 65,000
BATCH: Final = 64
MIB: Final = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)  # of a process of `train`
    parser.add_argument("--gib", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for row in SUBJECTS[arguments.subject](arguments):
        print(json.dumps(row), flush=True)


def write(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Writes smooth noise of 24 to 160 pixels a side, whose brightness is that of its class."""
    rng = np.random.default_rng(0)
    modes = dict.fromkeys(MODES, 0)
    for number in range(arguments.images):
        label, mode = number % CLASSES, MODES[int(rng.integers(len(MODES)))]
        coarse = rng.integers(0, 130, (8, 8, 3)) + 12 * label
        size = tuple(rng.integers(24, 161, 2).tolist())
        image = Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC).convert(mode)
        path = arguments.folder / f"class-{label}" / f"{number:06}.{SUFFIXES[mode]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, compress_level=1)
        modes[mode] += 1
    return [{"images": arguments.images, "modes": modes}]


def train(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows = list[dict[str, Any]]()
    for count in (arguments.images // 4, arguments.images):
        for gib in (100.0, 0.0):
            options = [f"--limit={3 * count // 5}", f"--gib={gib}", f"--resolution={arguments.resolution}"]
            command = [sys.executable, __file__, "one", str(arguments.folder), *options]
            done = subprocess.run(
                [*command, f"--workers={arguments.workers}"], capture_output=True, text=True, check=True
            )
            rows.append(json.loads(done.stdout))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def one(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains one network once; a process of its own."""
    space = hwnas.space("mobilenet", resolution=arguments.resolution, width=0.25, classes=CLASSES)
    imported_mib = peak_mib()
    began = processors_s()
    options = ImageOptions(data_memory_gib=arguments.gib, data_workers=arguments.workers)
    data = load_data(f"imagefolder:{arguments.folder}", space.input_shape, limit=arguments.limit, images=options)
    digest = data.digest()
    loaded, task = processors_s(), load_task("classification")
    torch.manual_seed(0)
    module = network(space, space.smallest())
    recipe = replace(BY_OPTIMIZER["sgd"], epochs=1)
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "one.pt"
        train_network(module, data, task, recipe, seed=0, checkpoint=checkpoint, reporter=Silent(), what="")
    trained = processors_s()
    score = SplitScore(data, task, torch.device("cpu")).score(module.eval())
    weights = b"".join(tensor.numpy().tobytes() for tensor in module.state_dict().values())
    return [
        {
            "images": "memory" if arguments.gib else "streamed",
            "train": len(data.train),
            "validation": len(data.validation),
            "decoded_mib": round(
                sum(len(part) for part in (data.train, data.validation, data.test)) * size(data) / MIB
            ),
            "peak_mib": round(peak_mib() - imported_mib),
            "workers_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
            "load_s": round(loaded - began, 1),
            "epoch_s": round(trained - loaded, 1),
            "score_s": round(processors_s() - trained, 1),
            "data": digest,
            "weights": hashlib.blake2s(weights).hexdigest()[:8],
            "accuracy": score["accuracy"],
        }
    ]


def size(data: Any) -> int:
    return int(np.prod(data.train.raw.shape[1:]))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def decode(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    shape = (3, arguments.resolution, arguments.resolution)
    options = ImageOptions(data_memory_gib=0, data_workers=arguments.workers)
    raw = load_data(f"imagefolder:{arguments.folder}", shape, limit=arguments.limit or 3000, images=options).train.raw
    order = np.random.default_rng(0).permutation(len(raw))
    pictures, prepare = read_folder(arguments.folder).train, Preparation(shape)
    rows = order[: len(order) // BATCH * BATCH]
    batches = np.split(rows, len(rows) // BATCH)

    def alone() -> None:
        for row in rows.tolist():
            prepare(pictures.image(row))

    def streamed() -> None:
        ahead(raw, batches)
        for batch in batches:
            raw[batch]
        ahead(raw, [])  # ends the processes, whose seconds count from then on

    return [timed(name, function, len(rows)) for name, function in (("alone", alone), ("streamed", streamed)) * 2]


def timed(name: str, function: Callable[[], None], count: int) -> dict[str, Any]:
    began, before = time.perf_counter(), processors_s()
    function()
    seconds, wall = processors_s() - before, time.perf_counter() - began
    return {"images": count, "by": name, "per_processor_s": round(count / seconds), "per_wall_s": round(count / wall)}


def processors_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def lay_out(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    arguments.folder.mkdir(parents=True)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8))
    source, links = arguments.folder / "source.jpg", 0
    for split, (count, classes) in IMAGENET.items():
        for number in range(count):
            if links % LINKS == 0:
                source.unlink(missing_ok=True)
                image.save(source)
            links += 1
            name = f"n{number % classes:08}"
            path = f"{arguments.folder}/{split}/{name}/{name}_{number // classes}.JPEG"
            if number < classes:
                os.makedirs(os.path.dirname(path))
            os.link(source, path)
    source.unlink()
    return [{"files": links}]


def index(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    before, began = peak_mib(), time.perf_counter()
    collection = read_folder(arguments.folder)
    seconds, processors = time.perf_counter() - began, time.process_time()
    files = sum(len(part.labels) for part in collection.parts.values())
    mib = peak_mib() - before
    return [{"files": files, "seconds": round(seconds), "process_s": round(processors), "peak_mib": round(mib)}]


SUBJECTS: Final = {"write": write, "train": train, "one": one, "decode": decode, "lay-out": lay_out, "index": index}


if __name__ == "__main__":
    main()
