"""The options of a search that choose its data and task, and how images are read."""

from typing import Annotated, Final, Literal, get_args

from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

AUTO: Final = "auto"
Augmentation = Literal["auto", "none", "shift", "shift+flip"]
AUGMENTATIONS: Final[tuple[str, ...]] = tuple(name for name in get_args(Augmentation) if name != AUTO)


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are read and trained on, whatever the reader."""

    augmentation: Annotated[
        Augmentation,
        Field(
            description="Random changes of training images: none, shift (by up to an eighth of their size), shift+flip "
            "(mirrored left to right, too), or auto: shift; none where an npz file holds numbers to predict."
        ),
    ] = "auto"
    background: Annotated[
        str,
        Field(
            description="Colour behind transparent images, as white, black or #rrggbb; 4 channels keep transparency."
        ),
    ] = "white"
    skip_damaged: Annotated[
        bool, Field(description="Leave out images that cannot be decoded, instead of listing them and ending.")
    ] = False

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
            description="digits, parquet:DIR, imagefolder:DIR, npz:FILE; text:FILE or text:FILE@TOKENIZER.json; digits-angle; "
            "digits-canvas, masks:DIR; or FILE.py:FUNCTION."
        ),
    ] = "digits"
    task: Annotated[
        str,
        Field(
            description="classification, language, regression, segmentation, FILE.py:FUNCTION, or auto: that of the data."
        ),
    ] = "auto"
    limit_images: Annotated[
        int | None, Field(ge=1, description="Most training examples (images, or windows of text) to use.")
    ] = None
