"""Language models after TangleNAS's NanoGPT space (Sukthanker et al. 2023): layers, heads, embedding, MLP ratios.

Unlike in the original, where heads divide the embedding, a head has a fixed size and fewer heads are the first ones. So
heads nest, and heads and embedding are independent choices. Latency is that of a prefill of `length` tokens, with
`--device cpu+step=decode` that of decoding the last one with a cache.
"""

from collections.abc import Sequence

from hwnas.core.choice import Choice
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError
from hwnas.operators.transformer import Attention, LanguageHead, TokenEmbedding
from hwnas.spaces.compose import Blocks, Place, compose, pick, place, stage
from hwnas.spaces.vit import feed_forward


def gpt(
    length: int = 64,
    vocabulary: int = 128,
    embeddings: Sequence[int] = (384, 576, 768),
    layers: Sequence[int] = (5, 6, 7),
    heads: Sequence[int] = (6, 8, 12),
    ratios: Sequence[float] = (2, 3, 4),
    head_size: int = 64,
) -> SearchSpace:
    """Returns the space of causal transformers with an input of `length` tokens and logits of the next token at each one.

    `ratios` are widths of a block's MLP relative to the embedding. The default vocabulary has room for ASCII characters.
    """
    if length < 1 or vocabulary < 2 or min(layers) < 1 or min(heads) < 1 or head_size < 1:
        raise SpaceError(
            "gpt needs a length, layers, heads and a head size of at least 1, and a vocabulary of at least 2"
        )
    embedding, number_of_heads = Choice("embedding", tuple(embeddings)), Choice("heads", tuple(heads))

    def block(number: int) -> tuple[Place, Place]:
        name = f"block{number}"
        attention = place(f"{name}.attention", Attention, heads=number_of_heads, head_size=head_size, causal=True)
        return attention, place(f"{name}.mlp", feed_forward, ratio=pick(*ratios))

    parts: list[Place | Blocks] = [
        place("tokens", TokenEmbedding, tokens=vocabulary, embedding=embedding),
        stage("", tuple(layers), block),
        place("head", LanguageHead, tokens=vocabulary),
    ]
    return compose("gpt", (length,), vocabulary, parts, vocabulary=vocabulary)
