"""NAS-Bench-201 (Dong and Yang 2020): one cell of four nodes and six edges, repeated in a fixed skeleton.

An edge that is on no path from the input to the output has no effect and is normalised to `none`, so the 15,625 cells are
9,445 networks. One of them has no path at all and is never drawn. Edges are numbered as in the benchmark's strings: 0>1,
0>2, 1>2, 0>3, 1>3, 2>3.
"""

import re
from collections.abc import Mapping
from typing import Final

from hwnas.core.choice import Choice, Condition, Option, only_if
from hwnas.core.operator import Operator, Shape
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, SpaceError
from hwnas.operators.cells import AveragePool, NormClassifier, Reduction, ReluConv, Skip
from hwnas.operators.conv import ConvBlock
from hwnas.spaces.compose import Cell, Place, cell, compose, place

OPERATORS: Final = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES: Final = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
# All paths from the input to the output, as numbers of edges.
PATHS: Final = ((3,), (0, 4), (1, 5), (0, 2, 5))


def nasbench201(
    resolution: int = 32, channels: int = 3, classes: int = 10, width: int = 16, cells: int = 5
) -> SearchSpace:
    """Returns the space of three stages of `cells` cells; the first has `width` channels, every next one twice as many.

    The defaults are the benchmark's network for CIFAR-10.
    """
    if resolution < 8 or resolution % 4 or classes < 1 or width < 1 or cells < 1:
        raise SpaceError(
            "nasbench201 needs images of a multiple of 4 px and at least 8 px, one class, a width and a cell"
        )
    edges = [Choice(f"edge{number}", OPERATORS, _on_a_path(number)) for number in range(len(EDGES))]
    parts: list[Place | Cell] = [place("stem", ConvBlock, channels=width, relu=False)]
    for stage in (1, 2, 3):
        if stage > 1:
            parts.append(place(f"stage{stage}.reduction", Reduction))
        parts += [_cell(f"stage{stage}.cell{number}", edges) for number in range(1, cells + 1)]
    parts.append(place("head", NormClassifier, classes=classes))
    return compose("nasbench201", (channels, resolution, resolution), classes, parts, requires=_any_path())


def _cell(name: str, edges: list[Choice]) -> Cell:
    places = {
        nodes: place(f"{name}.{edge.name}", edge_operator, operator=edge)
        for nodes, edge in zip(EDGES, edges, strict=True)
    }
    return cell(name, places)


def edge_operator(input_shape: Shape, operator: str) -> Operator | None:
    """Returns the operator of a name in the benchmark, None for `none`."""
    if operator == "none":
        return None
    if operator == "skip_connect":
        return Skip(input_shape=input_shape)
    if operator == "avg_pool_3x3":
        return AveragePool(input_shape=input_shape)
    return ReluConv(input_shape=input_shape, kernel=int(operator[-1]))


def _on_a_path(edge: int) -> Condition:
    """Returns the condition that all other edges of some path through the edge are not `none`."""
    others = [[other for other in path if other != edge] for path in PATHS if edge in path]
    return () if [] in others else only_if(*({f"edge{other}": OPERATORS[1:] for other in path} for path in others))


def _any_path() -> Condition:
    """Returns the condition that some path has no edge `none`."""
    return only_if(*({f"edge{edge}": OPERATORS[1:] for edge in path} for path in PATHS))


# ---- the benchmark's strings


def to_string(arch: Mapping[str, Option]) -> str:
    """Returns a cell as a string of NAS-Bench-201.

    >>> to_string({f"edge{number}": "none" for number in range(5)} | {"edge5": "skip_connect"})
    '|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|'
    """
    nodes = {target: "|" for _, target in EDGES}
    for number, (source, target) in enumerate(EDGES):
        nodes[target] += f"{arch[f'edge{number}']}~{source}|"
    return "+".join(nodes.values())


def from_string(text: str) -> dict[str, Option]:
    """Returns the options of a NAS-Bench-201 string as written, without normalisation. Raises ArchError.

    >>> from_string("|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|")["edge5"]
    'skip_connect'
    """
    operators = re.findall(r"([a-z0-9_]+)~[012]", text)
    options: dict[str, Option] = {f"edge{number}": operator for number, operator in enumerate(operators)}
    if len(options) != len(EDGES) or set(operators) - set(OPERATORS) or to_string(options) != text.strip():
        raise ArchError(
            f"{text!r} is not a NAS-Bench-201 cell; write |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with op one of "
            f"{', '.join(OPERATORS)}"
        )
    return options
