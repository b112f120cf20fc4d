"""The time of a network, piece by piece: its blocks timed alone, or the runtime's own times of its operations."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from hwnas.core.space import SearchSpace
from hwnas.errors import DeviceError
from hwnas.pipeline.timing import WHEN_IDLE, note_unconverged
from hwnas.profiler.clock import pinned
from hwnas.profiler.device import Conditions
from hwnas.profiler.measure import GroupTimer
from hwnas.profiler.onnx_file import OnnxFile
from hwnas.profiler.profile import network_subject, operator_workloads
from hwnas.profiler.runtime import USUAL
from hwnas.profiler.runtime_onnx import node_times
from hwnas.profiler.setup import Setup

# A group of nodes with more than this share of the time is split into smaller groups.
LARGE: Final = 0.2
# The calls that ONNX Runtime's profiler sees: as many as take about this long, within these bounds.
PROFILED_MS: Final = 300
CALLS: Final = (10, 200)


# The parts of a node's name between slashes.
NodePath = tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A piece of a network: its time, and that as a share of the times of all pieces."""

    name: str
    ms: float
    share: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The pieces of a network `by` some kind of them. `sum_to_whole` is the sum of their times, relative to the network's.

    `alone` is True where each piece was timed as a network of its own.
    """

    by: str
    shares: tuple[Share, ...]
    sum_to_whole: float
    alone: bool

    def describe(self) -> dict[str, Any]:
        """Returns the breakdown as JSON has it."""
        return asdict(self)


def blocks_alone(space: SearchSpace, conditions: Conditions, setup: Setup) -> Breakdown:
    """Times every block of a space's largest network alone, interleaved with the whole network.

    Blocks are the space's layers, in order; equal ones are timed once.
    """
    arch = space.largest()
    whole = network_subject(space, arch, conditions)
    subjects = [workload.subject(conditions) for workload in operator_workloads(space)]
    ratio, whole_ms = dict[str, float](), 0.0
    for rows, session in GroupTimer(whole, setup).groups(subjects):
        note_unconverged(session, setup.reporter, WHEN_IDLE)
        # Relative to the whole network in the same rounds, because a large network's blocks are timed in several sessions.
        whole_ms = whole_ms or session.reference.median_ms
        ratio |= {
            row["key"]: timing.median_ms / session.reference.median_ms
            for row, timing in zip(rows, session.timings, strict=True)
        }
    placed = [(layer.name, layer.operator(arch)) for layer in space.layers]
    named_ms = [(name, ratio[operator.key] * whole_ms) for name, operator in placed if operator is not None]
    return _breakdown("block", named_ms, whole_ms, alone=True)


def require_operation_times(path: str, conditions: Conditions) -> None:
    """Raises DeviceError where nobody tells the times of a file's operations."""
    if conditions.runtime_name != USUAL or conditions.device != "cpu":
        raise DeviceError(
            f"{path}: the operations of a file are timed by ONNX Runtime on a CPU alone; leave out --blocks, or give the torch "
            "module"
        )


def operations(file: OnnxFile, conditions: Conditions, whole_ms: float) -> tuple[Breakdown, Breakdown]:
    """Returns the times of a file's operations by type and by name, as ONNX Runtime's profiler tells them."""
    fewest, most = CALLS
    calls = max(fewest, min(most, round(PROFILED_MS / whole_ms)))
    x = file.example(conditions.batch)
    with pinned() if conditions.threads == 1 else nullcontext():
        nodes = node_times(file.content, conditions.options, x, calls)
    by_type: dict[str, float] = {}
    for node in nodes:
        by_type[node.operation] = by_type.get(node.operation, 0.0) + node.ms
    types = sorted(by_type.items(), key=lambda item: -item[1])
    names = by_prefix([(node.name, node.ms) for node in nodes])
    return (
        _breakdown("operation", types, whole_ms, alone=False),
        _breakdown("name", list(names.items()), whole_ms, alone=False),
    )


def by_prefix(named_ms: Sequence[tuple[str, float]], large: float = LARGE) -> Mapping[str, float]:
    """Returns the times of nodes added up by the beginnings of their names, in order: as short as they can be.

    A beginning that has more than a share `large` of the time is split at the next slash, unless that leaves single nodes.

    >>> by_prefix([("/stem/Conv", 2.0), ("/body/a/Conv", 4.0), ("/body/a/Relu", 1.0), ("/body/b/Conv", 3.0)], 0.5)
    {'stem': 2.0, 'body/a': 5.0, 'body/b': 3.0}
    """
    paths = [(tuple(name.strip("/").split("/")), ms) for name, ms in named_ms]
    result: dict[str, float] = {}
    for name, ms in _split(paths, 1, large * sum(ms for _, ms in paths)):
        result[name] = result.get(name, 0.0) + ms
    return result


def _split(paths: Sequence[tuple[NodePath, float]], depth: int, large_ms: float) -> Iterator[tuple[str, float]]:
    groups: dict[NodePath, list[tuple[NodePath, float]]] = {}
    for path, ms in paths:
        groups.setdefault(path[:depth], []).append((path, ms))
    for prefix, members in groups.items():
        total_ms = sum(ms for _, ms in members)
        deeper = {path[: depth + 1] for path, _ in members}
        if total_ms > large_ms and deeper != {prefix} and len(deeper) < len(members):
            yield from _split(members, depth + 1, large_ms)
        else:
            yield "/".join(prefix), total_ms


def _breakdown(by: str, named_ms: Sequence[tuple[str, float]], whole_ms: float, *, alone: bool) -> Breakdown:
    total_ms = sum(ms for _, ms in named_ms)
    shares = tuple(Share(name=name, ms=ms, share=ms / total_ms) for name, ms in named_ms)
    return Breakdown(by=by, shares=shares, sum_to_whole=total_ms / whole_ms, alone=alone)
