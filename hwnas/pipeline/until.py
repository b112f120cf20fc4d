"""Measuring just as many networks as a predictor's error asks for, each time those that tell most."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.pipeline.predict import measurements
from hwnas.predict.active import expected_error, most_telling
from hwnas.predict.additive import AdditiveModel, fit_additive
from hwnas.predict.features import space_basis
from hwnas.predict.measurements import Measurements
from hwnas.profiler.profile import (
    ProfileSummary,
    Profiling,
    Workload,
    calibration_networks,
    joined,
    measure_works,
    network_workload,
)
from hwnas.profiler.table import read_table

FIRST: Final = 10
BATCH: Final = 8
# Networks to choose from, spread as calibration networks are; the error to expect is of as many random ones.
CANDIDATES: Final = 400


def profile_until(profiling: Profiling, operators: Sequence[Workload], *, error: float, most: int) -> ProfileSummary:
    """Measures the operators, then networks, until a predictor's mean relative error is expected to be small.

    Stops when the error expected on other networks is at most `error`, or when `most` networks are measured. The error is
    that of the posterior, on networks drawn at random, measurement noise included. Networks that the table has already
    count. Raises TableError as `profile` does.
    """
    space, path = profiling.space, profiling.path
    candidates = calibration_networks(space, CANDIDATES, profiling.seed)
    random_NC = space.sample_rows(np.random.default_rng(profiling.seed), CANDIDATES)
    archs = _measured(space, path)
    archs += [arch for arch in candidates if arch not in archs][: max(0, min(FIRST, most) - len(archs))]
    summaries = [measure_works(profiling, [*operators, *_works(space, archs)])]
    while True:
        model = _model(space, measurements(read_table(path), space))
        expected = expected_error(model, random_NC)
        profiling.reporter.note(f"{len(archs)} networks: on others, a mean error of {expected:.1%} is expected")
        left = [arch for arch in candidates if arch not in archs]
        if expected <= error or len(archs) >= most or not left:
            break
        archs += [left[number] for number in most_telling(model, space.encode(left), min(BATCH, most - len(archs)))]
        # The first networks are named again, because they are the ones that are measured twice.
        summaries.append(measure_works(profiling, _works(space, [*archs[:FIRST], *archs[-BATCH:]])))
    if expected > error:
        profiling.reporter.note(
            f"that is more than {error:.1%}: allow more with --networks, and measure on an idle device"
        )
    # Once more, for rows that did not converge.
    summaries.append(measure_works(profiling, [*operators, *_works(space, archs)]))
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
