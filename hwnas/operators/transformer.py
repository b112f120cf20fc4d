"""The operators of transformer spaces, as values: shapes and costs. Their modules are in `hwnas.modules.transformer`.

Blocks are pre-layer-norm, as in ViT (Dosovitskiy et al. 2021, section 3.1) and GPT-2. Every parameter has its channels on
axes 0 and 1, so within a family a smaller operator is the first rows and columns of a larger one.

Shapes: T tokens, E embedding, H heads, D head size, V vocabulary; C, H, W of images.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from hwnas.core.operator import Operator, OperatorCost, Shape, conv_cost, float_bytes, linear_cost
from hwnas.errors import SpaceError


def layer_norm_cost(features: int) -> OperatorCost:
    """Returns the cost of a layer norm: scale and shift, no statistics."""
    return OperatorCost(0, 2 * features)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PatchEmbedding(Operator):
    """Embedding of disjoint square patches by a convolution with bias, plus learned positions.

    Input (C, H, W), output (T, E), tokens row by row. There is no class token; `TokenClassifier` takes the mean over the
    tokens, as AutoFormer does with `--gp`. Raises SpaceError where the patches do not fill the image.
    """

    kind: ClassVar[str] = "patch-embedding"
    module: ClassVar[str] = "hwnas.modules.transformer:PatchEmbeddingModule"

    patch: int
    embedding: int

    def __post_init__(self) -> None:
        _, height, width = self.input_shape
        if self.patch < 1 or height % self.patch or width % self.patch:
            raise SpaceError(f"patches of {self.patch} x {self.patch} do not fill an image of {height} x {width}")

    @property
    def grid(self) -> tuple[int, int]:
        """The numbers of patches down and across."""
        _, height, width = self.input_shape
        return (height // self.patch, width // self.patch)

    @property
    def output_shape(self) -> Shape:
        return (self.grid[0] * self.grid[1], self.embedding)

    def cost(self) -> OperatorCost:
        tokens, embedding = self.output_shape
        positions = OperatorCost(0, tokens * embedding)
        return conv_cost(self.input_shape[0], embedding, self.patch, self.grid, bias=True) + positions

    def peak_bytes(self) -> int:
        """Returns the larger need of the convolution and the sum with the positions."""
        return self.output_bytes + max(self.input_bytes, self.output_bytes)

    @property
    def family(self) -> str:
        return f"patch-embedding-p{self.patch}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Operator):
    """Layer norm, multi-head self-attention (Vaswani et al. 2017, section 3.2), shortcut. Input and output (T, E).

    Query, key and value are three linear layers, E to H x D, so that fewer heads are the first rows of each layer. H x D may
    differ from E (AutoFormer, section 3.1). With `causal` a token attends to itself and to earlier tokens only.
    """

    kind: ClassVar[str] = "attention"
    module: ClassVar[str] = "hwnas.modules.transformer:AttentionModule"

    heads: int
    head_size: int
    causal: bool = False

    def __post_init__(self) -> None:
        if self.heads < 1 or self.head_size < 1:
            raise SpaceError(
                f"attention needs at least 1 head and a head size of at least 1, not {self.heads} and {self.head_size}"
            )

    @property
    def inner(self) -> int:
        """The inner width, H x D."""
        return self.heads * self.head_size

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        """Returns the cost; both attention products count all T x T pairs.

        Causal attention counts the same, because runtimes multiply all pairs and mask afterwards.
        """
        tokens, embedding = self.input_shape
        cost = layer_norm_cost(embedding) + linear_cost(self.inner, embedding, tokens)
        for _ in ("query", "key", "value"):
            cost += linear_cost(embedding, self.inner, tokens)
        return cost + OperatorCost(2 * 2 * tokens * tokens * self.inner)

    def peak_bytes(self) -> int:
        """Returns the largest need of the last of query, key and value, of attention (one operation), and of the shortcut."""
        inner = float_bytes((self.input_shape[0], self.inner))
        return self.input_bytes + max(self.input_bytes + 3 * inner, 4 * inner, 2 * self.input_bytes)

    @property
    def family(self) -> str:
        return f"attention-d{self.head_size}" + ("-causal" if self.causal else "")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward(Operator):
    """Layer norm, linear to `hidden`, GELU, linear back, shortcut, for every token. Input and output (T, E)."""

    kind: ClassVar[str] = "feed-forward"
    module: ClassVar[str] = "hwnas.modules.transformer:FeedForwardModule"

    hidden: int

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise SpaceError(f"a feed-forward layer needs a width of at least 1, not {self.hidden}")

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        tokens, embedding = self.input_shape
        up, down = linear_cost(embedding, self.hidden, tokens), linear_cost(self.hidden, embedding, tokens)
        return layer_norm_cost(embedding) + up + down

    def peak_bytes(self) -> int:
        """Returns the largest need of a linear layer, GELU and the shortcut."""
        hidden = float_bytes((self.input_shape[0], self.hidden))
        return self.input_bytes + max(self.input_bytes + hidden, 2 * hidden, 2 * self.input_bytes)

    @property
    def family(self) -> str:
        return "feed-forward"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClassifier(Operator):
    """Layer norm, mean over the tokens, linear. Input (T, E), output (classes,)."""

    kind: ClassVar[str] = "token-classifier"
    module: ClassVar[str] = "hwnas.modules.transformer:TokenClassifierModule"

    classes: int

    @property
    def output_shape(self) -> Shape:
        return (self.classes,)

    def cost(self) -> OperatorCost:
        _, embedding = self.input_shape
        return layer_norm_cost(embedding) + linear_cost(embedding, self.classes)

    def peak_bytes(self) -> int:
        """Returns the larger need of layer norm and linear layer."""
        return max(2 * self.input_bytes, float_bytes(self.input_shape[1:]) + self.output_bytes)

    @property
    def family(self) -> str:
        return "token-classifier"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEmbedding(Operator):
    """Embedding of `tokens` different ids, plus learned positions. Input (T,) of ids, output (T, E)."""

    kind: ClassVar[str] = "token-embedding"
    module: ClassVar[str] = "hwnas.modules.transformer:TokenEmbeddingModule"

    tokens: int
    embedding: int

    @property
    def output_shape(self) -> Shape:
        return (*self.input_shape, self.embedding)

    @property
    def vocabulary(self) -> int:
        return self.tokens

    def cost(self) -> OperatorCost:
        """Returns the cost; a look-up has no FLOPs."""
        return OperatorCost(0, (self.tokens + self.input_shape[0]) * self.embedding)

    def peak_bytes(self) -> int:
        """Returns the larger need of the look-up and the sum with the positions."""
        return self.output_bytes + max(self.input_bytes, self.output_bytes)

    @property
    def family(self) -> str:
        return "token-embedding"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageHead(Operator):
    """Layer norm, linear without bias to `tokens` logits. Input (T, E), output (T, V)."""

    kind: ClassVar[str] = "language-head"
    module: ClassVar[str] = "hwnas.modules.transformer:LanguageHeadModule"

    tokens: int

    @property
    def output_shape(self) -> Shape:
        return (self.input_shape[0], self.tokens)

    def cost(self) -> OperatorCost:
        positions, embedding = self.input_shape
        return layer_norm_cost(embedding) + linear_cost(embedding, self.tokens, positions, bias=False)

    def peak_bytes(self) -> int:
        """Returns the larger need of layer norm and linear layer."""
        return self.input_bytes + max(self.input_bytes, self.output_bytes)

    @property
    def family(self) -> str:
        return "language-head"
