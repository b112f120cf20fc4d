"""Times training steps: one sandwich step against its four networks trained plainly, and layouts of images.

    python scripts/bench/step.py sandwich                       # mobilenet at 32 px, batch 64: three minutes on one core
    python scripts/bench/step.py sandwich --space vit           # also gpt, conv_macro, nasbench201, ...
    python scripts/bench/step.py sandwich --precision bf16      # with autocast
    python scripts/bench/step.py layout                         # channels-last against torch's default layout

`sandwich`: the step of a supernet trains the largest network by labels, and the smallest and two random ones by the largest.
The four plain networks are the same architectures with weights and optimisers of their own; each goes through forward,
backward, clipping and the optimiser. Both sides run `hwnas.train.step.training_step` with the usual recipe and take every
draw of random networks in turn. A time is the minimum of the rounds of a draw; the ratio is of the sums over the draws.
On a CPU it is the time of the process, so that other work on the machine counts little; with several threads it is their sum.
Memory is the peak of a step as in `entanglement.py`. The plain networks need not be in memory together: theirs is the peak of
the largest.

`layout`: training steps and evaluations of the smallest, median and largest network (by FLOPs), plain and in the supernet.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from entanglement import MIB, batch_of, peak_bytes, synchronise
from torch import nn

import hwnas
from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.devices import placed
from hwnas.train.recipes import BY_OPTIMIZER
from hwnas.train.step import Batch, optimizer_of, training_step, usual_optimizer
from hwnas.train.supernet import supernet_losses

LAYOUTS = {"default": torch.contiguous_format, "channels-last": torch.channels_last}
SPACES = {"mobilenet": {"resolution": 32}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--options", type=json.loads, help="options of the space as JSON: '{\"resolution\": 32}'")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--draws", type=int, default=4, help="of random networks")
    parser.add_argument("--rounds", type=int, default=6, help="per draw")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    options = SPACES.get(arguments.space, {}) if arguments.options is None else arguments.options
    space = hwnas.space(arguments.space, **options)
    x, labels = batch_of(space, arguments.batch, torch.device(arguments.device))
    print(f"{space.name} {options or ''}, batch {arguments.batch}, {arguments.threads} thread(s), {x.device}")
    SUBJECTS[arguments.subject](space, (placed(x, x.device), labels), arguments)


# ---- one sandwich step against four plain steps


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A supernet or a plain network with its optimiser; `step` trains some architectures on a batch."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[], object]

    def peak_mib(self) -> float:
        return peak_bytes(self.step, self.module, self.optimizer) / MIB


def sandwich(space: SearchSpace, batch: Batch, arguments: argparse.Namespace) -> None:
    supernet = Supernet(space).to(batch[0].device).train()
    rng = np.random.default_rng(0)
    table = []
    for _ in range(arguments.draws):
        archs = [space.largest(), space.smallest(), space.sample(rng), space.sample(rng)]
        table.append(draw_of(supernet, archs, batch, arguments))
    entangled_ms, plain_ms, entangled_mib, plain_mib = np.array(table).T
    print("| draw | sandwich, ms | four plain, ms | ratio | sandwich, MiB | largest plain, MiB | ratio |")
    print("|---|---|---|---|---|---|---|")
    for number, (ours_ms, theirs_ms, ours_mib, theirs_mib) in enumerate(table):
        print(
            f"| {number} | {ours_ms:.1f} | {theirs_ms:.1f} | {ours_ms / theirs_ms:.3f} "
            f"| {ours_mib:.1f} | {theirs_mib:.1f} | {ours_mib / theirs_mib:.3f} |"
        )
    time_ratio, memory_ratio = entangled_ms.sum() / plain_ms.sum(), entangled_mib.max() / plain_mib.max()
    print(f"one sandwich step takes {time_ratio:.3f} of the time and {memory_ratio:.3f} of the memory")


def draw_of(
    supernet: Supernet, archs: list[Arch], batch: Batch, arguments: argparse.Namespace
) -> tuple[float, float, float, float]:
    """Returns the milliseconds of the sandwich step and of the four plain steps, then the MiB of both."""
    entangled = trained(supernet, supernet, archs, batch, arguments.precision)
    plains = [trained(supernet.uncalibrated(arch), supernet, [arch], batch, arguments.precision) for arch in archs]
    peaks_mib = entangled.peak_mib(), max(plain.peak_mib() for plain in plains)
    steps = {"entangled": entangled.step} | {f"plain {number}": plain.step for number, plain in enumerate(plains)}
    entangled_ms, *plain_ms = least_ms(steps, arguments.rounds, batch[0].device).values()
    return entangled_ms, sum(plain_ms), *peaks_mib


def trained(module: nn.Module, supernet: Supernet, archs: list[Arch], batch: Batch, precision: str) -> Trained:
    """Returns a module with the usual optimiser, at a rate so small that training changes nothing.

    The supernet takes a sandwich step over `archs`, a plain network a step by labels.
    """
    recipe = BY_OPTIMIZER[usual_optimizer(supernet)]
    task = load_task("classification" if supernet.space.vocabulary is None else "language")
    optimizer = optimizer_of(module, recipe)
    for group in optimizer.param_groups:
        group["lr"] = 1e-9
    x, labels = batch

    def step() -> None:
        if module is supernet:
            losses = supernet_losses(supernet, batch, task, archs, recipe, largest=archs[0])
        else:
            losses = (task.loss(module(x), labels, smoothing=recipe.label_smoothing) for _ in archs)
        with torch.autocast(x.device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
            training_step(module, optimizer, losses, recipe.clip_norm)

    return Trained(module, optimizer, step)


def least_ms(steps: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> Mapping[str, float]:
    """Returns the least milliseconds of every step over interleaved rounds, after a round of warm-up."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    least = dict.fromkeys(steps, float("inf"))
    for number in range(rounds + 1):
        for name, step in steps.items():
            synchronise(device)
            start = clock()
            step()
            synchronise(device)
            if number:
                least[name] = min(least[name], 1e3 * (clock() - start))
    return least


