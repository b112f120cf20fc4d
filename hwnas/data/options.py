"""The options of a search that choose its data and task, and how images are read."""

import math
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

AUTO: Final = "auto"
Augmentation = Literal["auto", "none", "shift", "shift+flip", "shift+noise"]
AUGMENTATIONS: Final = ("none", "shift", "shift+flip")  # of images
SERIES_AUGMENTATIONS: Final = ("none", "shift", "shift+noise")
# Mean and standard deviation of every channel, on a scale of 0 to 1.
Moments = tuple[tuple[float, ...], tuple[float, ...]]
# Those by which published weights were trained, by name.
MOMENTS: Final[Mapping[str, Moments]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}


# The training images' own.
OWN: Final = "data"


def moments(text: str) -> Moments | None:
    """Returns mean and standard deviation by a name of `MOMENTS`, or as numbers; None where the text is neither.

    >>> moments("0.5,0.4,0.4/0.2")
    ((0.5, 0.4, 0.4), (0.2,))
    """
    if text in MOMENTS:
        return MOMENTS[text]
    try:
        mean, std = (tuple(float(number) for number in part.split(",")) for part in text.split("/"))
    except ValueError:
        return None
    return (mean, std) if all(map(math.isfinite, mean)) and all(0 < one < math.inf for one in std) else None


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of reading images and training on them, for every reader."""

    augmentation: Annotated[
        Augmentation,
        Field(
            description="Random changes of training images or series: none, shift (by up to an eighth of their size), "
            "shift+flip (images: mirrored left to right, too), shift+noise (series: noise of a tenth of their deviation), "
            "or auto: shift; none where the data hold numbers to predict."
        ),
    ] = "auto"
    normalise: Annotated[
        str,
        Field(
            description="Means and standard deviations that images are normalised by: data (of the training images), imagenet, "
            "half (0.5, 0.5), none, or MEAN,MEAN,MEAN/STD,STD,STD on a scale of 0 to 1; auto: those of a model where --model "
            "names them, else data."
        ),
    ] = AUTO
    background: Annotated[
        str,
        Field(
            description="Colour behind transparent images, as white, black or #rrggbb; 4 channels keep transparency."
        ),
    ] = "white"
    skip_damaged: Annotated[
        bool,
        Field(description="Leave out images or series that cannot be decoded, instead of listing them and ending."),
    ] = False

    validation_share: Annotated[
        float | None,
        Field(
            gt=0,
            le=0.6,
            description="Share of the examples that validates, where the data have no validation set of their own. Default: 0.2; "
            "0.1 of the training data where there is a test set.",
        ),
    ] = None

    data_memory_gib: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="GiB for decoded images of imagefolder and parquet; splits that do not fit are decoded anew in every "
            "epoch, with the same result. Default: half of the memory that is available.",
        ),
    ] = None
    data_workers: Annotated[
        int | None,
        Field(
            ge=0,
            description="Processes that decode images which are not kept in memory; 0 decodes without. Default: the cores but "
            "one, at most 16.",
        ),
    ] = None

    @field_validator("normalise")
    @classmethod
    def _moments(cls, normalise: str) -> str:
        if normalise not in (AUTO, OWN) and moments(normalise) is None:
            raise ValueError("be auto, data, imagenet, half, none, or means and deviations as 0.5,0.4,0.4/0.2,0.2,0.2")
        return normalise

    @field_validator("background")
    @classmethod
    def _colour(cls, background: str) -> str:
        from PIL import ImageColor  # takes a while to import

        try:
            ImageColor.getrgb(background)
        except ValueError:
            raise ValueError("be a colour, as white, black or #rrggbb") from None
        return background


@dataclass(frozen=True, kw_only=True)
class DataOptions(ImageOptions):
    """A data set by reference, and the task that it is for."""

    data: Annotated[
        str,
        Field(
            description="digits, parquet:DIR, imagefolder:DIR, npz:FILE; wav:DIR, ts:DIR; text:FILE or "
            "text:FILE@TOKENIZER.json; digits-angle; digits-canvas, masks:DIR; or FILE.py:FUNCTION."
        ),
    ] = "digits"
    task: Annotated[
        str,
        Field(
            description="classification, language, regression, segmentation, FILE.py:FUNCTION, or auto: that of the data."
        ),
    ] = "auto"
    limit_images: Annotated[
        int | None, Field(ge=1, description="Most training examples (images, series, or windows of text) to use.")
    ] = None
