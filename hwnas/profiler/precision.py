"""Converts models to other precisions, as they would be deployed. The only module that uses onnxruntime's quantiser."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from hwnas.errors import ExportError
from hwnas.profiler.runtime import InputArray

# The operations that are quantised, not all that the quantiser knows. Quantised sums ruin the masked scores of attention (the
# error is a tenth without them), and quantised average pooling made NAS-Bench-201's cells up to ten times as slow
# (docs/log.md).
QUANTISED: Final = ("Conv", "Gemm", "MatMul", "Relu", "GlobalAveragePool")


# Converts a float32 model to another precision, given inputs (batch, *input_shape) to calibrate it on.
Convert = Callable[[bytes, Sequence[InputArray]], bytes]


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    """The inputs one by one, through the interface that the quantiser asks for."""

    def __init__(self, inputs: Sequence[InputArray]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, InputArray] | None:
        x = next(self._left, None)
        return None if x is None else {"input": x}


def quantised(model: bytes, inputs: Sequence[InputArray]) -> bytes:
    """Quantises the operations in `QUANTISED` statically, as QDQ nodes (Nagel et al. 2021, sections 2 and 3).

    Activations become unsigned 8-bit numbers by their range over the inputs, weights signed 8-bit numbers per channel.
    Raises ExportError if there are no inputs to calibrate on.
    """
    if not len(inputs):
        raise ExportError("precision int8 needs inputs to calibrate on; give `calibration`")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "quantised.onnx"
        quantize_static(
            onnx.load_model_from_string(model),
            path,
            _Inputs(inputs),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(QUANTISED),
        )
        return path.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the quantiser, which warns for every model that it should be prepared; the exporter has prepared it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    ort.set_default_logger_severity(3)
    try:
        yield
    finally:
        logging.disable(before)
        ort.set_default_logger_severity(2)  # the default; the current severity cannot be read


def unchanged(model: bytes, inputs: Sequence[InputArray]) -> bytes:
    """Returns the model as it is."""
    return model


PRECISIONS: Final[Mapping[str, Convert]] = {
    "fp32": unchanged,
    "int8": quantised,
}
