"""Profiles a space: measures its operators alone and whole networks, and adds the rows that its table still lacks."""

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.operator import Shape
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.space import SearchSpace
from hwnas.modules.assemble import network
from hwnas.modules.build import build
from hwnas.modules.declared import require_declared
from hwnas.profiler.device import Conditions, require_precisions
from hwnas.profiler.export import deployed_onnx, example_input, file_precision
from hwnas.profiler.measure import Subject, Tally, fill, measured_while_slow, repeated
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.runtime import Forms, Model, require_output
from hwnas.profiler.setup import Setup
from hwnas.profiler.step import in_step, shape_in_step
from hwnas.profiler.store import TableWriter
from hwnas.profiler.summary import SHOWN, slower_quantised, slowest, surprises
from hwnas.profiler.table import Identity, Row

# After this many draws without a new architecture, none is left that can be drawn.
FRUITLESS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSummary:
    """The work of a profile, and the rows that stand out in its table.

    Counts rows that were `measured`, measured `again` and `reused`; rounds and bursts that other work disturbed; rows that
    are `unconverged`, `slow` (the device was much slower than at its best) or lack the CUDA graph that was asked for.
    `slowest` names the slowest operators, `surprises` the smaller operators that are slower than larger ones. Of the operators in
    other precisions than float32, `slower_quantised` counts those that are slower alone than in float32, and
    `slowest_quantised` names the worst of them.
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
    slower_quantised: int
    slowest_quantised: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """Returns the summary as JSON has it."""
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A module to measure, before it is exported: the identity of its row, and `make`, which builds the module."""

    kind: str
    key: str
    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    vocabulary: int | None = None
    operators: str | None = None

    def subject(self, conditions: Conditions) -> Subject:
        """Returns the workload as a subject, which can be loaded under these conditions."""
        load = partial(self._loaded, conditions)
        return Subject(kind=self.kind, key=self.key, operators=self.operators, load=load)

    def run_in(self, step: str, module: nn.Module, batch: int) -> nn.Module:
        """Returns the module as it runs in a step, in eval mode. Raises SpaceError for one that has no such step."""
        is_empty = self.kind == FLOOR.kind  # an empty call is one in every step
        return (module if is_empty else in_step(step, module, self.input_shape, self.vocabulary, batch)).eval()

    def shape_in(self, step: str) -> Shape:
        """Returns the shape of one sample's input in a step."""
        return self.input_shape if self.kind == FLOOR.kind else shape_in_step(step, self.input_shape)

    def _loaded(self, conditions: Conditions) -> tuple[Model, int]:
        """Returns the model, checked and bound to its input, and its size in bytes."""
        module = self.run_in(conditions.step, like_trained(self.make()), conditions.batch)
        shape = self.shape_in(conditions.step)
        x = example_input(shape, conditions.batch, self.vocabulary)
        with torch.no_grad():
            expected = module(x).numpy()

        # The speed of a quantised model does not depend on the ranges that it was calibrated on.
        onnx_model = partial(
            deployed_onnx,
            module,
            shape,
            [x.numpy()],
            precision=conditions.onnx_precision,
            batch=conditions.batch,
            vocabulary=self.vocabulary,
        )
        loaded, size = conditions.load(Forms(module=lambda: module, onnx=onnx_model))
        loaded.bind(x.numpy())
        precision = file_precision(module, conditions.precision)
        require_output(loaded, x.numpy(), expected, replace(conditions, precision=precision).tolerance)
        return loaded, size


