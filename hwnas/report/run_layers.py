"""The layers of a run's networks with their latencies, read from the run's predictors."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from hwnas.errors import PredictorError
from hwnas.predict.predictor import LatencyPredictor
from hwnas.report.layer_times import LayerTimes, adds_up, layer_times
from hwnas.runs.evaluated import EvaluatedNetworks
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow
from hwnas.runs.objectives import LATENCY


def predictors_of(run: RunFolder, networks: EvaluatedNetworks) -> dict[str, LatencyPredictor]:
    """Returns the predictors of a run's latencies by the latency's name, as far as their files are there."""
    predictors, devices = {}, next(iter(networks.front.values())).latencies
    for name, latency in zip(networks.latency_names, devices, strict=True):
        with suppress(PredictorError):
            predictors[name] = LatencyPredictor.load(run.predictor_of(LATENCY, latency.device))
    return predictors


def layers_of(
    predictors: Mapping[str, LatencyPredictor], latencies: Sequence[str], rows: Sequence[FrontRow]
) -> tuple[LayerTimes, ...]:
    """Returns the layers of networks; none where a predictor is missing, or its layers do not add up to the prediction."""
    if len(predictors) < len(latencies):
        return ()
    layers = layer_times(predictors, [json.loads(row.arch) for row in rows])
    for at, name in enumerate(latencies):
        if not adds_up(layers, name, np.array([row.latencies[at].predicted_ms for row in rows])):
            return ()
    return layers
