"""Examples that are numbers, not images: floating-point arrays of the networks' input shape, standardised.

Shapes: N examples, F numbers of an example, along its first axis.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.data.image_files import named
from hwnas.data.request import DataRequest
from hwnas.data.sources import FEWEST, require_numbered
from hwnas.data.splits import Examples, digest_of, example_hashes, quantile_groups, sizes, split_rows, stratified_order
from hwnas.errors import DataError

TASKS: Final = {True: "classification", False: "regression"}
Stored = Mapping[str, tuple[str, NDArray[Any], NDArray[Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """`mean` and `std` are those of each place along an example's first axis."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def __call__(self, raw: NDArray[Any]) -> Tensor:
        """Returns (raw - mean) / std of examples (N, F, ...), float32 of the same shape."""
        places = (1, -1, *(1,) * (raw.ndim - 2))
        standardised = (raw.astype(np.float32) - self.mean.reshape(places)) / self.std.reshape(places)
        return torch.from_numpy(standardised)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FeatureData:
    """Splits hold examples (N, *input_shape), float32, and labels: classes (N,), or targets (N, T), standardised.

    `mean` and `std` are those of each place along an example's first axis, over the training split: of each feature of
    a vector, of each channel of an image or series. `facts` name the outputs, as ONNX metadata.
    """

    augmentation: ClassVar[str] = "none"

    reference: str
    task: str
    train: Examples
    validation: Examples
    test: Examples
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    facts: Mapping[str, tuple[Any, ...]]
    notes: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Returns the number of classes or targets."""
        return len(next(iter(self.facts.values())))

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """Returns (raw - mean) / std; shape (N, *input_shape)."""
        return self.standardise(raw)

    @property
    def standardise(self) -> Scaling:
        """The way from examples to inputs, without the data."""
        return Scaling(self.mean, self.std)

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns training examples and their labels; nothing is augmented."""
        return self.inputs(self.train.raw[indices]), torch.from_numpy(self.train.labels[indices])

    def calibration_order(self) -> IntArray:
        """Returns a fixed order of the training examples whose every beginning has the classes, or tenths, in proportion."""
        return stratified_order(_groups(self.train.labels), np.random.default_rng(0))

    def describe(self) -> dict[str, Any]:
        """Returns the facts that a run stores of its data; fit for JSON."""
        name, values = next(iter(self.facts.items()))
        counts = sizes(self.train, self.validation, self.test)
        return {
            "reference": self.reference,
            **{fact: list(each) for fact, each in self.facts.items()},
            "sizes": counts,
            "example_shape": list(self.train.raw.shape[1:]),
            "notes": [
                f"task: {self.task}, {len(values)} {name} ({named(list(map(str, values)))})",
                f"splits: {', '.join(f'{count:,} {split}' for split, count in counts.items())}",
                "examples are floating-point numbers, standardised by the training split, and not augmented",
                *self.notes,
            ],
            "digest": self.digest(),
        }

    def digest(self) -> str:
        """Returns a hash that changes with an example, a label or a split."""
        return digest_of([*self.facts.values()], (self.train, self.validation, self.test))

    def metadata(self) -> dict[str, str]:
        """Returns the names of the outputs, and how inputs are standardised: (x - feature_mean) / feature_std; all as JSON."""
        facts = {**self.facts, "feature_mean": self.mean.tolist(), "feature_std": self.std.tolist()}
        return {f"hwnas.{name}": json.dumps(value) for name, value in facts.items()}


