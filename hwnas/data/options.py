"""The options of a search that choose its data and task."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DataOptions:
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
