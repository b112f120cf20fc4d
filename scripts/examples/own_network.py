"""A network of one's own from built-in operators; `pick(...)` marks the parameters to search.

hwnas search --space scripts/examples/own_network.py:build --data digits --latency-budget 80%
"""

from hwnas.spaces import ConvBlock, MBConv, PoolClassifier, SearchSpace, compose, pick, place, stage


def build(resolution: int = 32) -> SearchSpace:
    def block(number: int):
        return place(f"body.block{number}", MBConv, channels=32, kernel=pick(3, 5), expansion=pick(2, 4), shortcut=True)

    parts = [
        place("stem", ConvBlock, channels=pick(16, 24), stride=2),
        place("down", MBConv, channels=32, kernel=pick(3, 5, 7), expansion=pick(3, 6), stride=2),
        stage("body", (0, 1, 2), block),
        place("head", PoolClassifier, features=128, classes=10),
    ]
    return compose("own_network", (3, resolution, resolution), 10, parts)
