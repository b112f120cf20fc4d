"""A table of what became elastic in a network."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hwnas.core.layer import Layer
from hwnas.core.space import SearchSpace
from hwnas.elastic.axes import leaves
from hwnas.elastic.operator import Traced
from hwnas.elastic.program import Program
from hwnas.elastic.rules import SPATIAL

# Sizes below this are not listed among those that stay.
LISTED: Final = 8


def elastic_rows(space: SearchSpace, layer_ms: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Returns a row for every part of a network, in order: its choices, its shares of the costs, and what stays and why.

    `layer_ms` are the predicted milliseconds of the largest network's layers, by name.
    """
    largest = space.largest()
    placed = {layer.name: layer.operator(largest) for layer in space.layers}
    operators = {name: operator.in_float32 for name, operator in placed.items() if operator is not None}
    flops = {name: operator.cost().flops for name, operator in operators.items()}
    rows = []
    for layer in space.layers:
        operator = operators.get(layer.name)
        if not isinstance(operator, Traced):
            continue
        row: dict[str, Any] = {
            "part": layer.name,
            "elastic": "; ".join(_elastic(space, layer)) or "nothing",
            "share of FLOPs": f"{flops[layer.name] / max(1, sum(flops.values())):.1%}",
            "parameters": _parameters(operator),
        }
        if layer_ms is not None:
            row["share of latency"] = f"{layer_ms.get(layer.name, 0.0) / sum(layer_ms.values()):.1%}"
        rows.append({**row, "stays": "; ".join(_rigid(operator.program)) or "nothing"})
    return rows


def _elastic(space: SearchSpace, layer: Layer) -> Iterator[str]:
    for name in layer.scope:
        options = [str(option) for option in space.choice(name).options]
        word = name.removeprefix(f"{layer.name}.")
        yield f"{word} {', '.join(options)}"


def _parameters(operator: Traced) -> str:
    """Returns the number of parameters, and how many of them training leaves as they are, in words."""
    frozen = sum(part.numel() for one in operator.program.stored.values() if one.is_frozen for part in one.parts)
    return f"{operator.cost().params:,}" + (f" ({frozen:,} frozen)" if frozen else "")


def _rigid(program: Program) -> Iterator[str]:
    """Yields the sizes of weights that stay, each with the reason."""
    reasons: dict[str, None] = {}
    for one in program.stored.values():
        for atom in (atom for axis in one.axes for atom in leaves(axis)):
            if one.is_trained and atom.reason not in ("", SPATIAL) and (atom.size or 0) >= LISTED:
                reasons[f"{atom.size}: {atom.reason}"] = None
    yield from reasons
