"""Folders of WAV files, one folder per class: recordings of one rate, mixed down to one channel, cropped or padded.

Shapes: S samples of a file, L length that networks take.
"""

import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from hwnas.core.arrays import FloatArray
from hwnas.data.folders import Files, read_folder
from hwnas.data.image_files import line_of
from hwnas.data.images import ImageData, classified
from hwnas.data.request import DataRequest
from hwnas.data.sources import ClassCollection, Pictures
from hwnas.errors import DamagedImageError, DataError

KIND: Final = "wav"
ASKED: Final = 20  # training files that are asked for their rate


@dataclass(frozen=True, slots=True)
class Recording:
    """All that is done to a recording before it is standardised: its `rate` in Hz is checked, its middle is cut out."""

    rate: int
    length: int

    def describe(self) -> dict[str, Any]:
        """Returns all that is needed to prepare a recording elsewhere; fit for JSON."""
        return {"rate": self.rate, "length": self.length, "channels": "mono", "fit": "crop or pad both ends"}


def load_wav(request: DataRequest) -> ImageData:
    """Returns the recordings of a folder with a folder per class, or of such folders in folders of splits.

    Raises DataError for networks of more than one channel, for files of several rates, and for damaged files.
    """
    request.require_series()
    channels, length = request.input_shape
    if channels != 1:
        raise DataError(f"{request.reference}: recordings are mixed down to 1 channel; give --space-option channels=1")
    return classified(request, _of_one_rate(request, read_recordings(request.path), length))


def read_recordings(folder: Path) -> ClassCollection:
    """Reads a folder with a folder of WAV files per class, or with such folders in folders of splits. Raises DataError."""
    return read_folder(folder, Files(KIND, "recordings", is_wav, lambda path, _: path))


def is_wav(path: Path) -> bool:
    """Returns True for names of WAV files.

    >>> is_wav(Path("yes/1.WAV")), is_wav(Path("yes/1.mp3"))
    (True, False)
    """
    return path.suffix.lower() in (".wav", ".wave")


def _of_one_rate(request: DataRequest, collection: ClassCollection, length: int) -> ClassCollection:
    """Returns the collection with recordings of the training files' rate."""
    rate = _rate(request, collection.train)

    def recordings(part: Pictures) -> Pictures:
        return Pictures(part.where, part.labels, lambda row: fitted(recording(part.image(row), rate), length)[None])

    parts = {split: recordings(part) for split, part in collection.parts.items()}
    seconds = length / rate
    note = f"recordings: {rate:,} Hz, cropped or padded at both ends to {length:,} samples ({seconds:.3g} s)"
    return replace(
        collection, parts=parts, things="series", preparation=Recording(rate, length), notes=(*collection.notes, note)
    )


def _rate(request: DataRequest, train: Pictures) -> int:
    """Returns the rate in Hz that most of the first training files have."""
    rates = Counter[int]()
    for row in range(min(ASKED, len(train.labels))):
        with suppress(DamagedImageError):
            rates[stored(train.image(row))[0]] += 1
    if not rates:
        raise DataError(f"{request.reference}: no recording can be read; give a folder of WAV files per class")
    return rates.most_common(1)[0][0]


def recording(path: Path, rate: int) -> FloatArray:
    """Returns a file's samples from -1 to 1, the mean of its channels; shape (S,). Raises DamagedImageError."""
    own_rate, samples = stored(path)
    if own_rate != rate:
        raise DamagedImageError(str(path), f"has {own_rate:,} Hz where others have {rate:,}: resample it")
    if not samples.size:
        raise DamagedImageError(str(path), "holds no samples")
    mono = scaled(samples)
    return mono if mono.ndim == 1 else mono.mean(axis=1)


def stored(path: Path) -> tuple[int, NDArray[Any]]:
    """Returns a file's rate in Hz and its samples as stored, (S,) or (S, channels). Raises DamagedImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold no samples
            warnings.filterwarnings("error", "Reached EOF prematurely")
            rate, samples = wavfile.read(path)
    except Exception as error:  # scipy fails on damaged heads in many ways, with an UnboundLocalError among them
        raise DamagedImageError(str(path), f"cannot be read as WAV ({line_of(error)})") from error
    if rate <= 0:
        raise DamagedImageError(str(path), f"cannot be read as WAV (a rate of {rate} Hz)")
    return int(rate), samples


def scaled(samples: NDArray[Any]) -> FloatArray:
    """Returns samples of any width as numbers from -1 to 1.

    >>> scaled(np.array([0, 128, 255], np.uint8)), scaled(np.array([-32768, 16384], np.int16))
    (array([-1.       ,  0.       ,  0.9921875]), array([-1. ,  0.5]))
    """
    if samples.dtype == np.uint8:
        return (samples - 128.0) / 128
    if samples.dtype.kind == "i":
        return samples / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float64)


def fitted(samples: FloatArray, length: int) -> FloatArray:
    """Returns the middle of a recording, or the recording between zeros; shape (L,).

    >>> fitted(np.arange(5.0), 3), fitted(np.ones(2), 5)
    (array([1., 2., 3.]), array([0., 1., 1., 0., 0.]))
    """
    extra = len(samples) - length
    if extra >= 0:
        return samples[extra // 2 : extra // 2 + length]
    before = -extra // 2
    return np.pad(samples, (before, -extra - before))
