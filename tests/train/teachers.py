"""Teachers for tests, of ten classes."""

from torch import Tensor, nn


class Brightness(nn.Module):
    """Calls dark images a 0, and bright ones a 1."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        bright = (x.flatten(1).mean(1) > x.mean()).long()
        return 5.0 * nn.functional.one_hot(bright, self.classes)


module = Brightness()
number = 3


def build() -> nn.Module:
    return Brightness()


def narrow() -> nn.Module:
    return Brightness(4)


def broken() -> nn.Module:
    raise ValueError("no weights")
