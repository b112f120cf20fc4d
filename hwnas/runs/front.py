"""front.csv: the front as a table for people and programs."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, final

from hwnas.core.files import decoded, json_of, replace_file
from hwnas.errors import RunError
from hwnas.runs.objectives import best_under, named

__all__ = ["DeviceLatency", "FrontRow", "best_under", "fronts_text", "named", "read_front", "write_front"]

METRIC_ENDS: Final = ("_val", "_test", "_val_before", "_test_before")
_WORDS: Final = ("arch_id", "arch", "device", "stages", "onnx")
# The last cell is a model's file: with such an end, the last line is whole without a newline.
_WHOLE_ENDS: Final = (".onnx", '.onnx"')
_VERDICTS: Final[Mapping[str, bool]] = {"true": True, "false": False}  # spreadsheets write capitals


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLatency:
    """Latencies of one model on one device, in milliseconds. `measured_ms` is the p10, `budget_ms` of the budget's statistic.

    Measurements are None where the device was not at hand; `within_budget` then holds the upper end of the interval against
    the budget. Without a budget, which is None then, every model is within it. `within_noise` is True where the measurement
    is nearer to the budget than another one may be to it: then another session may find the model over it.
    """

    device: str
    predicted_ms: float
    interval_low_ms: float
    interval_high_ms: float
    measured_ms: float | None
    measured_median_ms: float | None
    measured_p90_ms: float | None
    within_budget: bool
    budget_ms: float | None
    within_noise: bool = False

    @property
    def latency_ms(self) -> float:
        """The latency as measured (p10), or as predicted where it was not measured."""
        return self.predicted_ms if self.measured_ms is None else self.measured_ms

    @property
    def error(self) -> float | None:
        """The error of the prediction, relative to the measurement: 0.05 is predicted 5 % too slow. None if not measured."""
        return None if self.measured_ms is None else self.predicted_ms / self.measured_ms - 1

    @property
    def in_interval(self) -> bool:
        """True where the latency lies in the interval that was predicted for it."""
        return self.interval_low_ms <= self.latency_ms <= self.interval_high_ms


_TIMES: Final = tuple(one.name for one in fields(DeviceLatency) if one.name != "device")
_LATER: Final = "within_noise"  # files of earlier builds have no such column


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FrontRow:
    """One deployable model. Every column of front.csv is an attribute, too: `row.accuracy_test`, `row.predicted_ms`.

    `metrics` are by metric and split (`loss_val`, `accuracy_test`); `..._before` are those before final training. `latencies`
    are of one or more devices, the first one's under names without a device. `costs` are predicted or counted, by name and
    unit (`model_mib`). `stages` are the source of the weights and the stages that made the network, joined by ` > `.
    `further_onnx` are the model files of devices that need another than `onnx`, by device; what they score on the test split,
    where their precision is another, has their name at its end (`accuracy_test@DEVICE`).
    """

    arch_id: str
    arch: str
    stages: str
    metrics: Mapping[str, float]
    latencies: tuple[DeviceLatency, ...]
    costs: Mapping[str, float]
    onnx: str
    further_onnx: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.latencies:
            raise ValueError(f"{self.arch_id}: no latency of any device")
        for name in self.metrics:
            if not _is_metric(name):
                raise ValueError(f"{name}: no metric of a split; its name ends in none of {', '.join(METRIC_ENDS)}")
        names = [name for name, _ in self._cells()]
        for name in names:
            if names.count(name) > 1 or (name in self.costs and _is_metric(name)):
                raise ValueError(f"{name}: two columns of one name")

    def __repr__(self) -> str:
        first = self.latencies[0]
        metrics = "".join(f", {name} {self.metrics[name]:.4g}" for name in self.metrics if name.endswith("_test"))
        measured = "" if first.measured_ms is None else f", measured {first.measured_ms:.4g} ms"
        return f"<FrontRow {self.arch_id}{metrics}, predicted {first.predicted_ms:.4g} ms{measured}>"

    def __hash__(self) -> int:
        return hash((self.arch_id, self.arch, self.onnx))

    def __getattr__(self, name: str) -> Any:
        """Returns the cell of a column. Python calls this for names that are no field and no property."""
        if name not in type(self).__slots__:  # a copy that is not filled yet has no cells
            for column, value in self._cells():
                if column == name:
                    return value
        raise AttributeError(f"no column {name}", name=name, obj=self)

    @property
    def cells(self) -> dict[str, Any]:
        """The cells by column, in the order of front.csv."""
        return dict(self._cells())

    def _cells(self) -> list[tuple[str, Any]]:
        first, *others = self.latencies
        return [
            ("arch_id", self.arch_id),
            ("arch", self.arch),
            *self.metrics.items(),
            *((name, getattr(first, name)) for name in _TIMES),
            *((f"{name}@{other.device}", getattr(other, name)) for other in others for name in _TIMES),
            *((name, _counted(value)) for name, value in self.costs.items()),
            ("device", first.device),
            ("stages", self.stages),
            ("onnx", self.onnx),
            *((f"onnx@{device}", path) for device, path in self.further_onnx.items()),
        ]

    @property
    def within_budget(self) -> bool:
        """True where the model is within the budgets of all devices; the column of that name is of the first device."""
        return all(latency.within_budget for latency in self.latencies)

    @property
    def within_noise(self) -> bool:
        """True where a measurement on any device cannot tell if the model is within the budget."""
        return any(latency.within_noise for latency in self.latencies)

    @property
    def latency_ms(self) -> float:
        """The latency on the first device, measured (p10) or predicted."""
        return self.latencies[0].latency_ms

    @property
    def error(self) -> float | None:
        """The error of the prediction on the first device."""
        return self.latencies[0].error

    @property
    def in_interval(self) -> bool:
        """True where the latency on the first device lies in its interval."""
        return self.latencies[0].in_interval

    def latency_of(self, name: str) -> DeviceLatency:
        """Returns the latency of a cost's name, `latency` or `latency@DEVICE`. Raises RunError for another device."""
        _, at, device = name.partition("@")
        for latency in self.latencies if at else self.latencies[:1]:
            if not at or latency.device == device:
                return latency
        raise RunError(
            f"the front has no latency of device {device}; it has {', '.join(d.device for d in self.latencies)}"
        )


