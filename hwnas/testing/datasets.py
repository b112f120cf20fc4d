"""The conformance suite of data sets.

    class TestMine(DatasetSuite):
        def dataset(self) -> Dataset:
            return load_data("mine.py:make", (3, 32, 32), limit=100)

pytest then runs every law on the data set. A law is an ordinary method, so a suite also runs without pytest.
Shapes: N examples, T targets, L positions, H rows, W columns.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.core.arrays import IntArray
from hwnas.core.labels import UNLABELLED
from hwnas.data.dataset import Dataset, Split

BATCH: Final = 4


class DatasetSuite:
    """Laws of every data set. A subclass makes the data set, small enough for its laws to run in seconds.

    `repeats` is True where equal examples may be in two splits, as short pieces of text are.
    """

    repeats = False

    def dataset(self) -> Dataset:
        """Returns the data set; called anew by every law, and twice by some."""
        raise NotImplementedError

    def editable(self, data: Dataset) -> Dataset:
        """Returns a copy whose examples and labels can be changed in place; to override where these are computed."""
        return copy.deepcopy(data)

    # ---- laws of the splits

    def test_the_task_is_named_and_asks_for_outputs(self) -> None:
        data = self.dataset()
        assert isinstance(data.task, str) and data.task, f"task is {data.task!r}; name it, as `classification`"
        assert isinstance(data.outputs, int) and data.outputs >= 1, f"outputs is {data.outputs!r}; give at least 1"

    def test_every_split_has_examples_and_as_many_labels(self) -> None:
        for name, split in splits_of(self.dataset()).items():
            assert len(split) >= 1, f"{name} is empty"
            assert len(split.raw) == len(split.labels) == len(split), f"{name} has other numbers of raw and labels"

    def test_no_example_is_in_two_splits(self) -> None:
        if self.repeats:
            return
        first: dict[bytes, str] = {}
        for name, split in splits_of(self.dataset()).items():
            for example in split.raw:
                key = hashlib.blake2s(np.ascontiguousarray(example).tobytes()).digest()
                assert first.setdefault(key, name) == name, f"{name} and {first[key]} share an example"

    def test_labels_are_what_the_task_takes(self) -> None:
        data = self.dataset()
        for name, split in splits_of(data).items():
            inputs = data.inputs(split.raw[:1])
            require_labels(data, split.labels, tuple(inputs.shape[1:]), name)

    # ---- laws of inputs and batches

    def test_inputs_are_tensors_of_one_kind_in_every_split(self) -> None:
        data = self.dataset()
        kinds = set()
        for split in splits_of(data).values():
            x = data.inputs(split.raw[:BATCH])
            assert len(x) == min(BATCH, len(split))
            assert x.isfinite().all()
            kinds.add((x.dtype, tuple(x.shape[1:])))
        assert len(kinds) == 1, f"splits have inputs of {kinds}"
        assert kinds.pop()[0] in (torch.float32, torch.int64), "inputs are float32, or int64 token ids"

    def test_an_input_does_not_depend_on_its_batch_and_leaves_raw_alone(self) -> None:
        data = self.dataset()
        raw = data.validation.raw[:BATCH]
        before = raw.copy()
        together = data.inputs(raw)
        for row in range(len(raw)):
            assert torch.equal(data.inputs(raw[row : row + 1])[0], together[row])
        assert np.array_equal(raw, before), "inputs() changed the raw examples"

    def test_a_training_batch_has_the_kind_of_inputs_and_labels(self) -> None:
        data = self.dataset()
        rows = batch_rows(data)
        x, labels = data.training_batch(rows, np.random.default_rng(0))
        plain = data.inputs(data.train.raw[rows])
        assert (x.shape, x.dtype) == (plain.shape, plain.dtype), "augmentation changed shape or dtype"
        stored = data.train.labels[rows]
        assert (tuple(labels.shape), labels.dtype) == (stored.shape, torch.from_numpy(stored).dtype)
        require_labels(data, labels.numpy(), tuple(x.shape[1:]), "a training batch")

    def test_a_training_batch_holds_the_labels_of_its_rows(self) -> None:
        data = self.dataset()
        if data.task not in ("classification", "regression"):
            return  # augmentation changes labels of positions and pixels
        rows = batch_rows(data)
        for order in (rows, rows[::-1].copy()):
            _, labels = data.training_batch(order, np.random.default_rng(0))
            assert np.array_equal(labels.numpy(), data.train.labels[order])

    def test_a_training_batch_depends_on_the_generators_state_alone(self) -> None:
        data = self.dataset()
        rows = batch_rows(data)
        before = data.digest()
        x, labels = data.training_batch(rows, np.random.default_rng(1))
        data.training_batch(rows, np.random.default_rng(2))
        torch.rand(1), np.random.default_rng().random()
        again, labels_again = data.training_batch(rows, np.random.default_rng(1))
        assert torch.equal(x, again) and torch.equal(labels, labels_again)
        assert data.digest() == before, "training_batch() changed the examples"

    def test_the_calibration_order_is_a_fixed_permutation_of_the_training_split(self) -> None:
        data = self.dataset()
        order = data.calibration_order()
        assert sorted(order.tolist()) == list(range(len(data.train)))
        assert np.array_equal(order, data.calibration_order())

    # ---- laws of descriptions

    def test_the_description_survives_json_and_holds_the_digest(self) -> None:
        data = self.dataset()
        facts = data.describe()
        assert json.loads(json.dumps(facts)) == facts
        assert facts.get("digest") == data.digest(), "store the digest: a resumed run compares it"

    def test_a_data_set_made_twice_has_one_digest(self) -> None:
        assert self.dataset().digest() == self.dataset().digest()

    def test_the_digest_changes_with_a_label(self) -> None:
        data = self.dataset()
        for name in splits_of(data):
            edited = self.editable(data)
            change(splits_of(edited)[name].labels)
            before, after = splits_of(data)[name].labels, splits_of(edited)[name].labels
            assert not np.array_equal(before, after), "labels are computed: override `editable`"
            assert edited.digest() != data.digest(), f"a label of {name} does not change the digest"

    def test_the_digest_changes_with_an_example(self) -> None:
        data = self.dataset()
        for name in splits_of(data):
            edited = self.editable(data)
            change(splits_of(edited)[name].raw)
            before, after = splits_of(data)[name].raw[:], splits_of(edited)[name].raw[:]
            assert not np.array_equal(before, after), "examples are computed: override `editable`"
            assert edited.digest() != data.digest(), f"an example of {name} does not change the digest"

    def test_metadata_are_properties_of_hwnas_as_text(self) -> None:
        metadata = self.dataset().metadata()
        assert metadata, "say how to prepare the input and read the output"
        for key, value in metadata.items():
            assert key.startswith("hwnas."), f"{key!r} does not begin with `hwnas.`"
            assert isinstance(value, str), f"{key} is {value!r}, not text"


def splits_of(data: Dataset) -> Mapping[str, Split]:
    """Returns the splits by name."""
    return {"train": data.train, "validation": data.validation, "test": data.test}


def batch_rows(data: Dataset) -> IntArray:
    """Returns a few rows of the training split."""
    return np.arange(min(BATCH, len(data.train)), dtype=np.int64)


def change(array_N: Any) -> None:
    """Adds 1 to the first example or label, in place; bytes wrap around."""
    first = array_N[:1]
    first += 1


def require_labels(data: Dataset, labels: NDArray[Any], input_shape: tuple[int, ...], where: str) -> None:
    """Asserts dtype, shape and range of labels of a built-in task; labels of other tasks are not known here."""
    shapes = {
        "classification": (),
        "language": input_shape,
        "regression": (data.outputs,),
        "segmentation": input_shape[1:],
    }
    if data.task not in shapes:
        return
    assert labels.shape[1:] == shapes[data.task], f"{where}: labels of shape {labels.shape}, inputs {input_shape}"
    dtype = np.float32 if data.task == "regression" else np.int64
    assert labels.dtype == dtype, f"{where}: labels are {labels.dtype}, not {np.dtype(dtype)}"
    if data.task == "regression":
        assert np.isfinite(labels).all(), f"{where}: a target is not finite"
        return
    known = labels[labels != UNLABELLED] if data.task == "segmentation" else labels
    assert known.size, f"{where}: nothing is labelled"
    assert known.min() >= 0 and known.max() < data.outputs, f"{where}: labels outside 0 to {data.outputs - 1}"