def featured(request: DataRequest, stored: Stored, notes: tuple[str, ...] = ()) -> FeatureData:
    """Returns the features of stored splits: where they are read, examples (N, *input_shape), and classes or targets.

    Raises DataError for examples of another shape, numbers that are not finite, and labels that cannot be.
    """
    for where, x, y in stored.values():
        _require_fit(request, where, x, y)
    is_classes = np.issubdtype(stored["train"][2].dtype, np.integer)
    labels = {
        split: y.reshape(-1).astype(np.int64) if is_classes else _columns(y) for split, (_, _, y) in stored.items()
    }
    if is_classes:
        facts = _classes(stored["train"][0], labels)
    else:
        facts = {"targets": tuple(f"y{number}" for number in range(labels["train"].shape[1]))}
    name, values = next(iter(facts.items()))
    request.require_outputs(len(values), name)
    _require_enough(request, stored, labels, len(values) if is_classes else 1)
    rows = split_rows(
        _groups(labels["train"]),
        validation_groups=_groups(labels["validation"]) if "validation" in labels else None,
        test_groups=_groups(labels["test"]) if "test" in labels else None,
        seed=request.seed,
        limit=request.limit,
        fewest=len(values) if is_classes else 1,
        validation_share=request.images.validation_share,
    )

    def split(part: str, chosen: IntArray) -> Examples:
        source = part if part in stored else "train"
        return Examples(stored[source][1][chosen].astype(np.float32), labels[source][chosen])

    train, validation, test = (
        split(part, chosen)
        for part, chosen in (("train", rows.train), ("validation", rows.validation), ("test", rows.test))
    )
    axes = (0, *range(2, train.raw.ndim))
    mean, std = train.raw.mean(axis=axes, dtype=np.float64), train.raw.std(axis=axes, dtype=np.float64)
    std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-30), std, 1.0)
    if not is_classes:
        target_mean, target_std = train.labels.mean(axis=0), train.labels.std(axis=0)
        target_std = np.where(target_std > 1e-12 * np.abs(target_mean), target_std, 1.0)
        facts |= {"target_mean": tuple(target_mean.tolist()), "target_std": tuple(target_std.tolist())}
        train, validation, test = (
            Examples(part.raw, ((part.labels - target_mean) / target_std).astype(np.float32))
            for part in (train, validation, test)
        )
    return FeatureData(
        reference=request.reference,
        task=TASKS[bool(is_classes)],
        train=train,
        validation=validation,
        test=test,
        mean=mean.astype(np.float32),
        std=std.astype(np.float32),
        facts=facts,
        notes=(*notes, *_repeated(train, validation, test)),
    )


def _require_fit(request: DataRequest, where: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    if request.vocabulary is not None:
        raise DataError(f"{where}: holds numbers, but the space takes token ids; give --data text:FILE")
    if y.dtype.kind not in "iuf":
        raise DataError(
            f"{where}: labels are {y.dtype}; store classes as integers, or targets as floating-point numbers"
        )
    if x.shape[1:] != request.input_shape:
        raise DataError(
            f"{where}: examples of shape {x.shape[1:]}, and the space takes {request.input_shape}; store them in that shape, or "
            "give options of the space for it; floating-point numbers are not resized, so store images as uint8"
        )
    if len(x) != len(y) or y.ndim > 2 or (np.issubdtype(y.dtype, np.integer) and y.size != len(y)):
        raise DataError(f"{where}: {len(x)} examples but labels of shape {y.shape}; store one label for each example")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError(f"{where}: has numbers that are not finite; replace or remove them")


def _require_enough(request: DataRequest, stored: Stored, labels: Mapping[str, NDArray[Any]], fewest: int) -> None:
    """Raises DataError for an empty split, too few examples, splits of different targets, and a limit below `fewest`."""
    for split, (where, x, _) in stored.items():
        needed = FEWEST if split == "train" else 1
        if len(x) < needed:
            raise DataError(f"{where}: has {len(x)} examples; give it at least {needed}")
        if labels[split].shape[1:] != labels["train"].shape[1:]:
            raise DataError(
                f"{where}: has {labels[split].shape[1]} targets, and the training data {labels['train'].shape[1]}; give all "
                "splits the same"
            )
    if request.limit is not None and request.limit < fewest:
        raise DataError(
            f"{request.reference}: a limit of {request.limit} is below one example for each of {fewest} classes"
        )


def _classes(where: str, labels: Mapping[str, NDArray[Any]]) -> dict[str, tuple[Any, ...]]:
    """Returns the names of classes. Raises DataError where they are not numbered, too few, or new outside of training."""
    values, counts = np.unique(labels["train"], return_counts=True)
    require_numbered(where, values)
    if len(values) < 2:
        raise DataError(f"{where}: has {len(values)} classes; give it at least 2")
    if counts.min() < FEWEST:
        raise DataError(
            f"{where}: class {values[counts.argmin()]} has {counts.min()} examples; give it at least {FEWEST}"
        )
    for split, own in labels.items():
        foreign = np.setdiff1d(own, values)
        if len(foreign):
            raise DataError(f"{where}: label {foreign[0]} of {split} is not in the training data; leave it out")
    return {"classes": tuple(map(str, range(len(values))))}


def _columns(y: NDArray[Any]) -> NDArray[np.float64]:
    return (y[:, None] if y.ndim == 1 else y).astype(np.float64)


def _groups(labels: NDArray[Any]) -> IntArray:
    """Returns the class of each example, or the tenth of its first target; shape (N,)."""
    return labels if labels.ndim == 1 else quantile_groups(labels[:, 0])


def _repeated(train: Examples, validation: Examples, test: Examples) -> list[str]:
    """Returns the note on examples that occur in two splits."""
    known, *others = (set(example_hashes(part)) for part in (train, validation, test))
    counts = [len(known & other) for other in others]
    if not any(counts):
        return []
    return [f"repeated examples: {counts[0]} of validation and {counts[1]} of test are also training examples"]
