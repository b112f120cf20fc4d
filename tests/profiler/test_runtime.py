"""Laws of what is between measuring and runtimes: how many calls a sample is of, and what becomes of a graph that fails."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import DeviceError, ExportError, UnknownNameError
from hwnas.profiler.runtime import RUNTIMES, SAMPLE_NS, SAMPLES, chosen, require_output, several, with_graph
from hwnas.testing.runtimes import RuntimeSuite


@given(st.integers(2, 10_000), st.floats(100, 1e8))
def test_samples_are_long_enough_and_of_all_calls(calls: int, mean_ns: float) -> None:
    counts = several(calls, mean_ns)
    assert len(set(counts)) == 1 and counts[0] * mean_ns >= SAMPLE_NS * (1 - 1e-9)
    assert sum(counts) >= calls and len(counts) >= SAMPLES
    assert counts[0] == 1 or (counts[0] - 1) * mean_ns < SAMPLE_NS  # no longer than they must be


def test_a_single_call_is_a_sample() -> None:
    assert several(1, 10.0) == [1]


class CaptureError(Exception):
    pass


@pytest.mark.parametrize("wanted", [False, True])
def test_a_graph_that_cannot_be_made_is_done_without_and_said(wanted: bool) -> None:
    tried: list[bool] = []

    def make(graph: bool) -> str:
        tried.append(graph)
        if graph:
            raise CaptureError("operation not permitted\n when stream is capturing")
        return "plain"

    made, facts = with_graph(wanted, make)
    assert made == "plain"
    assert tried == ([True, False] if wanted else [False])
    said = {"cuda_graph": "refused: operation not permitted when stream is capturing"}
    assert facts == (said if wanted else {})


class OutOfMemoryError(Exception):
    """An error with the name of torch's."""


def test_a_graph_without_memory_left_is_an_error_not_a_fact() -> None:
    def make(graph: bool) -> None:
        raise OutOfMemoryError

    with pytest.raises(OutOfMemoryError):
        with_graph(True, make)


def test_what_fails_without_a_graph_too_is_an_error() -> None:
    def make(graph: bool) -> None:
        raise CaptureError(str(graph))

    with pytest.raises(CaptureError, match="False"):
        with_graph(True, make)


def test_options_that_are_not_there_or_take_other_values_are_refused() -> None:
    options = {"a": ("1", "0"), "b": ("x",)}
    assert chosen(options, {"a": "0"}) == {"a": "0", "b": "x"}
    with pytest.raises(UnknownNameError, match="unknown runtime option 'c'; known: a, b"):
        chosen(options, {"c": "1"})
    with pytest.raises(DeviceError, match="runtime option a is '2'; it can be 1, 0"):
        chosen(options, {"a": "2"})


class TestOnnxRuntime(RuntimeSuite):
    runtime = "onnxruntime"


class TestTorch(RuntimeSuite):
    runtime = "torch"


def test_every_built_in_runtime_has_its_suite() -> None:
    assert {suite.runtime for suite in (TestOnnxRuntime, TestTorch)} == set(RUNTIMES)


class Answers:
    """Gives what it was made with."""

    input_shape = (1,)
    facts: dict[str, str] = {}

    def __init__(self, output: Sequence[float]) -> None:
        self.output = np.array([output], dtype=np.float32)

    def run(self, x: np.ndarray) -> np.ndarray:
        return self.output


def test_an_output_that_is_not_torchs_is_an_error() -> None:
    x, expected = np.zeros(1, np.float32), np.array([[1.0, 4.0]], np.float32)
    require_output(Answers([1.0, 4.003]), x, expected, 1e-3)  # type: ignore[arg-type]
    for wrong in ([1.0, 4.005], [1.0, float("nan")]):
        with pytest.raises(ExportError, match="differs from torch's by"):
            require_output(Answers(wrong), x, expected, 1e-3)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"shape \(1, 3\), torch's \(1, 2\)"):
        require_output(Answers([1.0, 4.0, 1.0]), x, expected, 1e-3)  # type: ignore[arg-type]
