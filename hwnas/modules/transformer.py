"""Transformer blocks: embeddings, attention, feed-forward, heads.

Modules have no buffers (causal masks are made in the forward pass), so a block runs on slices of a supernet's parameters.
The operations are chosen for the optimiser of ONNX Runtime; `tests/modules/test_transformer.py` pins what it fuses.

Shapes: N batch, T tokens, E embedding, H heads, D head size, V vocabulary; C, H, W of images.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.operators.transformer import (
    Attention,
    FeedForward,
    LanguageHead,
    PatchEmbedding,
    TokenClassifier,
    TokenEmbedding,
)

# Standard deviation of new weights in the code of AutoFormer and of nanoGPT.
INITIAL_STD = 0.02


class PatchEmbeddingModule(nn.Module):
    """Convolution with stride equal to its kernel, plus positions."""

    def __init__(self, operator: PatchEmbedding) -> None:
        super().__init__()
        self.conv = nn.Conv2d(operator.input_shape[0], operator.embedding, operator.patch, operator.patch)
        self.positions = _positions(operator.output_shape)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        patches_NTE = self.conv(x_NCHW).flatten(2).transpose(1, 2)
        return patches_NTE + self.positions  # type: ignore[no-any-return]


class AttentionModule(nn.Module):
    """Layer norm, multi-head self-attention, shortcut."""

    def __init__(self, operator: Attention) -> None:
        super().__init__()
        _, embedding = operator.input_shape
        self.norm = nn.LayerNorm(embedding)
        self.query = _linear(embedding, operator.inner)
        self.key = _linear(embedding, operator.inner)
        self.value = _linear(embedding, operator.inner)
        self.project = _linear(operator.inner, embedding)
        self.operator = operator

    def forward(self, x_NTE: Tensor) -> Tensor:
        y_NTE = self.norm(x_NTE)
        query_NHTD, key_NHTD, value_NHTD = (self._heads(linear(y_NTE)) for linear in (self.query, self.key, self.value))
        # Exported as the same products and softmax as when written out; training keeps no T x T matrices.
        mixed_NHTD = F.scaled_dot_product_attention(query_NHTD, key_NHTD, value_NHTD, is_causal=self.operator.causal)
        return x_NTE + self.project(mixed_NHTD.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, inner_NTX: Tensor) -> Tensor:
        """Splits X = H x D; returns shape (N, H, T, D)."""
        return inner_NTX.view(*inner_NTX.shape[:2], self.operator.heads, self.operator.head_size).transpose(1, 2)


class FeedForwardModule(nn.Module):
    """Layer norm, linear, GELU, linear, shortcut."""

    def __init__(self, operator: FeedForward) -> None:
        super().__init__()
        _, embedding = operator.input_shape
        self.norm = nn.LayerNorm(embedding)
        self.expand = _linear(embedding, operator.hidden)
        self.project = _linear(operator.hidden, embedding)

    def forward(self, x_NTE: Tensor) -> Tensor:
        # The exact GELU, because below opset 20 the tanh form is exported as nine nodes that ONNX Runtime does not fuse.
        return x_NTE + self.project(F.gelu(self.expand(self.norm(x_NTE))))  # type: ignore[no-any-return]


class TokenClassifierModule(nn.Module):
    """Layer norm, mean over the tokens, linear."""

    def __init__(self, operator: TokenClassifier) -> None:
        super().__init__()
        _, embedding = operator.input_shape
        self.norm = nn.LayerNorm(embedding)
        self.linear = _linear(embedding, operator.classes)

    def forward(self, x_NTE: Tensor) -> Tensor:
        return self.linear(self.norm(x_NTE).mean(1))  # type: ignore[no-any-return]


class TokenEmbeddingModule(nn.Module):
    """Embedding by token id, plus positions."""

    def __init__(self, operator: TokenEmbedding) -> None:
        super().__init__()
        self.embedding = nn.Embedding(operator.tokens, operator.embedding)
        nn.init.normal_(self.embedding.weight, std=INITIAL_STD)
        self.positions = _positions(operator.output_shape)

    def forward(self, ids_NT: Tensor) -> Tensor:
        return self.embedding(ids_NT) + self.positions  # type: ignore[no-any-return]


class LanguageHeadModule(nn.Module):
    """Layer norm, linear to the logits of the next token."""

    def __init__(self, operator: LanguageHead) -> None:
        super().__init__()
        _, embedding = operator.input_shape
        self.norm = nn.LayerNorm(embedding)
        self.linear = _linear(embedding, operator.tokens, bias=False)

    def forward(self, x_NTE: Tensor) -> Tensor:
        return self.linear(self.norm(x_NTE))  # type: ignore[no-any-return]


def _linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(in_features, out_features, bias)
    nn.init.normal_(linear.weight, std=INITIAL_STD)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def _positions(shape_TE: tuple[int, ...]) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(shape_TE), std=INITIAL_STD))
