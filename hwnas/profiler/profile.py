"""Profiling a space: its operators alone, then whole networks, into a table; only what the table still lacks."""

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.modules.assemble import build, network
from hwnas.profiler.device import Conditions
from hwnas.profiler.export import example_input, to_onnx
from hwnas.profiler.measure import Subject, Tally, fill, measured_while_slow, repeated
from hwnas.profiler.precision import PRECISIONS
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.runtime import Forms, Model, require_output
from hwnas.profiler.store import TableWriter
from hwnas.profiler.summary import slowest, surprises
from hwnas.profiler.table import Identity, Row

# Draws without a new architecture after which there is none left that can be drawn.
FRUITLESS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSummary:
    """What a profile did, and what stands out in its table.

    `measured` and `reused` rows, those measured `again`; rounds and bursts that other work disturbed; rows that are left
    `unconverged`, rows measured while the device was `slow`, much slower than at its best, and rows without the CUDA graph
    that was asked for; the median `half_width` of all rows; the `slowest` operators, and `surprises`: smaller operators that
    are slower.
    """

    path: Path
    measured: int
    again: int
    reused: int
    discarded_rounds: int
    discarded_bursts: int
    unconverged: int
    slow: int
    graphs_refused: int
    median_half_width: float
    slowest: tuple[str, ...]
    surprises: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something to measure, before it is a model: a row's identity, and how to make its module."""

    kind: str
    key: str
    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    vocabulary: int | None = None
    operators: str | None = None

    def subject(self, conditions: Conditions) -> Subject:
        """It as something that can be loaded under these conditions."""
        load = partial(self._loaded, conditions)
        return Subject(kind=self.kind, key=self.key, operators=self.operators, load=load)

    def _loaded(self, conditions: Conditions) -> tuple[Model, int]:
        """The model, checked and ready to call; and its size in bytes."""
        module = like_trained(self.make()).eval()
        x = example_input(self.input_shape, conditions.batch, self.vocabulary)
        with torch.no_grad():
            expected = module(x).numpy()

        def onnx_model() -> bytes:
            model = to_onnx(module, self.input_shape, batch=conditions.batch, vocabulary=self.vocabulary)
            # How fast a quantised model is does not depend on the ranges it was calibrated on.
            return PRECISIONS[conditions.onnx_precision](model, [x.numpy()])

        loaded, size = conditions.load(Forms(module=lambda: module, onnx=onnx_model))
        loaded.bind(x.numpy())
        require_output(loaded, x.numpy(), expected, conditions.tolerance)
        return loaded, size


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
    energy: bool = False,
) -> ProfileSummary:
    """Measures every operator of the space and `networks` random whole networks into the table at `path`.

    With `energy`, a call's millijoules, too. What the table has already is not measured again, unless it did not converge,
    or was measured while the device was much slower than it is now, or without the energy that is asked for. Raises
    TableError where it was measured under other conditions, DeviceError where the device does not count its energy.
    """
    works = [*operator_workloads(space), *random_network_workloads(space, networks, seed)]
    return measure_works(space, conditions, path, works, protocol=protocol, reporter=reporter, seed=seed, energy=energy)


def measure_works(
    space: SearchSpace,
    conditions: Conditions,
    path: Path,
    works: Sequence[Workload],
    *,
    protocol: Protocol | None = None,
    reporter: Reporter | None = None,
    seed: int = 0,
    energy: bool = False,
) -> ProfileSummary:
    """Measures an empty call and these operators and networks of a space into the table at `path`, as `profile` does."""
    counter_mj = conditions.counter_mj() if energy else None
    protocol = protocol or Protocol()
    first = [workload.subject(conditions) for workload in (FLOOR, *works)]
    repeats = repeated(first)
    with TableWriter(path, conditions.describe(), space.describe(), provenance(protocol)) as table:
        tally = fill(
            table,
            (first, repeats),
            network_subject(space, space.largest(), conditions),
            protocol,
            threads=conditions.threads,
            clock=conditions.clock(),
            reporter=reporter or Silent(),
            seed=seed,
            counter_mj=counter_mj,
        )
        return summary(space, path, table.rows, tally, len(first) + len(repeats))


def joined(summaries: Sequence[ProfileSummary]) -> ProfileSummary:
    """Of one table, measured in several calls; the last named all that was wanted."""
    done = {
        name: sum(getattr(summary, name) for summary in summaries)
        for name in ("measured", "again", "discarded_rounds", "discarded_bursts")
    }
    last = summaries[-1]
    return replace(last, reused=last.measured + last.reused - done["measured"], **done)


def provenance(protocol: Protocol) -> dict[str, Any]:
    """How a table was measured, besides its conditions."""
    versions = {"hwnas": hwnas.__version__, "torch": torch.__version__, "onnx": onnx.__version__}
    return {"protocol": asdict(protocol), "versions": versions | {"python": platform.python_version()}}


def summary(space: SearchSpace, path: Path, rows: Mapping[Identity, Row], tally: Tally, wanted: int) -> ProfileSummary:
    """What filling the table at `path` came to."""
    typical_ms = float(np.median([row["reference_ms"] for row in rows.values()]))
    operator_ms = {
        row["key"]: row["p10_ms"] * typical_ms / row["reference_ms"]  # as predictors see them
        for row in rows.values()
        if row["kind"] == "operator"
    }
    return ProfileSummary(
        path=path,
        measured=tally.measured,
        again=tally.again,
        reused=wanted - tally.measured,
        discarded_rounds=tally.discarded_rounds,
        discarded_bursts=tally.discarded_bursts,
        unconverged=sum(not row["converged"] for row in rows.values()),
        slow=len(measured_while_slow(rows)),
        graphs_refused=sum("cuda_graph" in row for row in rows.values()),
        median_half_width=float(np.median([row["half_width"] for row in rows.values()])),
        slowest=slowest(operator_ms),
        surprises=surprises(space.operators(), operator_ms),
    )


# An empty call.
FLOOR: Final = Workload(kind="floor", key="identity", make=nn.Identity, input_shape=(1,))


def operator_workloads(space: SearchSpace) -> list[Workload]:
    """Every operator of the space by itself."""
    return [
        Workload(
            kind="operator",
            key=key,
            make=partial(build, operator),
            input_shape=operator.input_shape,
            vocabulary=operator.vocabulary,
        )
        for key, operator in space.operators().items()
    ]


def random_network_workloads(space: SearchSpace, networks: int, seed: int) -> list[Workload]:
    """The calibration networks."""
    return [network_workload(space, arch) for arch in calibration_networks(space, networks, seed)]


def network_workload(space: SearchSpace, arch: Arch) -> Workload:
    """A whole network with weights of no meaning: latency does not depend on their values."""
    return Workload(
        kind="network",
        key=arch.key,
        make=partial(network, space, arch),
        input_shape=space.input_shape,
        vocabulary=space.vocabulary,
        operators=operators_digest(space, arch),
    )


def network_subject(space: SearchSpace, arch: Arch, conditions: Conditions) -> Subject:
    """A whole network, ready to be measured under these conditions."""
    return network_workload(space, arch).subject(conditions)


def operators_digest(space: SearchSpace, arch: Arch) -> str:
    """Equal for equal networks, whatever space they are of: a hash of the operators in their order."""
    operators = (layer.operator(arch) for layer in space.layers)
    keys = [operator.key for operator in operators if operator is not None]
    return hashlib.blake2s("\n".join(keys).encode()).hexdigest()[:16]


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
