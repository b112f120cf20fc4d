"""Loads a search space by built-in name or from a user's file, and again from the description in a file."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hwnas.core.choice import Argument
from hwnas.core.operations import replayed
from hwnas.core.references import cause, require_trusted, resolve
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError, did_you_mean, is_the_users

SPACES: Final[Mapping[str, str]] = {
    "mobilenet": "hwnas.spaces.mobilenet:mobilenet",
    "fbnet": "hwnas.spaces.fbnet:fbnet",
    "proxyless": "hwnas.spaces.proxyless:proxyless",
    "ofa": "hwnas.spaces.ofa:ofa",
    "nasbench201": "hwnas.spaces.nasbench201:nasbench201",
    "conv_macro": "hwnas.spaces.conv_macro:conv_macro",
    "series": "hwnas.spaces.series:series",
    "vit": "hwnas.spaces.vit:vit",
    "gpt": "hwnas.spaces.gpt:gpt",
}
# The space of a trained network's smaller versions; its options name the network (`elastic/builtin.py`).
TRAINED: Final = "elastic"


def options_of_space(reference: str) -> dict[str, Any]:
    """Returns the options of a space with their defaults; `inspect.Parameter.empty` for one that must be given.

    Raises UnknownNameError, SpaceError.
    """
    build = resolve("space", reference, {**SPACES, TRAINED: "hwnas.elastic.builtin:elastic"}, SpaceError)
    if not callable(build):
        return {}
    return {name: parameter.default for name, parameter in inspect.signature(build).parameters.items()}


def load_space(reference: str, options: Mapping[str, Argument] | None = None) -> SearchSpace:
    """Returns the space of a built-in name or of `FILE.py:NAME`, a function that is called with the options.

    Raises UnknownNameError for a name that is neither, SpaceError for a file or option that does not work.
    """
    options = dict(options or {})
    build = resolve("space", reference, {**SPACES, TRAINED: "hwnas.elastic.builtin:elastic"}, SpaceError)
    if not callable(build):
        raise SpaceError(f"{reference} is a {type(build).__name__}, not a function that returns a SearchSpace")
    accepted = inspect.signature(build).parameters
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise SpaceError(
            f"space {reference!r} has no option {unknown[0]!r}; it has {', '.join(accepted) or 'none'}"
            f"{did_you_mean(unknown[0], accepted)}"
        )
    try:
        space = build(**options)
        if not isinstance(space, SearchSpace):
            raise SpaceError(f"{reference} returned {type(space).__name__}, not a SearchSpace")
        space = replace(space, reference=reference, options=options)
        _ = space.fingerprint  # makes every operator: a wrong scope shows here, not in the middle of a search
    except BaseException as error:
        if is_the_users(error):
            file = reference.rpartition(":")[0]
            raise SpaceError(f"{reference} with {options or 'no options'}: {cause(error, file)}") from error
        raise
    return space


def reload_space(description: Mapping[str, Any], where: str | Path = "the space's description") -> SearchSpace:
    """Returns the space that the file `where` was made with (`SearchSpace.describe`).

    Raises SpaceError if it has changed since or the description is damaged, TrustError where a Python file would run that this
    user has not allowed.
    """
    reference = description["reference"]
    if not reference:
        raise SpaceError("this file's space was made in Python, not by name; put it into FILE.py and give FILE.py:NAME")
    if not isinstance(reference, str):
        raise SpaceError(f"{where}: damaged: its space is {reference!r}, not a name; make it again")
    require_trusted(reference, where)
    if reference == TRAINED:
        require_trusted(str(description["options"].get("model", "")), where)
    made = load_space(reference, description["options"])
    # A user's function may apply operations of its own: the first of those that are stored.
    space = replayed(made, description.get("operations", ())[len(made.operations) :])
    if space.fingerprint != description["fingerprint"]:
        raise SpaceError(
            f"space {space.reference} has changed since this file was made (fingerprint {space.fingerprint}, "
            f"then {description['fingerprint']}); restore it, or start again under another name"
        )
    return space
