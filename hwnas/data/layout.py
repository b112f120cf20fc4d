"""Names of splits, as folders, files and arrays spell them."""

import re
from collections.abc import Iterable
from typing import Final

from hwnas.errors import DataError

SPELLINGS: Final = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
# Words of names that are not read as splits but may be meant as such.
SIMILAR: Final = {
    "train": ("trn", "tr", "trainset", "trainval"),
    "validation": ("valset", "devset", "eval", "evaluation", "hold", "holdout", "held", "heldout"),
    "test": ("tst", "te", "testset"),
}


def split_of(name: str) -> str | None:
    """Returns the split that a name spells, in small or capital letters; None for other names.

    >>> [split_of(name) for name in ("Train", "valid", "dev", "TEST", "cat")]
    ['train', 'validation', 'validation', 'test', None]
    """
    return next((split for split, names in SPELLINGS.items() if name.lower() in names), None)


def looks_like_split(name: str) -> bool:
    """Returns True where a word of a name is one that people give to splits.

    >>> [looks_like_split(name) for name in ("train_set", "2-Val", "hold-out", "attest", "front")]
    [True, True, True, False, False]
    """
    known = {word for words in (*SPELLINGS.values(), *SIMILAR.values()) for word in words}
    return not known.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def by_split(where: str, names: Iterable[str]) -> dict[str, str]:
    """Returns the names that spell splits, by split. Raises DataError where two names spell one."""
    found: dict[str, str] = {}
    for name in names:
        split = split_of(name)
        if split is not None and found.setdefault(split, name) != name:
            raise DataError(f"{where}: has {found[split]} and {name}, both for {split}; join them, or remove one")
    return found
