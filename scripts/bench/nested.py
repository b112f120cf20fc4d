"""Compares two ways of sharing weights between the widths of an MLP: slices, and block-lower-triangular weights.

    python scripts/bench/nested.py                # digits, 5 seeds: two minutes on one core
    python scripts/bench/nested.py --data clusters

`slices` is the supernet's way: a narrower network has the first rows and columns, and every width runs by itself
(sandwich rule). `nested` masks the weights so that the first c features depend on the first c inputs only, for every
width c: one pass of the widest network computes all others exactly, each with a head of its own. With `labels`, all
widths learn from labels. With `taught`, the widest learns from labels and the others imitate it. `alone` trains every
width by itself. All run as many epochs. Accuracies are of the best of the learning rates on validation, batch-norm
statistics of each width computed anew. Time is the least of interleaved steps, in time of the process; memory is the
peak of a step.
"""

# mypy: disable-error-code="index,arg-type,operator,no-untyped-def,no-untyped-call,type-arg"

import argparse
import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from entanglement import MIB, peak_bytes
from sklearn.datasets import load_digits, make_classification
from step import least_ms
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.train.step import training_step

WIDTHS = (64, 128, 256, 512)
CLASSES = 10
# Training inputs and labels, then validation inputs and labels.
Data = tuple[Tensor, Tensor, Tensor, Tensor]


class Mlp(nn.Module):
    """Hidden layers with batch-norm and ReLU, all of one width, and a head; runs at any width up to its own."""

    def __init__(self, features: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [features, *[width] * depth]
        self.linears = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(depth))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, width: int) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = normed(F.linear(x, linear.weight[:width, : x.shape[1]], linear.bias[:width]), norm)
        return F.linear(x, self.head.weight[:, :width], self.head.bias)


class Nested(nn.Module):
    """An MLP whose first c features depend on the first c inputs only, for every width c; with a head per width."""

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        self.mlp = Mlp(features, max(WIDTHS), depth)
        self.heads = nn.ModuleList(nn.Linear(width, CLASSES) for width in WIDTHS)
        del self.mlp.head
        block = np.searchsorted(WIDTHS, np.arange(max(WIDTHS)), side="right")
        self.register_buffer("mask", torch.from_numpy(block[:, None] >= block).float())
        # A row has fewer inputs than its layer: as many as its block's width. The first layer is not masked.
        fan_in = torch.from_numpy(np.array(WIDTHS)[block])
        with torch.no_grad():
            for linear in self.mlp.linears[1:]:
                linear.weight *= (max(WIDTHS) / fan_in[:, None]).sqrt()

    def outputs(self, x: Tensor) -> list[Tensor]:
        """Returns the outputs of all widths, from one pass."""
        for number, (linear, norm) in enumerate(zip(self.mlp.linears, self.mlp.norms, strict=True)):
            x = normed(F.linear(x, linear.weight * self.mask if number else linear.weight, linear.bias), norm)
        return [head(x[:, :width]) for width, head in zip(WIDTHS, self.heads, strict=True)]

    def forward(self, x: Tensor, width: int) -> Tensor:
        return self.outputs(x)[WIDTHS.index(width)]


def normed(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    size = x.shape[1]
    statistics = norm.running_mean[:size], norm.running_var[:size]
    return torch.relu(F.batch_norm(x, *statistics, norm.weight[:size], norm.bias[:size], norm.training, norm.momentum))


# ---- losses of a step


def imitation(outputs: Tensor, teacher: Tensor) -> Tensor:
    return F.cross_entropy(outputs, teacher.detach().softmax(1))


def alone(module: nn.Module, x: Tensor, labels: Tensor, width: int) -> Iterator[Tensor]:
    yield F.cross_entropy(module(x, width), labels)


def slices_labels(module: nn.Module, x: Tensor, labels: Tensor) -> Iterator[Tensor]:
    for width in reversed(WIDTHS):
        yield F.cross_entropy(module(x, width), labels)


def slices_taught(module: nn.Module, x: Tensor, labels: Tensor) -> Iterator[Tensor]:
    outputs = module(x, max(WIDTHS))
    yield F.cross_entropy(outputs, labels)
    for width in WIDTHS[:-1]:
        yield imitation(module(x, width), outputs)


def nested_labels(module: Nested, x: Tensor, labels: Tensor) -> Iterator[Tensor]:
    yield torch.stack([F.cross_entropy(outputs, labels) for outputs in module.outputs(x)]).sum()


def nested_taught(module: Nested, x: Tensor, labels: Tensor) -> Iterator[Tensor]:
    *others, widest = module.outputs(x)
    yield F.cross_entropy(widest, labels) + torch.stack([imitation(outputs, widest) for outputs in others]).sum()


def ways(features: int, depth: int):
    """Returns, by name, a function that makes a module, the losses of its step and the widths that it trains."""
    return {
        **{f"alone, {w}": (partial(Mlp, features, w, depth), partial(alone, width=w), (w,)) for w in WIDTHS},
        "slices, labels": (partial(Mlp, features, max(WIDTHS), depth), slices_labels, WIDTHS),
        "slices, taught": (partial(Mlp, features, max(WIDTHS), depth), slices_taught, WIDTHS),
        "nested, labels": (partial(Nested, features, depth), nested_labels, WIDTHS),
        "nested, taught": (partial(Nested, features, depth), nested_taught, WIDTHS),
    }


# ---- training


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)


