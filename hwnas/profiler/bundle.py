"""Packs a space's models into one file, to be measured on a board without torch by `python bundle.zip`.

The file is a Python zip application: the models with their inputs and torch's outputs, and the part of hwnas that
measures. Each weight has one of two values, so the models compress to a tenth.
"""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import filelock
import numpy as np
import torch
from torch import nn

import hwnas
from hwnas.core.files import replace_file
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.errors import DeviceError
from hwnas.profiler.board import CONTENTS, SCHEMA
from hwnas.profiler.device import WHOLE, known_options, onnx_precision, require_precisions, tolerance
from hwnas.profiler.export import deployed_onnx, example_input
from hwnas.profiler.profile import (
    FLOOR,
    Workload,
    like_trained,
    operator_workloads,
    provenance,
    random_network_workloads,
)
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.runtime import USUAL

# The files of hwnas that a board needs; none imports torch or scipy.
PROGRAM: Final = (
    "__init__.py",
    "errors.py",
    "core/*.py",
    *(
        f"profiler/{name}.py"
        for name in (
            *("__init__", "board", "bursts", "clock", "cores", "device", "energy", "measure", "nvml", "patience"),
            *("protocol", "rounds", "runtime", "runtime_onnx", "session", "setup", "store", "table"),
        )
    ),
)
MAIN: Final = """import sys
from pathlib import Path

from hwnas.profiler.board import main

sys.exit(main(Path(sys.argv[0]), sys.argv[1:]))
"""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A model of a bundle: the identity of its row, the file, an input, and the output that is expected for it."""

    kind: str
    key: str
    operators: str | None
    onnx: bytes
    x: Any
    expected: Any


def bundle(
    space: SearchSpace,
    path: Path,
    *,
    conditions: Mapping[str, Any],
    networks: int,
    seed: int,
    reporter: Reporter,
) -> int:
    """Writes the bundle and returns the number of its models.

    `conditions` are the arguments of `conditions_here` on the board: device, threads, batch, precision, step, runtime_options.
    Raises UnknownNameError, DeviceError, ExportError.
    """
    known_options(**{name: value for name, value in conditions.items() if name != "threads"})
    if conditions.get("runtime", USUAL) != USUAL:
        raise DeviceError(f"a board measures by {USUAL} only, not by {conditions['runtime']}; leave --runtime out")
    precision = require_precisions(space, conditions)
    works = [FLOOR, *operator_workloads(space), *random_network_workloads(space, networks, seed)]
    contents = {
        "schema": SCHEMA,
        "conditions": dict(conditions),
        "tolerance": tolerance(conditions["device"], precision, conditions.get("runtime_options", {})),
        "space": space.describe(),
        "provenance": provenance(Protocol()),
        "reference": space.largest().key,
        "seed": seed,
    }
    write_bundle(path, contents, (packed(work, conditions) for work in reporter.track(works, "exporting")))
    return len(works)


def write_bundle(path: Path, contents: Mapping[str, Any], models: Iterable[Packed]) -> None:
    """Writes a bundle of models, with the program that measures them; `contents` is what that needs to know besides."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", MAIN)
        for name, text in _program():
            archive.writestr(name, text)
        subjects = []
        for number, model in enumerate(models):
            parts = {
                "model": (f"models/{number}.onnx", model.onnx),
                "input": (f"models/{number}.input.npy", _npy(model.x)),
                "output": (f"models/{number}.output.npy", _npy(model.expected)),
            }
            for name, part in parts.values():
                archive.writestr(name, part)
            files = {part: name for part, (name, _) in parts.items()}
            subjects.append({"kind": model.kind, "key": model.key, "operators": model.operators, "files": files})
        archive.writestr(CONTENTS, json.dumps({**contents, "subjects": subjects}))
    replace_file(path, content.getvalue())


def _program() -> Iterator[tuple[str, bytes]]:
    """Yields the files of hwnas and filelock that the board runs, with their names in the bundle."""
    package = Path(hwnas.__file__).parent
    for pattern in PROGRAM:
        for file in sorted(package.glob(pattern)):
            yield f"hwnas/{file.relative_to(package).as_posix()}", file.read_bytes()
    locks = Path(filelock.__file__).parent
    for file in sorted(locks.rglob("*.py")):
        yield f"filelock/{file.relative_to(locks).as_posix()}", file.read_bytes()


@torch.no_grad()
def packed(work: Workload, conditions: Mapping[str, Any]) -> Packed:
    """Returns a workload as a model whose weights compress, with an input and torch's output."""
    step, batch = conditions.get("step", WHOLE), conditions["batch"]
    module, shape = work.run_in(step, compressible(like_trained(work.make())), batch), work.shape_in(step)
    x = example_input(shape, batch, work.vocabulary)
    model = deployed_onnx(
        module,
        shape,
        [x.numpy()],
        precision=onnx_precision(conditions["precision"]),
        batch=batch,
        vocabulary=work.vocabulary,
    )
    return Packed(work.kind, work.key, work.operators, model, x.numpy(), module.eval()(x).numpy())


@torch.no_grad()
def compressible(module: nn.Module) -> nn.Module:
    """Gives every weight one of two values, plus or minus the standard deviation, in random order. Returns the module.

    The exporter may fold a norm into the weights: then each channel still has two values.
    """
    generator = torch.Generator().manual_seed(0)
    for tensor in module.parameters():
        if tensor.dim() > 1:
            signs = 2 * torch.randint(2, tensor.shape, generator=generator) - 1
            tensor.copy_(signs * tensor.std(unbiased=False).clamp_min(0.02))
    return module


def _npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
