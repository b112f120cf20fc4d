"""Measuring just as many networks as a predictor's error asks for, each time those that tell most."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.reporter import Reporter
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import measurements
from hwnas.predict.active import expected_error, most_telling
from hwnas.predict.additive import AdditiveModel, fit_additive
from hwnas.predict.features import space_basis
from hwnas.predict.measurements import Measurements
from hwnas.profiler.device import Conditions
from hwnas.profiler.profile import (
    ProfileSummary,
    Workload,
    calibration_networks,
    joined,
    measure_works,
    network_workload,
)
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.table import read_table

FIRST: Final = 10
BATCH: Final = 8
# Networks to choose from, spread as calibration networks are; the error to expect is of as many random ones.
CANDIDATES: Final = 400


def profile_until(
    space: SearchSpace,
    conditions: Conditions,
    path: Path,
    *,
    error: float,
    most: int,
    operators: Sequence[Workload],
    protocol: Protocol | None = None,
    reporter: Reporter,
    seed: int = 0,
    energy: bool = False,
) -> ProfileSummary:
    """Measures `operators`, then networks into the table at `path`, until a predictor's mean relative error on others is
    expected to be `error`, or `most` networks are measured.

    The error is expected by the posterior, of networks drawn at random, measurement noise included. Networks that the table
    has already count. `energy` as there. Raises TableError as `profile` does.
    """
    candidates = calibration_networks(space, CANDIDATES, seed)
    asked_NC = space.sample_rows(np.random.default_rng(seed), CANDIDATES)
    measure = partial(
        measure_works, space, conditions, path, protocol=protocol, reporter=reporter, seed=seed, energy=energy
    )
    archs = _measured(space, path)
    archs += [arch for arch in candidates if arch not in archs][: max(0, min(FIRST, most) - len(archs))]
    summaries = [measure([*operators, *_works(space, archs)])]
    while True:
        model = _model(space, measurements(read_table(path), space))
        expected = expected_error(model, asked_NC)
        reporter.note(f"{len(archs)} networks: on others, a mean error of {expected:.1%} is expected")
        left = [arch for arch in candidates if arch not in archs]
        if expected <= error or len(archs) >= most or not left:
            break
        archs += [left[number] for number in most_telling(model, space.encode(left), min(BATCH, most - len(archs)))]
        # The first are named again, because it is they that are measured twice.
        summaries.append(measure(_works(space, [*archs[:FIRST], *archs[-BATCH:]])))
    if expected > error:
        reporter.note(f"that is more than {error:.1%}: allow more with --networks, and measure on an idle device")
    # Once more for what did not converge.
    summaries.append(measure([*operators, *_works(space, archs)]))
    return joined(summaries)


def _works(space: SearchSpace, archs: Sequence[Arch]) -> list[Workload]:
    return [network_workload(space, arch) for arch in dict.fromkeys(archs)]


def _measured(space: SearchSpace, path: Path) -> list[Arch]:
    """The networks of a table that was begun before."""
    if not path.exists():
        return []
    return [space.decode(row) for row in measurements(read_table(path), space).rows_NC]


def _model(space: SearchSpace, measured: Measurements) -> AdditiveModel:
    isolated_ms = measured.isolated_of(space.operators())
    basis = space_basis(space, isolated_ms, float(np.median(measured.networks_N)))
    return fit_additive(basis, space.columns, measured.rows_NC, measured.networks_N)
