"""Data sets made of scikit-learn's 1,797 scans of handwritten digits (8 x 8 pixels, grey): to classify, to read an angle
from, to segment.

All randomness comes from the request's seed. Shapes: N scans or canvases, D draws, S scans of a canvas, H rows, W columns.
"""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from hwnas.core.arrays import IntArray
from hwnas.data.masks import nearest
from hwnas.data.pictures import ByteArray, Preparation
from hwnas.data.regression import RegressionData, regressed
from hwnas.data.request import DataRequest
from hwnas.data.segmentation import SegmentationData, segmented
from hwnas.data.sources import Pictures, TargetCollection, read_digits
from hwnas.data.splits import Examples, split_rows

STEEPEST: Final = 60  # degrees: further, 6 and 9 could not be told apart
UPRIGHT: Final = 24  # pixels of a scan before it is rotated, so that no corner is cut off at CANVAS
CANVAS: Final = 32  # pixels of rows and columns
SCAN: Final = 14  # pixels of a scan on a canvas
MOST: Final = 3  # scans on a canvas
CANVASES: Final = 2  # for each scan of a split; a canvas holds two scans on average
DRAWS: Final = 256  # of positions at once: three squares are apart in one draw of 160
INK: Final = 96  # of 255: darker pixels are paper
CLASSES: Final = ("background", *"0123456789")


def load_digits_angle(request: DataRequest) -> RegressionData:
    """Returns scans that were rotated by up to 60 degrees, each once; the target is the angle, counter-clockwise.

    Raises DataError where the networks take no images or have other than one output.
    """
    request.require_images()
    scans = read_digits(Path())
    count = len(scans.train.labels)
    angles_N1 = np.random.default_rng((request.seed, 1)).uniform(-STEEPEST, STEEPEST, (count, 1))

    def rotated(row: int) -> Image.Image:
        upright = scans.train.image(row).resize((UPRIGHT, UPRIGHT), Image.Resampling.BICUBIC)
        canvas = Image.new("L", (CANVAS, CANVAS))
        canvas.paste(upright, ((CANVAS - UPRIGHT) // 2,) * 2)
        return canvas.rotate(float(angles_N1[row, 0]), Image.Resampling.BICUBIC)

    pictures = Pictures("digits-angle", angles_N1, rotated)
    return regressed(request, TargetCollection(parts={"train": pictures}, targets=("angle (degrees)",)))


def load_digits_canvas(request: DataRequest) -> SegmentationData:
    """Returns canvases of 32 x 32 pixels with one to three scans each, brought to the request's shape.

    A pixel's class is 0 (background), or a digit + 1 where that scan has ink. No scan is in two splits; each split has
    twice as many canvases as scans. Raises DataError where the networks take no images or have other than 11 outputs.
    """
    request.require_images()
    request.require_outputs(len(CLASSES), "classes")
    scans = read_digits(Path())
    rows = split_rows(scans.train.labels, seed=request.seed, validation_share=request.images.validation_share)
    limits = (None, None, None) if request.limit is None else (request.limit, *[max(request.limit // 4, 1)] * 2)
    splits = []
    for number, (part, limit) in enumerate(zip((rows.train, rows.validation, rows.test), limits, strict=True)):
        rng = np.random.default_rng((request.seed, 2, number))
        count = CANVASES * len(part) if limit is None else min(limit, CANVASES * len(part))
        splits.append(_canvases(scans.train, part, count, request, rng))
    return segmented(request, splits, CLASSES, Preparation(request.input_shape))


def _canvases(scans: Pictures, rows: IntArray, count: int, request: DataRequest, rng: np.random.Generator) -> Examples:
    """Returns `count` canvases of scans from those rows."""
    images = np.empty((count, *request.input_shape), dtype=np.uint8)
    masks = np.empty((count, *request.input_shape[1:]), dtype=np.int64)
    prepared = Preparation(request.input_shape)
    for number in range(count):
        image, mask = _canvas(scans, rows, rng)
        images[number] = prepared(Image.fromarray(image))
        masks[number] = nearest(mask, request.input_shape[1:])
    return Examples(images, masks)


def _canvas(scans: Pictures, rows: IntArray, rng: np.random.Generator) -> tuple[ByteArray, IntArray]:
    """Returns one canvas and its mask, both (CANVAS, CANVAS)."""
    image = np.zeros((CANVAS, CANVAS), dtype=np.uint8)
    mask = np.zeros((CANVAS, CANVAS), dtype=np.int64)
    for top, left in separate_corners(int(rng.integers(1, MOST + 1)), rng):
        row = int(rng.choice(rows))
        scan = np.asarray(scans.image(row).resize((SCAN, SCAN), Image.Resampling.BICUBIC))
        image[top : top + SCAN, left : left + SCAN] = scan
        mask[top : top + SCAN, left : left + SCAN] = np.where(scan >= INK, scans.labels[row] + 1, 0)
    return image, mask


def separate_corners(count: int, rng: np.random.Generator) -> IntArray:
    """Returns top left corners (count, 2) of squares that do not overlap: the first of `DRAWS` draws, or of as many more."""
    while True:
        corners_DS2 = rng.integers(0, CANVAS - SCAN + 1, (DRAWS, count, 2))
        apart_DSS = np.abs(corners_DS2[:, :, None] - corners_DS2[:, None]).max(axis=3) >= SCAN
        possible = np.flatnonzero((apart_DSS | np.eye(count, dtype=bool)).all(axis=(1, 2)))
        if len(possible):
            return np.asarray(corners_DS2[possible[0]])
