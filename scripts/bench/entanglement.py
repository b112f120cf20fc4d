"""Times a training step of the entangled mixture, of the plain largest network, and of a mixture of outputs.

    python scripts/bench/entanglement.py                        # mobilenet, batch 64: three minutes on one core
    python scripts/bench/entanglement.py --predictor FILE       # the expectation of a predictor, not of FLOPs
    python scripts/bench/entanglement.py --space vit --rounds 10 --without "output mixture"

A step is forward, backward and SGD with momentum; mixtures draw probabilities as DrNAS does, and their logits get gradients.
The output mixture has the same choices, and separate weights for each operator. Steps are interleaved, one of each per
round; the plain network is timed twice, as a measure of noise. Memory is the peak of a step: weights, statistics, momentum
and the allocations of the step (from torch's profiler; on CUDA from its allocator).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import hwnas
from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.predict.expected import ExpectedCost
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import sampler
from hwnas.supernet.check import require_partial
from hwnas.supernet.network import Supernet

MIB = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A module, the function that runs it on a batch, and its optimiser."""

    module: nn.Module
    run: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer

    def step(self, x: Tensor, labels: Tensor) -> None:
        logits = self.run(x)
        F.cross_entropy(logits.flatten(0, -2), labels.flatten()).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument(
        "--options", type=json.loads, default={}, help="options of the space as JSON: '{\"width\": 0.5}'"
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--predictor", type=Path)
    parser.add_argument("--without", nargs="+", default=[], help="variants to leave out, by name")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    space = hwnas.space(arguments.space, **arguments.options)
    x, labels = batch_of(space, arguments.batch, torch.device(arguments.device))
    relaxation = Relaxation(space, sampler("drnas"), torch.Generator(x.device).manual_seed(0))
    kept = {name: made for name, made in variants(space, relaxation, x.device).items() if name not in arguments.without}
    steps: dict[str, Callable[[], None]] = {name: partial(trained.step, x, labels) for name, trained in kept.items()}
    peak_mib = {name: peak_bytes(steps[name], each.module, each.optimizer) / MIB for name, each in kept.items()}
    steps["E[cost]"] = expectation(space, relaxation, arguments.predictor)
    times = interleaved_ms(steps, arguments.rounds, x.device)
    p10_ms = {name: float(np.percentile(times_ms, 10)) for name, times_ms in times.items()}
    print(f"{space.name} {arguments.options or ''}, batch {arguments.batch}, {arguments.threads} thread(s), {x.device}")
    print_table(kept, p10_ms, peak_mib)
    share = p10_ms["E[cost]"] / p10_ms["entangled mixture"]
    what = arguments.predictor or "FLOPs"
    print(f"expectation of {what}, forward and backward: {p10_ms['E[cost]']:.2f} ms, {share:.1%} of the mixture's step")


def print_table(kept: dict[str, Trained], p10_ms: dict[str, float], peak_mib: dict[str, float]) -> None:
    print("| step of | weights, M | p10, ms | x plain | peak, MiB | x plain |\n|---|---|---|---|---|---|")
    for name, each in kept.items():
        cells = [
            f"{sum(parameter.numel() for parameter in each.module.parameters()) / 1e6:.2f}",
            f"{p10_ms[name]:.1f}",
            f"{p10_ms[name] / p10_ms['plain']:.3f}",
            f"{peak_mib[name]:.1f}",
            f"{peak_mib[name] / peak_mib['plain']:.3f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def variants(space: SearchSpace, relaxation: Relaxation, device: torch.device) -> dict[str, Trained]:
    supernet = Supernet(space).to(device).train()
    apart = Supernet(not_entangled(space)).to(device).train()
    plain, again = (supernet.uncalibrated(space.largest()) for _ in range(2))
    generator = torch.Generator(device).manual_seed(1)

    def mixture(of: Supernet, share: int = 1) -> Callable[[Tensor], Tensor]:
        return lambda x: of(x, relaxation.draw(1.0, generator), share)

    return {
        "plain": trained(plain, plain),
        "plain, again": trained(again, again),
        "fixed in the supernet": trained(supernet, lambda x: supernet(x, space.largest())),
        "entangled mixture": trained(supernet, mixture(supernet), relaxation),
        "output mixture": trained(apart, mixture(apart), relaxation),
    } | {
        f"entangled, one in {share} channels": trained(supernet, mixture(supernet, share), relaxation)
        for share in partials(space)
    }


def partials(space: SearchSpace) -> Iterator[int]:
    """Yields the divisors of a cell's channels that the space allows, among 2 and 4."""
    for share in (2, 4):
        with suppress(SpaceError):
            require_partial(space, share)
            yield share


def trained(module: nn.Module, run: Callable[[Tensor], Tensor], relaxation: nn.Module | None = None) -> Trained:
    """Returns a module with an optimiser, at a rate so small that training changes nothing."""
    parameters = [*module.parameters(), *(relaxation.parameters() if relaxation else ())]
    return Trained(module, run, torch.optim.SGD(parameters, lr=1e-6, momentum=0.9))


def not_entangled(space: SearchSpace) -> SearchSpace:
    """Returns the space with separate weights for each operator."""
    return replace(space, wiring=_apart(space.wiring))


def _apart(part: Any) -> Any:
    if isinstance(part, Layer):
        return replace(part, entangled=False)
    if isinstance(part, tuple):
        return tuple(map(_apart, part))
    inner = {"parts", "blocks", "edges", "layer"} & set(part.__dataclass_fields__)
    return replace(part, **{name: _apart(getattr(part, name)) for name in inner})


def batch_of(space: SearchSpace, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    if space.vocabulary is not None:
        ids = torch.randint(space.vocabulary, (count, *space.input_shape), device=device)
        return ids, ids
    return torch.randn(count, *space.input_shape, device=device), torch.randint(space.classes, (count,), device=device)


def expectation(space: SearchSpace, relaxation: Relaxation, predictor: Path | None) -> Callable[[], None]:
    """Returns a function that runs an expected cost forward, and backward to the logits."""
    if predictor is None:
        cost = ExpectedCost(space.choices, space.cost_factors("flops"))
    else:
        loaded = hwnas.LatencyPredictor.load(predictor)
        cost = ExpectedCost(loaded.choices, loaded.factors)
    return lambda: cost(relaxation.probabilities()).backward()  # type: ignore[no-untyped-call]


def interleaved_ms(steps: dict[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Returns the milliseconds of every step in every round, after a round of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            synchronise(device)
            start = time.perf_counter()
            step()
            synchronise(device)
            if number:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(step: Callable[[], object], module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Returns the peak memory of the second step, whose momentum is allocated, in bytes."""
    step()
    device = next(module.parameters()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        start = torch.cuda.memory_allocated(device)
        step()
        return state_bytes(module, optimizer) + torch.cuda.max_memory_allocated(device) - start
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    return state_bytes(module, optimizer) + int(np.cumsum([0, *allocations(profiler)]).max())


def state_bytes(module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Returns the bytes of weights, statistics and momentum."""
    momenta = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [*module.parameters(), *module.buffers(), *momenta]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))


def allocations(profiler: profile) -> Iterator[int]:
    """Returns the bytes that are allocated (positive) and freed (negative), in order."""
    with tempfile.TemporaryDirectory() as folder:
        profiler.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(f"{folder}/trace.json").read_text())["traceEvents"]
    memory = [event for event in events if event["name"] == "[memory]"]
    return (event["args"]["Bytes"] for event in sorted(memory, key=lambda event: event["ts"]))


if __name__ == "__main__":
    main()
