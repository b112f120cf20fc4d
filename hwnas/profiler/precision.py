"""Converts models, or parts of them, to other precisions, as they would be deployed.

The only module that uses onnxruntime's quantiser.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from hwnas.core.precise import FLOAT32, PRECISIONS
from hwnas.errors import ExportError, UnknownNameError
from hwnas.profiler.device import multiplies_int8
from hwnas.profiler.runtime import InputArray

# The operations that are quantised, not all that the quantiser knows. Quantised sums ruin the masked scores of attention (the
# error is a tenth without them), and quantised average pooling made NAS-Bench-201's cells up to ten times as slow
# (docs/log.md).
QUANTISED: Final = ("Conv", "Gemm", "MatMul", "Relu", "GlobalAveragePool")


class _Inputs(CalibrationDataReader):  # type: ignore[misc]
    """The inputs one by one, through the interface that the quantiser asks for."""

    def __init__(self, inputs: Sequence[InputArray]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, InputArray] | None:
        x = next(self._left, None)
        return None if x is None else {"input": x}


def converted(model: bytes, inputs: Sequence[InputArray], precisions: Mapping[str, str]) -> bytes:
    """Returns a float32 model whose parts are in other precisions.

    `precisions` are by the path of a module in the network, as torch writes it; the empty path is the whole network. `inputs`,
    (batch, *input_shape) each, calibrate what is quantised. Raises UnknownNameError; ExportError if there are no inputs.
    """
    for precision in precisions.values():
        if precision not in PRECISIONS:
            raise UnknownNameError("precision", precision, list(PRECISIONS))
    # The exporter names a node after the path of its module.
    paths = tuple(f"/{path.replace('.', '/')}/" if path else "" for path, name in precisions.items() if name != FLOAT32)
    graph = onnx.load_model_from_string(model).graph if paths else onnx.GraphProto()
    nodes = [node.name for node in graph.node if node.op_type in QUANTISED and node.name.startswith(paths)]
    return _quantised(model, inputs, nodes) if nodes else model


def _quantised(model: bytes, inputs: Sequence[InputArray], nodes: Sequence[str]) -> bytes:
    """Quantises nodes statically, as QDQ nodes (Nagel et al. 2021, sections 2 and 3).

    Activations become unsigned 8-bit numbers by their range over the inputs, weights signed numbers per channel: of 8 bits, or
    of 7 where this CPU has no instructions for products of 8-bit numbers, because the sums of two such products are cut off at
    16 bits there.
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
            reduce_range=not multiplies_int8(),
            nodes_to_quantize=list(nodes),
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
