"""front.csv: the front as a table for people and programs."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from hwnas.core.files import replace_file
from hwnas.errors import RunError

_PARSE: Final[Mapping[str, Callable[[str], Any]]] = {
    "<class 'bool'>": {"True": True, "False": False}.__getitem__,
    "<class 'int'>": int,
    "<class 'float'>": float,
    "<class 'str'>": str,
    "float | None": lambda text: float(text) if text else None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """One deployable model. Losses in nats, accuracies as fractions, latencies in milliseconds (`measured_ms`: p10;
    `budget_ms`: of the budget's statistic).

    What was measured is None, in the file empty, where the device was not at hand; `within_budget` then says that the upper
    end of the interval is.
    `model_mib` is of weights and statistics, `peak_mib` of activations alive at once for one sample
    (`SearchSpace.costs`), `energy_mj` of one inference, as predicted; None, in the file empty, where nothing predicts it.
    Perplexities, the exponentials of losses, are those of text; None, in the file empty, for images.
    """

    arch_id: str
    arch: str
    loss_val: float
    accuracy_val: float
    accuracy_test: float
    perplexity_val: float | None = None
    perplexity_test: float | None = None
    predicted_ms: float
    interval_low_ms: float
    interval_high_ms: float
    measured_ms: float | None
    measured_median_ms: float | None
    measured_p90_ms: float | None
    within_budget: bool
    budget_ms: float
    params: int
    flops: int
    model_mib: float
    peak_mib: float
    energy_mj: float | None = None
    onnx: str

    @property
    def latency_ms(self) -> float:
        """As measured (p10); as predicted where it was not."""
        return self.predicted_ms if self.measured_ms is None else self.measured_ms

    @property
    def error(self) -> float | None:
        """Of the prediction, relative to the measurement: 0.05 is predicted 5 % too slow. None where nothing was measured."""
        return None if self.measured_ms is None else self.predicted_ms / self.measured_ms - 1

    @property
    def in_interval(self) -> bool:
        """Whether the latency lies in the interval that was predicted for it."""
        return self.interval_low_ms <= self.latency_ms <= self.interval_high_ms


def named(rows: Sequence[FrontRow]) -> dict[str, FrontRow]:
    """The `fastest`, `knee` and `best` (least validation loss) of a front.

    The knee is furthest below the straight line between the other two, both axes scaled to 0..1
    (Branke et al., "Finding knees in multi-objective optimization", 2004).
    """
    fastest = min(rows, key=lambda row: (row.latency_ms, row.loss_val))
    best = min(rows, key=lambda row: (row.loss_val, row.latency_ms))
    span_ms = (best.latency_ms - fastest.latency_ms) or 1.0
    span_loss = (fastest.loss_val - best.loss_val) or 1.0
    between = [row for row in rows if row not in (fastest, best)] or [best]

    def height(row: FrontRow) -> float:
        return (row.latency_ms - fastest.latency_ms) / span_ms + (row.loss_val - best.loss_val) / span_loss

    return {"fastest": fastest, "knee": min(between, key=height), "best": best}


def write_front(path: Path, rows: Sequence[FrontRow]) -> None:
    """Fastest first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(FrontRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.latency_ms))
    replace_file(path, text.getvalue())


def read_front(path: Path) -> list[FrontRow]:
    """What an older file has no column of is as where nothing is known. Raises RunError where it is missing or damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return _rows(file.read())
    except OSError:
        raise RunError(
            f"{path}: no front there yet; finish the search by `hwnas search --resume --out {path.parent}`"
        ) from None
    except (TypeError, ValueError, csv.Error) as error:
        raise RunError(
            f"{path}: damaged ({error}); `hwnas search --resume --out {path.parent}` writes it again"
        ) from None


def _rows(text: str) -> list[FrontRow]:
    if not text.endswith("\n"):  # a shorter last word would be read as a whole one
        raise ValueError("the last line is torn")
    lines = csv.DictReader(io.StringIO(text, newline=""))
    needed = [field.name for field in fields(FrontRow) if field.default is MISSING]  # older files lack the others
    missing = [name for name in needed if name not in (lines.fieldnames or ())]
    if missing:
        raise ValueError(f"no column {missing[0]}")
    rows = [_row(line) for line in lines]
    if not rows:
        raise ValueError("no rows")
    return rows


def _row(line: Mapping[str, str]) -> FrontRow:
    if None in line:
        raise ValueError("a line has more columns than the header")
    if None in line.values():
        raise ValueError("a line has fewer columns than the header")
    try:
        known = [field for field in fields(FrontRow) if field.name in line]
        return FrontRow(**{field.name: _PARSE[str(field.type)](line[field.name]) for field in known})
    except KeyError as error:
        raise ValueError(f"no {error}") from None
