"""A data set of your own: stripes to be told apart by their direction. Use: --data scripts/examples/own_data.py:stripes

A data set is any object with what `hwnas.data.dataset.Dataset` lists. Here the package's own `ImageData` has all of that, and
the function only makes the images. `hwnas.testing.datasets.DatasetSuite` checks a data set (tests/data/test_conformance.py).
"""

import numpy as np

from hwnas.data.images import ImageData
from hwnas.data.pictures import normalisation
from hwnas.data.splits import Examples

CLASSES = ("horizontal", "vertical", "diagonal")


def stripes(input_shape, *, outputs=None, vocabulary=None, seed=0, limit=None):
    """Returns grey stripes of random width and phase, in noise, as images of `input_shape` (C, H, W)."""
    train, validation, test = (
        drawn(input_shape, min(count, limit or count), np.random.default_rng((seed, number)))
        for number, count in enumerate((600, 150, 150))
    )
    return ImageData(
        reference=f"{__file__}:stripes",
        train=train,
        validation=validation,
        test=test,
        classes=CLASSES,
        normalise=normalisation(train.raw),
        augmentation="shift",
    )


def drawn(shape: tuple[int, int, int], count: int, rng: np.random.Generator) -> Examples:
    """Returns `count` images with the classes in turn."""
    labels = np.arange(count) % len(CLASSES)
    rows, columns = np.indices(shape[1:])
    direction = np.stack([rows, columns, rows + columns])[labels]
    waves = np.sin(direction * rng.uniform(0.5, 1, (count, 1, 1)) + rng.uniform(0, 6, (count, 1, 1)))
    noisy = 128 + 60 * waves + 20 * rng.standard_normal(waves.shape)
    images = np.repeat(noisy[:, None].clip(0, 255).astype(np.uint8), shape[0], axis=1)
    return Examples(images, labels.astype(np.int64))
