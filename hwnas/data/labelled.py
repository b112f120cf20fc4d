"""Labelled images or series: the part of a data set that does not depend on the kind of its labels.

Shapes: N examples, C channels, H rows, W columns, L length.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data.forms import IMAGES, Form, Normalising
from hwnas.data.image_files import named
from hwnas.data.sources import Prepared
from hwnas.data.splits import Examples, digest_of, example_hashes, sizes
from hwnas.data.streamed import AT_ONCE


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledImages(ABC):
    """Splits hold images (N, C, H, W) from 0 to 255, or series (N, C, L); a subclass tells the meaning of its labels.

    `form` knows which of the two. `preparation` is None where examples were made as they are, not prepared from files. `notes`
    are lines for people.
    """

    task: ClassVar[str]
    named_by: ClassVar[str]
    """The fact of `labelling` that names a network's outputs."""

    reference: str
    train: Examples
    validation: Examples
    test: Examples
    normalise: Normalising
    augmentation: str
    preparation: Prepared | None = None
    form: Form = IMAGES
    notes: tuple[str, ...] = ()

    @abstractmethod
    def labelling(self) -> dict[str, tuple[Any, ...]]:
        """Returns facts about labels by name, such as `classes`; each fact has one value per output."""

    @property
    def outputs(self) -> int:
        """Returns the number of outputs that a network needs, such as classes or targets."""
        return len(self.labelling()[self.named_by])

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """Returns the examples (N, C, ...) as float32 of the same shape, normalised per channel."""
        return self.normalise(raw)

    def describe(self) -> dict[str, Any]:
        """Returns the facts that a run stores of its data; fit for JSON."""
        return {
            "reference": self.reference,
            **{name: list(values) for name, values in self.labelling().items()},
            "mean": list(self.normalise.mean),
            "std": list(self.normalise.std),
            "augmentation": self.augmentation,
            "sizes": sizes(self.train, self.validation, self.test),
            "image_shape": list(self.train.raw.shape[1:]),
            "preparation": self._prepared(),
            "notes": [
                self._task_note(),
                self._augmentation_note(),
                *self._normalisation_note(),
                *self.notes,
                *self._repeated_note(),
            ],
            "digest": self.digest(),
        }

    def _task_note(self) -> str:
        names = self.labelling()[self.named_by]
        return f"task: {self.task}, {len(names)} {self.named_by} ({named(names)})"

    def _augmentation_note(self) -> str:
        words = {"shift+flip": "shift+flip (mirrored, too)"}
        others = [words.get(name, name) for name in self.form.augmentations if name != self.augmentation]
        return f"augmentation: {self.augmentation}; others by --augmentation: {', '.join(others)}"

    def _normalisation_note(self) -> list[str]:
        if not self.normalise.given:
            return []
        mean, std = (", ".join(f"{one:.3g}" for one in values) for values in (self.normalise.mean, self.normalise.std))
        return [
            f"{self.form.things} are normalised by means of {mean} and deviations of {std}; --normalise data: by their own"
        ]

    def _repeated_note(self) -> list[str]:
        """Returns the note on examples that occur in two splits, number by number the same as the networks take them.

        Images of one colour, and constant series, are not counted.
        """
        things = self.form.things
        train, validation, test = map(example_hashes, (self.train, self.validation, self.test))
        counts = {
            f"validation {things} are also training {things}": _repeats(self.validation, validation, set(train)),
            f"test {things} are also in another split": _repeats(self.test, test, {*train, *validation}),
        }
        whole = (len(validation), len(test))
        parts = [
            f"{count:,} of {of:,} {text}" for (text, count), of in zip(counts.items(), whole, strict=True) if count
        ]
        advice = "scores on them say little; if they are copies, remove them"
        return [f"repeated {things}: {'; '.join(parts)}: {advice}"] if parts else []

    def _prepared(self) -> dict[str, Any]:
        return {} if self.preparation is None else self.preparation.describe()

    def digest(self) -> str:
        """Returns a hash that changes with an example, a label, a fact about labels, a split, or a given normalisation."""
        given = [self.normalise.mean, self.normalise.std] if self.normalise.given else []
        return digest_of([*self.labelling().values(), *given], (self.train, self.validation, self.test))

    def metadata(self) -> dict[str, str]:
        """Returns the facts about labels, how examples are prepared, and mean and standard deviation per channel; all as JSON."""
        facts = self.labelling() | self._prepared() | {"mean": self.normalise.mean, "std": self.normalise.std}
        return {f"hwnas.{name}": json.dumps(values) for name, values in facts.items()}


def _repeats(split: Examples, hashes: Sequence[bytes], others: AbstractSet[bytes]) -> int:
    """Returns the number of a split's examples that are among others and not constant per channel."""
    rows = np.array([row for row, hashed in enumerate(hashes) if hashed in others], dtype=np.int64)
    parts = (split.raw[rows[start : start + AT_ONCE]] for start in range(0, len(rows), AT_ONCE))
    return sum(
        bool(np.ptp(example.reshape(len(example), -1), axis=1).any()) for examples in parts for example in examples
    )