def accuracies(way, data: Data, epochs: int, rate: float, seed: int) -> dict[int, float]:
    """Returns the validation accuracy of every width after training."""
    torch.manual_seed(seed)
    make, losses, widths = way
    module, (x, labels, judged, truth) = make(), data
    optimizer = optimizer_of(module)
    steps = len(x) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * steps, cycle_momentum=False)
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: steps * 64].split(64):
            training_step(module, optimizer, losses(module, x[batch], labels[batch]), 5.0)
            schedule.step()
    return {width: accuracy(module, width, x, judged, truth) for width in widths}


@torch.no_grad()
def accuracy(module: nn.Module, width: int, x: Tensor, judged: Tensor, truth: Tensor) -> float:
    """Returns the share of right predictions, with batch-norm statistics of the whole training split."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 1.0
    module.train()(x, width)
    return float((module.eval()(judged, width).argmax(1) == truth).float().mean())


def data_of(name: str, seed: int) -> Data:
    if name == "digits":
        inputs, labels = load_digits(return_X_y=True)
        inputs = inputs / 8 - 1
    else:
        inputs, labels = make_classification(
            6000, 64, n_informative=24, n_redundant=8, n_classes=CLASSES, n_clusters_per_class=4, random_state=0
        )
    order = np.random.default_rng(seed).permutation(len(inputs))
    x, labels = torch.from_numpy(inputs[order]).float(), torch.from_numpy(labels[order]).long()
    first = 2 * len(x) // 3
    return x[:first], labels[:first], x[first:], labels[first:]


def costs(made: dict, batch: tuple[Tensor, Tensor]) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the milliseconds and the MiB of a step of every way."""
    steps, mib = {}, {}
    for name, (make, losses, _) in made.items():
        module = make().train()
        optimizer = optimizer_of(module)
        steps[name] = lambda module=module, optimizer=optimizer, losses=losses: training_step(
            module, optimizer, losses(module, *batch), 5.0
        )
        mib[name] = peak_bytes(steps[name], module, optimizer) / MIB
    return dict(least_ms(steps, 60, batch[0].device)), mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("digits", "clusters"), default="digits")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.03, 0.1])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x, labels, *_ = data_of(arguments.data, 0)
    made = ways(x.shape[1], arguments.depth)
    ms, mib = costs(made, (x[:64], labels[:64]))
    print(f"{arguments.data}, {arguments.depth} hidden layers, {arguments.epochs} epochs, {arguments.seeds} seeds")
    print(f"| | ms | MiB | {' | '.join(f'width {width}' for width in WIDTHS)} |\n|---|---|---|{'---|' * len(WIDTHS)}")
    rows = {name: table_of(way, arguments) for name, way in made.items()}
    for name, percent in rows.items():
        cells = [f"{percent[width][0]:.2f} ± {percent[width][1]:.2f}" if width in percent else "" for width in WIDTHS]
        print(f"| {name} | {ms[name]:.2f} | {mib[name]:.1f} | {' | '.join(cells)} |")


def table_of(way, arguments: argparse.Namespace) -> dict[int, Sequence[float]]:
    """Returns the mean accuracy and its standard error over the seeds, in percent, by width, at the best rate."""
    seeds = range(arguments.seeds)
    scored = [
        [accuracies(way, data_of(arguments.data, seed), arguments.epochs, rate, seed) for seed in seeds]
        for rate in arguments.rates
    ]
    best = max(scored, key=lambda runs: sum(sum(run.values()) for run in runs))
    columns = {width: 100 * np.array([run[width] for run in best]) for width in way[2]}
    return {width: (values.mean(), values.std(ddof=1) / len(values) ** 0.5) for width, values in columns.items()}


if __name__ == "__main__":
    main()
