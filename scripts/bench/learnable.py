"""Trains one network by itself, with plain torch losses, to show that a data set and a head can be learned.

python scripts/bench/learnable.py digits-angle --epochs 15       R2 of the angle
python scripts/bench/learnable.py digits-canvas --epochs 20      mean intersection over union of 11 classes
"""

import argparse
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hwnas
from hwnas.core.choice import Argument
from hwnas.data.dataset import Dataset, Split, load_data
from hwnas.modules.assemble import network

BATCH = 64
OPTIONS: Mapping[str, Mapping[str, Argument]] = {
    "digits-angle": {"channels": 1, "classes": 1},
    "digits-canvas": {"channels": 1, "classes": 11, "head": "dense"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=OPTIONS)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--network", choices=("smallest", "random"), default="smallest")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    space = hwnas.space("mobilenet", **OPTIONS[arguments.data])
    data = load_data(arguments.data, space.input_shape, outputs=space.classes, seed=arguments.seed)
    arch = space.smallest() if arguments.network == "smallest" else space.sample(np.random.default_rng(1))
    module = network(space, arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for epoch, loss in trained(module, data, arguments.epochs, np.random.default_rng(arguments.seed)):
        if epoch % 5 == 0 or epoch == arguments.epochs:
            print(f"epoch {epoch}: loss {loss:.3f}, validation {score(module, data, data.validation):.3f}", flush=True)
    print(f"test {score(module, data, data.test):.3f}")


def trained(module: nn.Module, data: Dataset, epochs: int, rng: np.random.Generator) -> Iterator[tuple[int, float]]:
    """Trains with SGD and one cycle of rates; yields the number and the mean loss of each epoch."""
    loss_of = F.cross_entropy if data.task == "segmentation" else F.mse_loss
    steps = len(data.train) // BATCH
    highest = 0.2 if data.task == "segmentation" else 0.05
    optimizer = torch.optim.SGD(module.parameters(), lr=highest, momentum=0.9, nesterov=True, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, epochs * steps)
    for epoch in range(1, epochs + 1):
        module.train()
        losses = []
        for rows in np.array_split(rng.permutation(len(data.train))[: steps * BATCH], steps):
            x, labels = data.training_batch(rows, rng)
            loss = loss_of(module(x), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
            losses.append(float(loss.detach()))
        yield epoch, float(np.mean(losses))


@torch.inference_mode()
def score(module: nn.Module, data: Dataset, split: Split) -> float:
    """Returns R2 of targets, or the mean intersection over union of classes."""
    module.eval()
    starts = range(0, len(split), BATCH)
    outputs = torch.cat([module(data.inputs(split.raw[start : start + BATCH])) for start in starts])
    labels = torch.from_numpy(split.labels)
    if data.task == "regression":
        return 1 - float((outputs - labels).square().sum() / (labels - labels.mean(0)).square().sum())
    return mean_intersection_over_union(outputs.argmax(1), labels, data.outputs)


def mean_intersection_over_union(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Returns the mean over classes."""
    pairs = (labels * classes + predicted).flatten()
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes).double()
    both = counts.diag()
    return float((both / (counts.sum(0) + counts.sum(1) - both)).mean())


if __name__ == "__main__":
    main()
