"""Text to train on: a file's tokens in their order, the first 80 % to train, 10 % to validate, the last 10 % to test.

Every window of tokens is labelled by the tokens that come one later. This file knows nothing of networks or spaces, only
the length of a window. Shapes: M tokens, N windows, L tokens in a window.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.core.arrays import IntArray
from hwnas.core.files import decoded
from hwnas.data.request import DataRequest
from hwnas.data.splits import sizes
from hwnas.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows that follow each other in `tokens` (M,) without overlap; M is greater than `length`."""

    tokens: IntArray
    length: int

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length

    @property
    def raw(self) -> IntArray:
        """Returns the windows; shape (N, L)."""
        return self.tokens[: len(self) * self.length].reshape(-1, self.length)

    @property
    def labels(self) -> IntArray:
        """Returns the next token of every position; shape (N, L)."""
        return self.tokens[1 : len(self) * self.length + 1].reshape(-1, self.length)

    def first(self, count: int) -> "Windows":
        """Returns the first windows, at most `count`."""
        return Windows(self.tokens[: count * self.length + 1], self.length)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TextData:
    """`tokens` is the number of different tokens, `outputs` that of the networks; `read_by` names the tokens, as ONNX
    metadata."""

    task: ClassVar[str] = "language"

    reference: str
    train: Windows
    validation: Windows
    test: Windows
    tokens: int
    outputs: int
    read_by: tuple[tuple[str, str], ...]

    def inputs(self, raw: NDArray[Any]) -> Tensor:
        """Returns token ids (N, L) as int64."""
        return torch.tensor(raw, dtype=torch.int64)

    def training_batch(self, indices: IntArray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Returns windows (N, L) that begin at random between their place and the next window's, and the next tokens (N, L)."""
        tokens, length = self.train.tokens, self.train.length
        starts = indices * length + rng.integers(0, length, len(indices))
        starts = np.minimum(starts, len(tokens) - length - 1)
        windows = tokens[starts[:, None] + np.arange(length + 1)]
        return self.inputs(windows[:, :-1]), self.inputs(windows[:, 1:])

    def calibration_order(self) -> IntArray:
        """Returns a fixed random order of the training windows."""
        return np.random.default_rng(0).permutation(len(self.train))

    def describe(self) -> dict[str, Any]:
        """Returns the facts that a run stores of its data; fit for JSON."""
        return {
            "reference": self.reference,
            "tokens": self.tokens,
            "window": self.train.length,
            "sizes": sizes(self.train, self.validation, self.test),
            "digest": self.digest(),
        }

    def digest(self) -> str:
        """Returns a hash that changes with a token, its meaning, or a split."""
        hashed = hashlib.blake2s(repr(self.read_by).encode())
        for split in (self.train, self.validation, self.test):
            hashed.update(f"{len(split.tokens)}:".encode())
            hashed.update(np.ascontiguousarray(split.tokens).data)
        return hashed.hexdigest()[:16]

    def metadata(self) -> dict[str, str]:
        """Returns the characters by id, as JSON; or the tokenizer's file name and digest."""
        return dict(self.read_by)


@dataclass(frozen=True, slots=True, eq=False)
class _Tokens:
    ids: IntArray
    count: int
    read_by: tuple[tuple[str, str], ...]


def load_text(request: DataRequest) -> TextData:
    """Returns the text of FILE in characters, or of FILE@TOKENIZER.json in that tokenizer's tokens, in windows.

    The characters are collected over the whole file, in the order of their code points: validation and test have none
    that training has no id for. The request's limit is the most training windows; validation and test have at most a quarter.

    Raises DataError for networks that take no token sequences, files that cannot be read, text that is too short, and more
    tokens than the networks take or give.
    """
    vocabulary, length = _sequence(request)
    path, tokenizer = _paths(request.location)
    text = _text(path)
    tokens = _characters(text) if tokenizer is None else _tokenized(text, tokenizer)
    outputs = vocabulary if request.outputs is None else request.outputs
    if tokens.count > min(vocabulary, outputs):
        raise DataError(
            f"{request.reference}: has {tokens.count} tokens, the space takes {min(vocabulary, outputs)}; "
            f"give --space-option vocabulary={tokens.count}"
        )
    train, validation, test = _windows(tokens.ids, length, request.limit, path)
    return TextData(
        reference=request.reference,
        train=train,
        validation=validation,
        test=test,
        tokens=tokens.count,
        outputs=outputs,
        read_by=tokens.read_by,
    )


def _sequence(request: DataRequest) -> tuple[int, int]:
    """Returns the networks' vocabulary and the length of their windows."""
    if request.vocabulary is None or len(request.input_shape) != 1:
        raise DataError(
            f"{request.reference}: is text, but the space takes {'images' if request.vocabulary is None else 'ids'} of shape "
            f"{tuple(request.input_shape)}; give a --space of token sequences, or other --data"
        )
    return request.vocabulary, request.input_shape[0]


def _windows(ids: IntArray, length: int, limit: int | None, path: Path) -> tuple[Windows, Windows, Windows]:
    """Returns the windows of train, validation and test."""
    size = len(ids)
    if size // 10 <= length:
        raise DataError(
            f"{path}: its {size} tokens are too few for windows of {length}; give at least {10 * (length + 1)}, of which "
            f"a tenth validates and a tenth tests, or a space of shorter windows"
        )
    train, validation, test = (Windows(part, length) for part in np.split(ids, [size * 8 // 10, size * 9 // 10]))
    if limit is None:
        return train, validation, test
    fewer = max(limit // 4, 1)
    return train.first(limit), validation.first(fewer), test.first(fewer)


def _paths(location: str) -> tuple[Path, Path | None]:
    file, at, tokenizer = location.rpartition("@")
    if at and tokenizer.endswith(".json"):
        return Path(file).expanduser(), Path(tokenizer).expanduser()
    return Path(location).expanduser(), None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: does not exist; check what follows `text:`") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file, as text:FILE") from None


def _text(path: Path) -> str:
    try:
        return decoded(_read(path))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not {error.encoding.upper()} (byte {error.start}); convert it, as with iconv -t UTF-8"
        ) from None


def _characters(text: str) -> _Tokens:
    codes, ids = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_inverse=True)
    named = json.dumps([chr(code) for code in codes])
    return _Tokens(ids.astype(np.int64), len(codes), (("hwnas.tokens", named),))


def _tokenized(text: str, path: Path) -> _Tokens:
    content = _text(path).encode()
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise DataError(f"{path}: takes the package tokenizers to read; run `pip install hwnas[text]`") from None
    try:
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
        count = 1 + max(tokenizer.get_vocab().values(), default=-1)
    except Exception as error:  # its own errors have no other class
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: cannot tokenize ({reason}); give a tokenizer.json of Hugging Face tokenizers"
        ) from None
    digest = hashlib.blake2s(content).hexdigest()[:16]
    return _Tokens(ids, count, (("hwnas.tokenizer", path.name), ("hwnas.tokenizer_digest", digest)))
