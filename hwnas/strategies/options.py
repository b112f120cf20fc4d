"""Options that several strategies share. The description is the command line's help text."""

from typing import Annotated

from pydantic import Field

Evaluations = Annotated[int, Field(ge=1, description="Architectures evaluated on the validation split.")]
Population = Annotated[int, Field(ge=4, description="Architectures that are kept as parents.")]
