"""A search space told: its options, choices, sizes, ends, and how its networks look. Loads torch only where operators are
estimated that a device's table has not."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from hwnas.core.arch import Arch
from hwnas.core.condition import in_words
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, PredictorError
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import ShippedDevice, file_name, shipped_devices
from hwnas.spaces.loading import options_of_space

COSTS = ("flops", "params")


def described(space: SearchSpace, reference: str) -> dict[str, Any]:
    """Returns what people ask of a space, as lists of rows by name and an architecture; fit for JSON."""
    ends = {"smallest": space.smallest(), "largest": space.largest()}
    networks, fastest = [_end(space, name, arch) for name, arch in ends.items()], list[dict[str, Any]]()
    for device, predictor in _predictors(space):
        arch = minimise(space.choices, predictor.factors)
        fastest.append(_end(space, f"fastest on {device}", arch))
        estimated = ", estimated" if predictor.report.get("estimated_operators") else ""
        for row, one in zip([*networks, fastest[-1]], [*ends.values(), arch], strict=True):
            row[f"ms on {device}{estimated}"] = float(predictor.predict_ms(one)[0])
    return {
        "space": {
            "name": space.name,
            "architectures": space.size,
            "input": list(space.input_shape),
            "output": list(space.output_shape),
            "operators": len(space.operators()),
            "fingerprint": space.fingerprint,
        },
        "options": [
            {"option": name, "default": "must be given" if default is inspect.Parameter.empty else default}
            | {"here": space.options.get(name, "")}
            for name, default in _options(reference).items()
        ],
        "choices": [
            {
                "choice": choice.name,
                "options": list(choice.options),
                "when": in_words(choice.when),
                "tied": choice.tied_to,
            }
            for choice in space.choices
        ],
        "networks": [*networks, *fastest],
        "layers of the largest": list(_layers(space, ends["largest"])),
        "example": dict(ends["smallest"]),
    }


def _options(reference: str) -> Mapping[str, Any]:
    return options_of_space(reference) if reference else {}


def _end(space: SearchSpace, name: str, arch: Arch) -> dict[str, Any]:
    return {"network": name, "arch_id": arch.id, **{cost: space.cost(cost, arch) for cost in COSTS}}


def _predictors(space: SearchSpace) -> Iterator[tuple[str, LatencyPredictor]]:
    """Yields the devices that searches can be for without having them, where the space can be predicted, as a search does."""
    known_as = file_name(space.reference)
    for name, device in shipped_devices().items():
        if known_as in device.spaces:
            try:
                predictor = _predictor_on(device, space, LatencyPredictor.load(device.predictor(known_as)))
            except HwnasError:  # of a space that only shares the name, of a damaged file
                continue
            yield name, predictor


def _predictor_on(device: ShippedDevice, space: SearchSpace, predictor: LatencyPredictor) -> LatencyPredictor:
    try:
        return predictor.for_space(space)
    except PredictorError:
        from hwnas.pipeline.predict import predictor_on  # loads torch

        return predictor_on(device, space, predictor)


def _layers(space: SearchSpace, arch: Arch) -> Iterator[dict[str, Any]]:
    """Yields the layers of a network, in the order in which data pass them."""
    for layer in space.layers:
        operator = layer.operator(arch)
        if operator is not None:
            cost = operator.cost()
            yield {
                "layer": layer.name,
                "operator": operator.kind,
                "decided by": ", ".join(layer.scope),
                "output": " x ".join(map(str, operator.output_shape)),
                "flops": cost.flops,
                "params": cost.params,
            }