def write_front(path: Path, rows: Sequence[FrontRow]) -> None:
    """Writes rows, fastest first. What only some rows have is empty in the others."""
    replace_file(path, _table(_columns(rows), (row.cells for row in _fastest_first(rows))))


def fronts_text(fronts: Mapping[str, Sequence[FrontRow]]) -> str:
    """Returns the fronts of several runs as one table, whose first column has the run's name. What only some runs have is
    empty in the others."""
    columns = ["run", *_columns([row for rows in fronts.values() for row in rows])]
    return _table(columns, ({"run": run, **row.cells} for run, rows in fronts.items() for row in _fastest_first(rows)))


def _table(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _fastest_first(rows: Iterable[FrontRow]) -> list[FrontRow]:
    return sorted(rows, key=lambda row: row.latency_ms)


def read_front(path: Path) -> list[FrontRow]:
    """Returns the rows of a file, which a spreadsheet may have saved. Raises RunError where it is missing or damaged.

    Columns that people add are ignored where they have no numbers, and costs where they have.
    """
    try:
        return _rows(decoded(path.read_bytes()))
    except OSError:
        raise RunError(
            f"{path}: no front there yet; finish the search by `hwnas search --resume --out {path.parent}`"
        ) from None
    except (TypeError, ValueError, csv.Error) as error:
        raise RunError(
            f"{path}: damaged ({error}); `hwnas search --resume --out {path.parent}` writes it again"
        ) from None


def options_of(row: FrontRow, run: Path) -> dict[str, Any]:
    """Returns the options of an architecture of the run's front by choice. Raises RunError where the row is damaged."""
    try:
        options = json_of(row.arch)
        if not isinstance(options, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise RunError(
            f"{run / 'front.csv'}: the architecture of {row.arch_id} is damaged ({error}); `hwnas search --resume --out "
            f"{run}` writes it again"
        ) from None
    return options


def _columns(rows: Sequence[FrontRow]) -> list[str]:
    """Returns the columns of all rows: metrics, devices and costs that a row lacks stand where the others have them."""
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    costs = dict.fromkeys(name for row in rows for name in row.costs)
    devices = dict.fromkeys(latency.device for row in rows for latency in row.latencies[1:])
    times = [*_TIMES, *(f"{name}@{device}" for device in devices for name in _TIMES)]
    models = dict.fromkeys(f"onnx@{device}" for row in rows for device in row.further_onnx)
    return ["arch_id", "arch", *metrics, *times, *costs, "device", "stages", "onnx", *models]


def _counted(value: float) -> float:
    """Returns whole numbers as integers, which programs expect of parameters and FLOPs."""
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def _rows(text: str) -> list[FrontRow]:
    if not text.endswith(("\n", *_WHOLE_ENDS)):  # a shorter last word would be read as a whole one
        raise ValueError("the last line is torn")
    delimiter = _delimiter(text)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    columns = list(reader.fieldnames or ())
    for name in columns:
        if columns.count(name) > 1:
            raise ValueError(f"column {name} twice")
    lines = [_whole(line) for line in reader]
    if delimiter == ";":
        lines = [{name: _with_point(cell) for name, cell in line.items()} for line in lines]
    if not lines:
        raise ValueError("no rows")
    _require(columns)
    devices = dict.fromkeys(name.partition("@")[2] for name in columns if name.partition("@")[0] in _TIMES)
    costs = [name for name in columns if _is_cost(name) and any(_is_number(line[name]) for line in lines)]
    return [_row(line, [device for device in devices if device], costs) for line in lines]


def _delimiter(text: str) -> str:
    """Returns the delimiter of the header: a comma, or the semicolon or tab of a spreadsheet."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _with_point(cell: str) -> str:
    """Returns a number with a decimal comma, as spreadsheets that separate by semicolons write it, with a point."""
    return cell.replace(",", ".") if re.fullmatch(r"[+-]?\d+,\d+([eE][+-]?\d+)?", cell) else cell


def _require(columns: Sequence[str]) -> None:
    """Raises ValueError where a column is missing."""
    found = set(columns)
    devices = {name.partition("@")[2] for name in columns if "@" in name and name.partition("@")[0] in _TIMES}
    for name in (*_WORDS, *_TIMES, *(f"{name}@{device}" for device in sorted(devices) for name in _TIMES)):
        if name not in found and name.partition("@")[0] != _LATER:
            raise ValueError(f"no column {name}")
    if not any(name.endswith("_val") for name in columns):
        raise ValueError("no column of a metric on the validation split")


def _whole(line: Mapping[str, str]) -> Mapping[str, str]:
    if None in line:
        raise ValueError("a line has more columns than the header")
    if None in line.values():
        raise ValueError("a line has fewer columns than the header")
    return line


def _row(line: Mapping[str, str], devices: Iterable[str], costs: Iterable[str]) -> FrontRow:
    others = [device for device in devices if line[f"predicted_ms@{device}"]]
    return FrontRow(
        arch_id=line["arch_id"],
        arch=line["arch"],
        stages=line["stages"],
        metrics={name: _number(text) for name, text in line.items() if _is_metric(name) and text},
        latencies=(
            _latency(line, line["device"], ""),
            *(_latency(line, device, f"@{device}") for device in others),
        ),
        costs={name: _number(line[name]) for name in costs if line[name]},
        onnx=line["onnx"],
        further_onnx={device: line[f"onnx@{device}"] for device in others if line.get(f"onnx@{device}")},
    )


def _latency(line: Mapping[str, str], device: str, end: str) -> DeviceLatency:
    known = [name for name in _TIMES if f"{name}{end}" in line]
    cells = {name: _PARSE[str(_TYPES[name])](line[f"{name}{end}"]) for name in known}
    return DeviceLatency(device=device, **cells)


def _is_metric(name: str) -> bool:
    return name.partition("@")[0].endswith(METRIC_ENDS)


def _is_cost(name: str) -> bool:
    """True for a column that is no other of a row; those that people add are among these."""
    return name.partition("@")[0] not in (*_WORDS, *_TIMES) and not _is_metric(name)


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _verdict(text: str) -> bool:
    try:
        return _VERDICTS[text.lower()]
    except KeyError:
        raise ValueError(f"no {text!r}") from None


def _perhaps(text: str) -> float | None:
    return float(text) if text else None


_PARSE: Final[Mapping[str, Callable[[str], Any]]] = {
    str(bool): _verdict,
    str(float): float,
    str(float | None): _perhaps,
}
_TYPES: Final = {one.name: one.type for one in fields(DeviceLatency)}
