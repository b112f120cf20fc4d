"""Profiling a space: its operators alone, then whole networks, into a table; only what the table still lacks."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.ops.assemble import build, network
from hwnas.profiler.device import Conditions
from hwnas.profiler.export import checked, to_onnx
from hwnas.profiler.protocol import Protocol, Session, Timing, measure_steadily
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.profiler.store import TableWriter

# Models loaded at a time: bounds memory, and what a killed process has to measure again.
GROUP_SIZE: Final = 40
# A group whose reference is this much slower than the last group's was measured on a disturbed machine.
SLOWER: Final = 0.05
# Networks measured a second time, in another session: their differences are the device's repeat noise.
REPEATED: Final = 10
# Draws without a new architecture after which there is none left that can be drawn.
FRUITLESS: Final = 1000
GROUP_BYTES: Final = (
    2**30 // 4
)  # ONNX Runtime keeps up to about four times a model's file: weights, packed weights, arena


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to measure: a row's identity, how to make its module, and what that takes."""

    kind: str
    key: str
    input_shape: tuple[int, ...]
    make: Callable[[], nn.Module]
    repeat: int = 0
    operators: str | None = None
    vocabulary: int | None = None

    @property
    def identity(self) -> tuple[str, str, int]:
        return (self.kind, self.key, self.repeat)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSummary:
    """What a profile did."""

    path: Path
    measured: int
    reused: int
    discarded_rounds: int
    median_spread: float

    def describe(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


def calibration_networks(space: SearchSpace, count: int, seed: int = 0) -> list[Arch]:
    """The smallest and the largest network, then `count` different random ones, or fewer where no more can be drawn.

    One in four has every option equally likely; the rest are spread from small to large, where a front's points will be.
    """
    rng = np.random.default_rng(seed)
    archs = dict.fromkeys([space.smallest(), space.largest()])
    wanted = min(count + len(archs), space.size)
    fruitless = 0
    while len(archs) < wanted and fruitless < FRUITLESS:
        known = len(archs)
        for row in (space.sample_rows(rng, 1)[0], *space.spread_rows(rng, 3)):
            archs.setdefault(space.decode(row))
        fruitless = fruitless + 1 if len(archs) == known else 0
    return list(archs)[:wanted]


def profile(
    space: SearchSpace,
    conditions: Conditions,
    path: Path,
    *,
    networks: int = 60,
    protocol: Protocol | None = None,
    reporter: Reporter | None = None,
    seed: int = 0,
) -> ProfileSummary:
    """Measures every operator of the space and `networks` random whole networks into the table at `path`.

    What the table has already is not measured again. Raises TableError where it was measured under other conditions.
    """
    reporter = reporter or Silent()
    operators = [
        Subject("operator", key, operator.input_shape, partial(build, operator), vocabulary=operator.vocabulary)
        for key, operator in space.operators().items()
    ]
    archs = [network_subject(space, arch) for arch in calibration_networks(space, networks, seed)]
    with TableWriter(path, conditions.describe(), space.describe()) as table:
        known = {(row["kind"], row["key"], row.get("repeat", 0)) for row in table.rows}
        repeats = [replace(subject, repeat=1) for subject in archs[:REPEATED]]
        missing = [
            [subject for subject in part if subject.identity not in known] for part in (operators + archs, repeats)
        ]
        latest_ms = table.rows[-1]["reference_ms"] if table.rows else None
        discarded, spreads = 0, [row["spread"] for row in table.rows if "spread" in row]
        for part in missing:  # a session of their own for the repeats
            groups = measured_groups(space, part, conditions, protocol or Protocol(), reporter, seed, latest_ms)
            for rows, session in groups:
                table.append(rows)
                latest_ms = session.reference.p10_ms
                discarded += session.discarded_rounds
                spreads += [row["spread"] for row in rows]
        measured = sum(len(part) for part in missing)
    return ProfileSummary(
        path=path,
        measured=measured,
        reused=len(operators) + len(archs) + len(repeats) - measured,
        discarded_rounds=discarded,
        median_spread=float(np.median(spreads)),
    )


def network_subject(space: SearchSpace, arch: Arch) -> Subject:
    """A whole network with weights of no meaning: latency does not depend on their values."""
    make = partial(network, space, arch)
    operators = operators_digest(space, arch)
    return Subject("network", arch.key, space.input_shape, make, operators=operators, vocabulary=space.vocabulary)


def operators_digest(space: SearchSpace, arch: Arch) -> str:
    """Equal for equal networks, whatever space they are of: a hash of the operators in their order."""
    operators = (layer.operator(arch) for layer in space.layers)
    keys = [operator.key for operator in operators if operator is not None]
    return hashlib.blake2s("\n".join(keys).encode()).hexdigest()[:16]


def measured_groups(
    space: SearchSpace,
    subjects: Sequence[Subject],
    conditions: Conditions,
    protocol: Protocol,
    reporter: Reporter,
    seed: int,
    expected_ms: float | None = None,
) -> Iterator[tuple[list[dict[str, Any]], Session]]:
    """Exports, checks and measures the subjects group by group; the space's largest network is every group's reference.

    A group in which it is slower than in the group before, or at first than `expected_ms`, is measured again.
    """
    if not subjects:
        return
    rng = np.random.default_rng(seed)
    reference = load_subject(network_subject(space, space.largest()), conditions)[0]
    waiting = list(subjects)
    while waiting:
        models: list[OnnxModel] = []
        total_bytes = 0
        for subject in reporter.track(waiting[:GROUP_SIZE], f"exporting, {len(waiting)} models to go"):
            if total_bytes > GROUP_BYTES:
                break
            model, size = load_subject(subject, conditions)
            models.append(model)
            total_bytes += size
        group, waiting = waiting[: len(models)], waiting[len(models) :]
        session = measure_steadily(
            [model.call for model in models],
            reference.call,
            protocol,
            expected_ms=expected_ms,
            slower=SLOWER,
            rng=rng,
            reporter=reporter,
        )
        expected_ms = session.reference.p10_ms
        rows = [row(subject, timing, session.reference) for subject, timing in zip(group, session.timings, strict=True)]
        yield rows, session


def row(subject: Subject, timing: Timing, reference: Timing) -> dict[str, Any]:
    """A line of the table. `reference_ms` is the p10 of the reference network in the same rounds."""
    extra: dict[str, Any] = {"repeat": subject.repeat} if subject.repeat else {}
    if subject.operators is not None:
        extra["operators"] = subject.operators
    return {"kind": subject.kind, "key": subject.key, **extra, **asdict(timing), "reference_ms": reference.p10_ms}


def load_subject(subject: Subject, conditions: Conditions) -> tuple[OnnxModel, int]:
    """The subject's model, exported, checked and ready to call; and its size in bytes."""
    module = like_trained(subject.make())
    shape, batch, vocabulary = subject.input_shape, conditions.batch, subject.vocabulary
    model = to_onnx(module, shape, batch=batch, vocabulary=vocabulary)
    return checked(model, module, shape, conditions.options, batch=batch, vocabulary=vocabulary), len(model)


@torch.no_grad()
def like_trained(module: nn.Module) -> nn.Module:
    """The module with random norms and biases.

    Fresh ones are all equal, which the exporter and the runtime make use of: fresh networks run up to 1 % faster than
    trained ones.
    """
    generator = torch.Generator().manual_seed(0)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5, generator=generator)
    return module
