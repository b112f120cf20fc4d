"""Compares twenty networks in float32 and int8, measured in one session.

    python scripts/bench/int8.py                 # mobilenet at 32 px; about a minute
    python scripts/bench/int8.py mobilenet resolution=160

Prints the ratio of the latencies, and the difference of the outputs relative to the largest output. Weights are random, so
only the order of magnitude of the difference is meaningful.
"""

import argparse
import json

import numpy as np

import hwnas
from hwnas.core.space import SearchSpace
from hwnas.modules.assemble import network
from hwnas.profiler.device import conditions_here
from hwnas.profiler.export import example_input, to_onnx
from hwnas.profiler.measure import timed
from hwnas.profiler.precision import converted
from hwnas.profiler.profile import calibration_networks, like_trained
from hwnas.profiler.runtime_onnx import OnnxModel
from hwnas.profiler.setup import Setup
from hwnas.terminal import TerminalReporter

NETWORKS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", nargs="?", default="mobilenet")
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    options = {name: json.loads(value) for name, _, value in (text.partition("=") for text in arguments.options)}
    space, reporter = hwnas.space(arguments.space, **options), TerminalReporter()
    pairs = [both(space, i) for i in reporter.track(range(NETWORKS), "quantising")]
    models = [model for pair in pairs for model in pair[:2]]
    # models[2] is the largest network, in float32.
    session = timed(models, models[2], Setup(rng=np.random.default_rng(0), reporter=reporter))
    times_ms = np.array([timing.p10_ms for timing in session.timings]).reshape(-1, 2)
    ratio_N = times_ms[:, 1] / times_ms[:, 0]
    difference_N = np.array([pair[2] for pair in pairs])
    print(f"{arguments.space} {' '.join(arguments.options)}: {conditions_here('cpu').hardware}")
    print(f"int8 / fp32, p10: median {np.median(ratio_N):.2f}, from {ratio_N.min():.2f} to {ratio_N.max():.2f}")
    print(f"output difference: median {np.median(difference_N):.1%}, largest {difference_N.max():.1%}")


def both(space: SearchSpace, number: int) -> tuple[OnnxModel, OnnxModel, float]:
    """Returns a network in float32 and int8, and the relative difference of their outputs."""
    module = like_trained(network(space, calibration_networks(space, NETWORKS)[number]))
    x = example_input(space.input_shape, 1, space.vocabulary).numpy()
    plain = to_onnx(module, space.input_shape, vocabulary=space.vocabulary)
    options = conditions_here("cpu").options
    models = [OnnxModel(converted(plain, [x], {"": name}), options) for name in ("fp32", "int8")]
    answers = [model.run(x) for model in models]
    for model in models:
        model.bind(x)
    return models[0], models[1], float(np.abs(answers[0] - answers[1]).max() / max(1.0, np.abs(answers[0]).max()))


if __name__ == "__main__":
    main()
