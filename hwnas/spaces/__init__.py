"""Search spaces: everything that the author of a space imports, the built-in spaces, and loading a space. No torch.

    from hwnas.spaces import ConvBlock, MBConv, PoolClassifier, compose, pick, place

    def build(resolution: int = 32):
        return compose("mine", (3, resolution, resolution), 10, [
            place("stem", ConvBlock, channels=pick(16, 24), stride=2),
            place("body", MBConv, channels=32, kernel=pick(3, 5, 7), expansion=pick(3, 6), stride=2),
            place("head", PoolClassifier, features=128, classes=10),
        ])

Spaces from parts: `compose`, `place`, `pick`, `stage`, `cell`. Spaces from layers: `SearchSpace`, `Choice`, `Layer` and a
wiring of `Chain`, `Stage`, `Graph`. Choices of the training recipe: `with_recipe`; of the precision of each layer:
`with_precisions`. Operators of one's own: `Operator`, `OperatorCost` and the costs of common layers.
"""

from hwnas.core.choice import Choice, only_if
from hwnas.core.choices import Choices
from hwnas.core.layer import Layer
from hwnas.core.operations import with_precisions
from hwnas.core.operator import (
    Operator,
    OperatorCost,
    Shape,
    batch_norm_cost,
    conv_cost,
    float_bytes,
    linear_cost,
    strided,
)
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain, Edge, Graph, Stage
from hwnas.operators.cells import AveragePool, NormClassifier, Reduction, ReluConv, Skip
from hwnas.operators.conv import ConvBlock, FlattenClassifier, MBConv, PlainConv, PoolClassifier, Resize, widened
from hwnas.operators.transformer import (
    Attention,
    FeedForward,
    LanguageHead,
    PatchEmbedding,
    TokenClassifier,
    TokenEmbedding,
    layer_norm_cost,
)
from hwnas.spaces.compose import Blocks, Cell, Place, cell, compose, pick, place, stage
from hwnas.spaces.loading import SPACES, load_space, reload_space
from hwnas.spaces.recipe import with_recipe

__all__ = [
    "SPACES",
    "Attention",
    "AveragePool",
    "Blocks",
    "Cell",
    "Chain",
    "Choice",
    "Choices",
    "ConvBlock",
    "Edge",
    "FeedForward",
    "FlattenClassifier",
    "Graph",
    "LanguageHead",
    "Layer",
    "MBConv",
    "NormClassifier",
    "Operator",
    "OperatorCost",
    "PatchEmbedding",
    "Place",
    "PlainConv",
    "PoolClassifier",
    "Reduction",
    "ReluConv",
    "Resize",
    "SearchSpace",
    "Shape",
    "Skip",
    "Stage",
    "TokenClassifier",
    "TokenEmbedding",
    "batch_norm_cost",
    "cell",
    "compose",
    "conv_cost",
    "float_bytes",
    "layer_norm_cost",
    "linear_cost",
    "load_space",
    "only_if",
    "pick",
    "place",
    "reload_space",
    "stage",
    "strided",
    "widened",
    "with_precisions",
    "with_recipe",
]
