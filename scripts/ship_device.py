"""Makes the shipped files of a device: a table and a predictor per built-in space, at default options and conditions.

    python scripts/ship_device.py amd-epyc --device cpu       # about an hour on two cores; interrupted, it goes on
    python scripts/ship_device.py my-board --device cpu --spaces mobilenet --out devices      # HWNAS_DEVICES=devices finds it

Run it on the device itself, idle. Files go to `latency_tables/` and `predictors/` at the top level of the repository. A
finished table is only fitted again. Shipped tables leave out all fields that fitting does not read, and predictors are
fitted to the shipped tables. Both files record the command, the date and the versions that made them.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import hwnas
from hwnas.core.files import replace_file
from hwnas.core.space import SearchSpace
from hwnas.errors import DeviceError, HwnasError
from hwnas.pipeline.predict import fit_table
from hwnas.predict.shipped import predictor_path, shipped_devices, table_path
from hwnas.profiler.device import Conditions, conditions_here, devices, differences
from hwnas.profiler.profile import Profiling, profile
from hwnas.profiler.table import Row, Table, header_line, line, read_table
from hwnas.spaces import SPACES, load_space
from hwnas.terminal import TerminalReporter

REPOSITORY: Final = Path(__file__).resolve().parents[1]
# Fields that only measuring reads, and the significant digits of a time: tables become a third smaller.
UNREAD: Final = ("rounds_ms", "spread", "calls", "discarded")
DIGITS: Final = 6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="its name in searches: --device NAME")
    parser.add_argument("--device", default="cpu", help="its name on this machine; see `hwnas devices`")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--spaces", nargs="+", default=list(SPACES), choices=list(SPACES), metavar="SPACE")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--allow-unconverged", action="store_true", help="accept measurements that did not converge")
    parser.add_argument("--out", type=Path, default=REPOSITORY, help="the folder of predictors/ and latency_tables/")
    given = parser.parse_args(arguments)
    conditions = conditions_here(given.device, runtime=given.runtime)
    require_new(given.name, given.out, conditions)
    made = {
        "command": shlex.join(
            ["python", "scripts/ship_device.py", *(sys.argv[1:] if arguments is None else arguments)]
        ),
        "date": datetime.now(UTC).date().isoformat(),
        "hwnas": hwnas.__version__,
    }
    for name in given.spaces:
        space, path = load_space(name), table_path(given.out, given.name, name)
        profile(
            Profiling(space=space, conditions=conditions, path=path, reporter=TerminalReporter()),
            networks=given.networks,
        )
        ship(space, path, predictor_path(given.out, given.name, name), made, given.allow_unconverged)


def require_new(name: str, folder: Path, conditions: Conditions) -> None:
    """Raises DeviceError where a device of this machine has the name, or the folder's device of that name is another."""
    if name in [row["device"] for row in devices()] or name != Path(name).name:
        raise DeviceError(f"{name} is no name for a shipped device; take one that says which hardware, as amd-epyc")
    known = shipped_devices([folder]).get(name)
    found = differences(conditions.describe(), known.conditions) if known else []
    if found:
        raise DeviceError(
            f"{folder} has a {name} measured under other conditions: {'; '.join(found)}; take another name"
        )


def ship(space: SearchSpace, table: Path, predictor: Path, made: Mapping[str, str], allow_unconverged: bool) -> None:
    """Slims the table, fits it, and writes the predictor."""
    write_slim(read_table(table), made)
    fitted = fit_table(table, space, allow_unconverged=allow_unconverged)
    provenance = {**fitted.provenance, "table": f"{table.parent.name}/{table.stem}", **made}
    predictor.parent.mkdir(parents=True, exist_ok=True)
    replace(fitted, provenance=provenance).save(predictor)
    sizes = " and ".join(f"{path} ({path.stat().st_size / 1000:.0f} kB)" for path in (table, predictor))
    print(f"{space.name}: held-out error {100 * fitted.report['held_out']['mape']:.2f} %; {sizes}")


def write_slim(table: Table, made: Mapping[str, str]) -> None:
    """Writes the table without the fields that fitting does not read; a table that lacks them already stays unchanged."""
    rows = [slim(row) for row in table.rows]
    if rows == list(table.rows) and "command" in table.provenance:
        return
    header = header_line(table.conditions, table.space, {**table.provenance, **made})
    replace_file(table.path, header + b"".join(line(row) for row in rows))


def slim(row: Row) -> dict[str, Any]:
    return {name: rounded(value) for name, value in row.items() if name not in UNREAD}


def rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


if __name__ == "__main__":
    try:
        main()
    except HwnasError as error:
        sys.exit(f"ship_device: {error}")
