"""Numbers other than float32: models quantised as they would be deployed. The only user of onnxruntime's quantiser."""

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

# Not everything the quantiser knows: quantised sums ruin the masked scores of attention (a tenth of the error without),
# and quantised average pooling made NAS-Bench-201's cells up to ten times as slow (docs/log.md).
QUANTISED: Final = ("Conv", "Gemm", "MatMul", "Relu", "GlobalAveragePool")


# How a float32 model becomes one of another precision, given inputs (batch, *input_shape) to calibrate it on.
Convert = Callable[[bytes, Sequence[InputArray]], bytes]


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    """The inputs, one by one, as the quantiser asks for them."""

    def __init__(self, inputs: Sequence[InputArray]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, InputArray] | None:
        x = next(self._left, None)
        return None if x is None else {"input": x}


def quantised(model: bytes, inputs: Sequence[InputArray]) -> bytes:
    """Static quantisation: activations to 8 bits without sign by their range over the inputs, weights to 8 bits per
    channel, as QDQ nodes (Nagel et al. 2021, sections 2 and 3); of the operations in `QUANTISED`.

    Raises ExportError where there is nothing to calibrate on.
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
    """It recommends preparing the model, which the exporter has done, with warnings for every model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    ort.set_default_logger_severity(3)
    try:
        yield
    finally:
        logging.disable(before)
        ort.set_default_logger_severity(2)  # as it is at first; there is no asking


def unchanged(model: bytes, inputs: Sequence[InputArray]) -> bytes:
    """The model as it is."""
    return model


PRECISIONS: Final[Mapping[str, Convert]] = {
    "fp32": unchanged,
    "int8": quantised,
}
