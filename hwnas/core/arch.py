"""An architecture: one option per choice, as a frozen mapping."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import final

from hwnas.core.choice import Option


@final
class Arch(Mapping[str, Option]):
    """One option per choice, by choice name. Spaces return normalised architectures (`sample`, `decode`, `arch`).

    Equal architectures compare equal and have equal keys, whatever the order of their choices.

    >>> Arch({"kernel": 3, "depth": 2}) == Arch({"depth": 2, "kernel": 3})
    True
    >>> Arch({"kernel": 3, "depth": 2}).key
    '{"depth":2,"kernel":3}'
    """

    __slots__ = ("_key", "_options")

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._options = dict(options)
        self._key = json.dumps(self._options, sort_keys=True, separators=(",", ":"))

    def __getitem__(self, name: str) -> Option:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arch) and self._key == other._key

    def __repr__(self) -> str:
        return f"Arch({self._options})"

    @property
    def key(self) -> str:
        """The canonical JSON: equal for equal architectures, stable across processes and versions."""
        return self._key

    @property
    def id(self) -> str:
        """Ten hexadecimal digits of the key's hash, for names of files and rows of tables."""
        return hashlib.blake2s(self._key.encode()).hexdigest()[:10]
