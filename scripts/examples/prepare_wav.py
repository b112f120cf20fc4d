"""Prepares a recording for an exported model from the model's own metadata. Needs numpy, SciPy and onnxruntime, no hwnas.

python scripts/examples/prepare_wav.py runs/search/models/ARCH.onnx yes.wav
"""

import json
import sys

import numpy as np
from scipy.io import wavfile


def read_metadata(properties):
    """Returns the facts about preparation and output by name; `properties` are those of an ONNX file, as text."""
    return {name: json.loads(properties[f"hwnas.{name}"]) for name in ("rate", "length", "fit", "mean", "std")}


def prepare(rate, samples, facts):
    """Returns the model's input for one recording, as `wavfile.read` gives it: float32 of shape (1, 1, length)."""
    if rate != facts["rate"] or facts["fit"] != "crop or pad both ends":
        raise ValueError(f"the model takes {facts['rate']} Hz, not {rate}; resample the recording")
    if samples.dtype == np.uint8:
        samples = (samples - 128.0) / 128
    elif samples.dtype.kind == "i":
        samples = samples / -float(np.iinfo(samples.dtype).min)
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    missing = facts["length"] - len(mono)
    if missing > 0:
        mono = np.pad(mono, (missing // 2, missing - missing // 2))
    start = (len(mono) - facts["length"]) // 2
    middle = mono[start : start + facts["length"]].astype(np.float32)
    return ((middle - np.float32(facts["mean"][0])) / np.float32(facts["std"][0]))[None, None]


if __name__ == "__main__":
    import onnxruntime

    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    x = prepare(*wavfile.read(sys.argv[2]), read_metadata(properties))
    (logits,) = session.run(["output"], {session.get_inputs()[0].name: x})[0]
    classes = json.loads(properties["hwnas.classes"])
    print(classes[int(logits.argmax())])
