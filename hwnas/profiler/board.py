"""Measuring a bundle on a board that has Python, numpy and onnxruntime, and nothing else; this runs inside the bundle."""

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

from hwnas.core.reporter import Reporter
from hwnas.errors import DeviceError, HwnasError, TableError
from hwnas.profiler.device import Conditions, conditions_here
from hwnas.profiler.measure import Subject, fill, repeated
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.runtime import Forms, Model, require_output
from hwnas.profiler.store import TableWriter

Item = TypeVar("Item")

CONTENTS: Final = "bundle.json"
SCHEMA: Final = 1


@final
class PlainReporter:
    """A line on stderr for every step: a board's terminal may be a serial line."""

    def track(self, items: Sequence[Item], what: str) -> Iterable[Item]:
        self.note(what)
        return items

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def main(bundle: Path, arguments: Sequence[str]) -> int:
    """`python bundle.zip --out table.jsonl`; the exit code."""
    parser = argparse.ArgumentParser(prog=f"python {bundle.name}", description="Measures the bundle's models here.")
    parser.add_argument("--out", type=Path, default=Path("table.jsonl"), help="An existing table is continued.")
    parser.add_argument("--threads", type=int, help="Threads of one inference; by default those of the bundle.")
    options = parser.parse_args(arguments)
    try:
        facts = measure_bundle(bundle, options.out, threads=options.threads, reporter=PlainReporter())
    except HwnasError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(facts))
    return 0


def measure_bundle(bundle: Path, out: Path, *, threads: int | None, reporter: Reporter) -> dict[str, Any]:
    """Measures what the table at `out` lacks of the bundle; how many rows that were, and how many are in the table.

    Raises TableError for a bundle of another version, DeviceError, MeasurementError.
    """
    with zipfile.ZipFile(bundle) as archive:
        contents = json.loads(archive.read(CONTENTS))
        if contents["schema"] != SCHEMA:
            raise TableError(f"{bundle}: schema {contents['schema']}, this version reads {SCHEMA}; bundle again")
        asked = contents["conditions"]
        conditions = conditions_here(**(asked if threads is None else asked | {"threads": threads}))
        load = partial(_loaded, archive, conditions, contents["tolerance"])
        subjects = [
            Subject(kind=each["kind"], key=each["key"], operators=each["operators"], load=partial(load, each["files"]))
            for each in contents["subjects"]
        ]
        protocol = Protocol(**contents["provenance"]["protocol"])
        reference = next(each for each in subjects if each.key == contents["reference"])
        with TableWriter(out, conditions.describe(), contents["space"], contents["provenance"]) as table:
            parts = (subjects, repeated(subjects))
            tally = fill(
                table,
                parts,
                reference,
                protocol,
                threads=conditions.threads,
                clock=conditions.clock(),
                reporter=reporter,
                seed=contents["seed"],
            )
            unconverged = sum(not row["converged"] for row in table.rows.values())
            return {"table": str(out), "rows": len(table.rows), "measured": tally.measured, "unconverged": unconverged}


def _loaded(
    archive: zipfile.ZipFile, conditions: Conditions, tolerance: float, files: dict[str, str]
) -> tuple[Model, int]:
    """The model, checked against the output that torch gave where the bundle was made."""
    content = archive.read(files["model"])
    x, expected = (np.load(io.BytesIO(archive.read(files[name]))) for name in ("input", "output"))
    model, size = conditions.load(Forms(module=_no_torch, onnx=lambda: content))
    model.bind(x)
    require_output(model, x, expected, tolerance)
    return model, size


def _no_torch() -> None:
    raise DeviceError("a bundle has no torch modules")
