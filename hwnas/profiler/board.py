"""Measures a bundle on a board that has only Python, numpy and onnxruntime. This module runs inside the bundle."""

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, final

import numpy as np

from hwnas.core.archives import require_bounded
from hwnas.core.files import json_of
from hwnas.core.reporter import Reporter
from hwnas.errors import DeviceError, HwnasError, TableError
from hwnas.profiler.device import Conditions, conditions_here
from hwnas.profiler.measure import Subject, fill, repeated
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.runtime import Forms, Model, require_output
from hwnas.profiler.setup import Setup
from hwnas.profiler.store import TableWriter

Item = TypeVar("Item")

CONTENTS: Final = "bundle.json"
SCHEMA: Final = 1


@final
class PlainReporter:
    """Prints a line on stderr for every step: a board's terminal may be a serial line."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        self.note(what)
        return items

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def main(bundle: Path, arguments: Sequence[str]) -> int:
    """Runs `python bundle.zip --out table.jsonl` and returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python {bundle.name}", description="Measures the bundle's models here.")
    parser.add_argument("--out", type=Path, default=Path("table.jsonl"), help="An existing table is continued.")
    parser.add_argument("--threads", type=int, help="Threads of one inference; by default those of the bundle.")
    options = parser.parse_args(arguments)
    try:
        facts = measure_bundle(bundle, options.out, threads=options.threads, reporter=PlainReporter())
    except HwnasError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{parser.prog}: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(facts))
    return 0


def measure_bundle(bundle: Path, out: Path, *, threads: int | None, reporter: Reporter) -> dict[str, Any]:
    """Measures the rows of the bundle that the table at `out` lacks. Returns the number of rows measured and of all rows.

    Raises TableError for a bundle of another version, DeviceError, MeasurementError.
    """
    require_bounded(bundle, TableError)
    with zipfile.ZipFile(bundle) as archive:
        contents = json_of(archive.read(CONTENTS))
        if contents["schema"] != SCHEMA:
            raise TableError(f"{bundle}: schema {contents['schema']}, this version reads {SCHEMA}; bundle again")
        requested = contents["conditions"]
        conditions = conditions_here(**(requested if threads is None else requested | {"threads": threads}))
        load = partial(_loaded, archive, conditions, contents["tolerance"])
        subjects = [
            Subject(kind=item["kind"], key=item["key"], operators=item["operators"], load=partial(load, item["files"]))
            for item in contents["subjects"]
        ]
        setup = Setup(
            protocol=Protocol(**contents["provenance"]["protocol"]),
            rng=np.random.default_rng(contents["seed"]),
            reporter=reporter,
            clock=conditions.clock(),
            threads=conditions.threads,
        )
        reference = next(subject for subject in subjects if subject.key == contents["reference"])
        with TableWriter(out, conditions.describe(), contents["space"], contents["provenance"]) as table:
            tally = fill(table, (subjects, repeated(subjects)), reference, setup)
            unconverged = sum(not row["converged"] for row in table.rows.values())
            return {"table": str(out), "rows": len(table.rows), "measured": tally.measured, "unconverged": unconverged}


def _loaded(
    archive: zipfile.ZipFile, conditions: Conditions, tolerance: float, files: dict[str, str]
) -> tuple[Model, int]:
    """Returns the model, checked against torch's output on the machine that made the bundle, and its size in bytes."""
    content = archive.read(files["model"])
    arrays = (io.BytesIO(archive.read(files[name])) for name in ("input", "output"))
    x, expected = (np.load(array, allow_pickle=False) for array in arrays)
    model, size = conditions.load(Forms(module=_no_torch, onnx=lambda: content))
    model.bind(x)
    require_output(model, x, expected, tolerance)
    return model, size


def _no_torch() -> None:
    raise DeviceError("a bundle has no torch modules")