def calibration_networks(space: SearchSpace, count: int, seed: int = 0) -> list[Arch]:
    """Returns the smallest and the largest network, then `count` different random ones, or fewer if the space has fewer.

    One in four is drawn with all options equally likely. The others are spread from small to large, as a front's points are.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiling:
    """A table to fill: its space, the conditions of its device and its file; and how to measure.

    With `energy`, the millijoules of a call are measured, too.
    """

    space: SearchSpace
    conditions: Conditions
    path: Path
    protocol: Protocol = field(default_factory=Protocol)
    reporter: Reporter = field(default_factory=Silent)
    seed: int = 0
    energy: bool = False


def profile(profiling: Profiling, *, networks: int = 60) -> ProfileSummary:
    """Measures every operator of the space, and `networks` random whole networks.

    A row that the table has is measured again only if it did not converge, if the device was much slower then than it is
    now, or if it lacks the energy that is asked for. Raises TableError if the table has other conditions or another space,
    DeviceError if the device does not count its energy.
    """
    space = profiling.space
    return measure_works(
        profiling, [*operator_workloads(space), *random_network_workloads(space, networks, profiling.seed)]
    )


def measure_works(profiling: Profiling, works: Sequence[Workload]) -> ProfileSummary:
    """Measures an empty call and these operators and networks of the space, by the rules of `profile`."""
    space, conditions = profiling.space, profiling.conditions
    require_precisions(space, conditions.describe())
    counter_mj = conditions.counter_mj() if profiling.energy else None
    first = [workload.subject(conditions) for workload in (FLOOR, *works)]
    repeats = repeated(first)
    reference = network_subject(space, space.largest(), conditions)
    setup = Setup(
        protocol=profiling.protocol,
        rng=np.random.default_rng(profiling.seed),
        reporter=profiling.reporter,
        clock=conditions.clock(),
        threads=conditions.threads,
    )
    header = conditions.describe(), space.describe(), provenance(profiling.protocol)
    with TableWriter(profiling.path, *header) as table:
        tally = fill(table, (first, repeats), reference, setup, counter_mj=counter_mj)
        return summary(profiling, table.rows, tally, len(first) + len(repeats))


def joined(summaries: Sequence[ProfileSummary]) -> ProfileSummary:
    """Returns the summary of one table that was measured in several calls, the last of which named all wanted rows."""
    totals = {
        name: sum(getattr(summary, name) for summary in summaries)
        for name in ("measured", "again", "discarded_rounds", "discarded_bursts")
    }
    last = summaries[-1]
    return replace(last, reused=last.measured + last.reused - totals["measured"], **totals)


def provenance(protocol: Protocol) -> dict[str, Any]:
    """Returns the facts about a measurement that are not its conditions: the protocol and the versions."""
    versions = {"hwnas": hwnas.__version__, "torch": torch.__version__, "onnx": onnx.__version__}
    return {"protocol": asdict(protocol), "versions": versions | {"python": platform.python_version()}}


def summary(profiling: Profiling, rows: Mapping[Identity, Row], tally: Tally, wanted: int) -> ProfileSummary:
    """Returns the summary of a table of which `wanted` rows were asked for."""
    typical_ms = float(np.median([row["reference_ms"] for row in rows.values()]))
    operator_ms = {
        row["key"]: row["p10_ms"] * typical_ms / row["reference_ms"]  # predictors scale in the same way
        for row in rows.values()
        if row["kind"] == "operator"
    }
    operators = profiling.space.operators()
    slower = slower_quantised(operators, operator_ms)
    return ProfileSummary(
        path=profiling.path,
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
        surprises=surprises(operators, operator_ms),
        slower_quantised=len(slower),
        slowest_quantised=slower[:SHOWN],
    )


# An empty call.
FLOOR: Final = Workload(kind="floor", key="identity", make=nn.Identity, input_shape=(1,))


def operator_workloads(space: SearchSpace) -> list[Workload]:
    """Returns every operator of the space, alone.

    Raises SpaceError where an operator's module does not do what the operator declares.
    """
    require_declared(space.placed_operators().values())
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
    """Returns the space's calibration networks."""
    return [network_workload(space, arch) for arch in calibration_networks(space, networks, seed)]


def network_workload(space: SearchSpace, arch: Arch) -> Workload:
    """Returns a whole network, untrained: latency does not depend on the values of the weights."""
    return Workload(
        kind="network",
        key=arch.key,
        make=partial(network, space, arch),
        input_shape=space.input_shape,
        vocabulary=space.vocabulary,
        operators=operators_digest(space, arch),
    )


def network_subject(space: SearchSpace, arch: Arch, conditions: Conditions) -> Subject:
    """Returns a whole network, ready to be measured under these conditions."""
    return network_workload(space, arch).subject(conditions)


def operators_digest(space: SearchSpace, arch: Arch) -> str:
    """Returns a hash of the network's operators in their order: equal networks of any two spaces have equal hashes."""
    operators = (layer.operator(arch) for layer in space.layers)
    keys = [operator.key for operator in operators if operator is not None]
    return hashlib.blake2s("\n".join(keys).encode()).hexdigest()[:16]


@torch.no_grad()
def like_trained(module: nn.Module) -> nn.Module:
    """Gives the module random norms and biases, as training would, and returns it.

    Fresh norms and biases are all equal, and the exporter and the runtime make use of that: fresh networks run up to 1 %
    faster than trained ones. Others stay as they are: with random statistics, the outputs of a trained network can overflow.
    """
    generator = torch.Generator().manual_seed(0)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() == 1 and tensor.is_floating_point() and bool((tensor == tensor[:1]).all()):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return module
