"""Small networks of the kinds that are made elastic, in plain torch."""

from collections.abc import Callable, Mapping
from typing import Final

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Made = tuple[nn.Module, Tensor]


class Residual(nn.Module):
    """A bottleneck of 1x1, 3x3 and 1x1 convolutions, with a projection where the shape changes (ResNet)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        changes = stride > 1 or inputs != outputs
        self.down = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if changes
            else None
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        y = self.bn3(self.conv3(y))
        y += x if self.down is None else self.down(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.layer1 = nn.Sequential(Residual(16, 16, 32, 1), Residual(32, 16, 32, 1), Residual(32, 16, 32, 1))
        self.layer2 = nn.Sequential(Residual(32, 24, 48, 2), Residual(48, 24, 48, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(self.layer2(self.layer1(self.stem(x)))), 1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))


class MBConv(nn.Module):
    """An inverted residual with squeeze-excite and a 5x5 depthwise kernel (EfficientNet)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(channels, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU())
        self.depthwise = nn.Sequential(nn.Conv2d(64, 64, 5, 1, 2, groups=64, bias=False), nn.BatchNorm2d(64), nn.SiLU())
        self.excite = SqueezeExcite(64)
        self.project = nn.Sequential(nn.Conv2d(64, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.project(self.excite(self.depthwise(self.expand(x)))))


class EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU())
        self.blocks = nn.Sequential(MBConv(16), MBConv(16))
        self.head = nn.Sequential(nn.Conv2d(16, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU())
        self.fc = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.head(self.blocks(self.stem(x))).mean((2, 3)))


class Attention(nn.Module):
    """Attention by one projection to queries, keys and values (timm, GPT-2)."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, size = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = (query * (size // self.heads) ** -0.5) @ key.transpose(-2, -1)
        return self.proj((weights.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, tokens, size))


class Block(nn.Module):
    """A pre-norm transformer block whose MLP has a gate (GLU)."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(size), Attention(size, heads)
        self.norm2, self.gated, self.down = nn.LayerNorm(size), nn.Linear(size, 64), nn.Linear(32, size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        gate, value = self.gated(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * value)


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 8, 8)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, 24)), nn.Parameter(torch.randn(1, 17, 24))
        self.blocks = nn.ModuleList(Block(24, 4) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(tokens.shape[0], -1, -1), tokens], 1) + self.pos
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


class Grouped(nn.Module):
    """Attention in which two heads of queries share one of keys (Llama)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.q, self.k, self.v = nn.Linear(size, 32), nn.Linear(size, 16), nn.Linear(size, 16)
        self.o = nn.Linear(32, size)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        y = self.norm(x)
        query = self.q(y).view(batch, tokens, 8, 4).transpose(1, 2)
        key, value = (one(y).view(batch, tokens, 4, 4).transpose(1, 2) for one in (self.k, self.v))
        key, value = (
            one[:, :, None].expand(batch, 4, 2, tokens, 4).reshape(batch, 8, tokens, 4) for one in (key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return x + self.o(mixed.transpose(1, 2).reshape(batch, tokens, 32))


class Decoder(nn.Module):
    """Token ids to logits, with a table of positions that is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(50, 24), nn.Embedding(32, 24)
        self.layers = nn.ModuleList(Grouped(24) for _ in range(2))
        self.head = nn.Linear(24, 50, bias=False)
        self.register_buffer("places", torch.arange(32))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.positions(self.places[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Plain(nn.Module):
    """Convolutions in sequence, without residual connections (VGG)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(32, 32, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


IMAGES: Final = torch.Size((2, 3, 32, 32))
MODELS: Final[Mapping[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]]] = {
    "resnet": (ResNet, lambda: torch.randn(IMAGES)),
    "efficientnet": (EfficientNet, lambda: torch.randn(IMAGES)),
    "vit": (ViT, lambda: torch.randn(IMAGES)),
    "decoder": (Decoder, lambda: torch.randint(50, (2, 16))),
    "plain": (Plain, lambda: torch.randn(IMAGES)),
}


def randomised(model: nn.Module) -> nn.Module:
    """Returns the model in eval mode with random biases, norms and statistics: constant ones would hide errors."""
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point() and "var" in name:
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point() and tensor.dim() == 1:
                tensor.copy_(
                    1 + 0.3 * torch.randn_like(tensor) if name.endswith("weight") else 0.3 * torch.randn_like(tensor)
                )
    return model.eval()


@pytest.fixture(params=list(MODELS))
def made(request: pytest.FixtureRequest) -> Made:
    """Each kind of network with random weights, and a batch of inputs."""
    torch.manual_seed(0)
    model, example = MODELS[request.param]
    return randomised(model()), example()


@pytest.fixture
def make() -> Callable[[str], Made]:
    """Returns one kind of network by name, and a batch of inputs."""

    def made_of(kind: str) -> Made:
        torch.manual_seed(0)
        model, example = MODELS[kind]
        return randomised(model()), example()

    return made_of
