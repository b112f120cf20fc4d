"""Language models after TangleNAS's NanoGPT space (Sukthanker et al. 2023): layers, heads, embedding, MLP ratios.

Unlike the original, where heads divide the embedding, their size is fixed and of fewer heads the first are kept: so
heads nest, and heads and embedding are choices of their own. Latency is that of a prefill of `length` tokens.
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
    """The space of causal transformers that read `length` tokens and give logits for the next one at each position.

    `ratios` are widths of each block's MLP relative to the embedding. The default vocabulary holds ASCII characters.
    """
    if length < 1 or vocabulary < 2 or min(layers) < 1 or min(heads) < 1 or head_size < 1:
        raise SpaceError("gpt needs a length, a layer, a head and a head size of at least 1, and 2 tokens")
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
