"""Options that several strategies share. A field's description is the command line's help text."""

from typing import Annotated, Final

from pydantic import ConfigDict, Field

# The configuration of every strategy's dataclass: an option that does not exist is an error.
STRICT: Final = ConfigDict(extra="forbid")

Evaluations = Annotated[int, Field(ge=1, description="Architectures evaluated on the validation split.")]
Population = Annotated[
    int, Field(ge=4, description="Architectures that are kept as parents; as many are evaluated before any is bred.")
]
PerRound = Annotated[
    int,
    Field(
        ge=4,
        description="Architectures evaluated per round: the first round is drawn at random, predictors choose the others.",
    ),
]
Predictions = Annotated[int, Field(ge=1, description="Architectures that are bred and predicted in each round.")]