# ---- layouts of images


def layout(space: SearchSpace, batch: Batch, arguments: argparse.Namespace) -> None:
    supernet = Supernet(space).to(batch[0].device).train()
    sampled = sorted((space.sample(np.random.default_rng(seed)) for seed in range(101)), key=flops_of(space))
    archs = {"smallest": space.smallest(), "median": sampled[50], "largest": space.largest()}
    print("| network | | default, ms | channels-last, ms | ratio |\n|---|---|---|---|---|")
    for name, arch in archs.items():
        for where, steps in layout_steps(supernet, arch, batch, arguments.precision).items():
            default_ms, last_ms = least_ms(steps, arguments.rounds, batch[0].device).values()
            print(f"| {name} | {where} | {default_ms:.1f} | {last_ms:.1f} | {last_ms / default_ms:.3f} |")


def flops_of(space: SearchSpace) -> Callable[[Arch], int]:
    return lambda arch: space.cost("flops", arch)


def layout_steps(
    supernet: Supernet, arch: Arch, batch: Batch, precision: str
) -> Mapping[str, Mapping[str, Callable[[], object]]]:
    """Returns functions to time: by what they run, then by layout."""
    x, labels = batch
    batches = {name: (x.contiguous(memory_format=layout), labels) for name, layout in LAYOUTS.items()}
    plain, judged = supernet.uncalibrated(arch), supernet.uncalibrated(arch).eval()

    @torch.inference_mode()
    def evaluated(batch: Batch) -> None:
        judged(batch[0])

    def training(module: nn.Module) -> dict[str, Callable[[], object]]:
        return {name: trained(module, supernet, [arch], batch, precision).step for name, batch in batches.items()}

    return {
        "training step": training(plain),
        "training step in the supernet": training(supernet),
        "evaluation": {name: partial(evaluated, batch) for name, batch in batches.items()},
    }


SUBJECTS = {"sandwich": sandwich, "layout": layout}


if __name__ == "__main__":
    main()
