"""Predictions for architectures that people name. No torch is loaded, so an answer takes about a second."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError
from hwnas.pipeline.architectures import architectures, lines_of
from hwnas.predict.predictor import LatencyPredictor
from hwnas.spaces import reload_space

# Architectures by a word, each with the method of a space that gives it.
ENDS: Final = ("largest", "smallest")


def lines_named(space: SearchSpace, named: str, predictor: Path) -> list[str]:
    """Returns a JSON object per architecture that `named` stands for.

    That is a JSON object, `largest` or `smallest`, the id of a network that the predictor's run has evaluated, `fastest`, `knee`
    or `best` of its front, a file of JSON lines, a front.csv, an ONNX file of a search, or the folder of a run, for its front.
    Raises HwnasError, RunError.
    """
    if named.lstrip().startswith("{"):
        return [named]
    if named in ENDS:
        return [getattr(space, named)().key]
    path = Path(named)
    if path.is_dir() or path.suffix == ".csv":
        from hwnas.runs.front import read_front

        return [row.arch for row in read_front(path / "front.csv" if path.is_dir() else path)]
    if path.suffix == ".onnx":
        return [_arch_of_model(path)]
    if path.exists():
        return lines_of(path, "--arch")
    return [_evaluated(named, predictor)]


def _arch_of_model(path: Path) -> str:
    """Returns the architecture in the metadata of an ONNX file. Raises HwnasError where there is none."""
    import onnx  # takes a moment to import

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of protobuf, of the system
        reason = " ".join(str(error).split())
        raise HwnasError(f"--arch {path}: cannot be read as an ONNX file ({reason})") from None
    for item in model.metadata_props:
        if item.key == "hwnas.arch":
            return str(item.value)
    raise HwnasError(f"--arch {path}: names no architecture (no hwnas.arch); give an ONNX file of a search")


def _evaluated(arch_id: str, predictor: Path) -> str:
    """Returns the architecture of a name, or an id, in the predictor's run. Raises HwnasError."""
    from hwnas.runs.database import RunDatabase
    from hwnas.runs.folder import RunFolder
    from hwnas.runs.front import named, read_front
    from hwnas.runs.objectives import read_goal

    run = RunFolder(predictor.parent)
    if run.front.is_file():
        row = named(read_front(run.front), read_goal(run).objectives).get(arch_id)
        if row is not None:
            return row.arch
    if run.database.is_file():
        with closing(RunDatabase.existing(run.database)) as database:
            known = database.evaluations().get(arch_id)
        if known is not None:
            return known.arch.key
    is_path = not run.database.is_file() or Path(arch_id).suffix or len(Path(arch_id).parts) > 1
    where = "no such file" if is_path else f"{run.path} has evaluated no such network"
    raise HwnasError(
        f"--arch {arch_id}: {where}; give a JSON object, a file of JSON lines, largest, smallest, front.csv, an ONNX file of a "
        "search, the folder of a run, or fastest, knee, best or an id, with the predictor of its run"
    )


def predictions(
    predictor: LatencyPredictor, lines: Iterable[str], where: str | Path = "the predictor"
) -> Iterator[dict[str, Any]]:
    """Yields latency or energy, interval and breakdown of architectures, one JSON object per line; units in the names.

    `where` is the predictor's file, for messages.
    """
    yield from answers(predictor, reload_space(predictor.space, where), lines)


def answers(predictor: LatencyPredictor, space: SearchSpace, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields the same for the predictor's space, which is made already. Raises ArchError."""
    unit = predictor.unit.lower()
    for arch in architectures(space, lines):
        row = space.encode([arch])[0]
        predicted = float(predictor.predict(row[None])[0])
        low, high = (predicted * end for end in predictor.interval)
        yield {
            "arch_id": arch.id,
            f"predicted_{unit}": predicted,
            f"interval_{unit}": [low, high],
            f"layers_{unit}": predictor.breakdown(row),
        }
