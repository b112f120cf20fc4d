"""From scores of options to the best architecture within limits, exactly.

An architecture is judged by its regrets: of each choice that is on, how far its option's score is below the choice's
highest. A sum of the scores themselves would count the choices: of log-probabilities, all below 0, it would be highest
where the fewest are on, however clear the search is about depth. (That sum is the log-probability of the architecture's
being drawn, which is another question.) A choice that is off has no regret, so it counts neither for nor against.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray
from hwnas.core.choice import Choice
from hwnas.core.condition import holds
from hwnas.core.factors import Factor, total
from hwnas.core.optimum import Limit, minimise
from hwnas.core.space import SearchSpace
from hwnas.errors import SpaceError, TrainingError

# Of the logarithm of a probability: what is below it is as good as never drawn, and would only stretch the integer program.
LEAST_PROBABILITY: Final = 1e-6


def derive(space: SearchSpace, scores: Mapping[str, FloatArray], limits: Sequence[Limit] = ()) -> Arch:
    """The architecture with the least sum of regrets whose sums are within `limits`, and that meets the requirements.

    `scores` has an array (options,), higher is better, for every choice that is not tied; tied ones follow theirs, and
    are on only where those are (`SearchSpace` refuses others). Exact to a millionth of the largest regret, which is the
    integer program's tolerance. Options of score -inf are dropped ones: used only where no architecture within the limits
    does without, and then as few as can be. Raises BudgetError where no architecture is within the limits, SpaceError
    where scores are missing, TrainingError where one is not a number.
    """
    free = [choice for choice in space.choices if not choice.tied_to]
    checked = {choice.name: _checked(choice, scores) for choice in free}
    dropped = {name: np.isneginf(each).astype(float) for name, each in checked.items()}
    uses = [choice_factor(space, name, each) for name, each in dropped.items() if each.any()]
    if uses:
        fewest = total(uses, space.encode([minimise(space.choices, uses, limits)]), space.columns)[0]
        limits = [*limits, (uses, fewest + 0.5)]
    return minimise(
        space.choices, [choice_factor(space, name, _regrets(each)) for name, each in checked.items()], limits
    )


def log_scores(probabilities: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Logarithms of probabilities, not below that of 1e-6; -inf where a probability is 0: nobody draws that option.

    >>> log_scores({"kernel": np.array([1.0, 1e-9, 0.0])})["kernel"].round(2).tolist()
    [0.0, -13.82, -inf]
    """
    return {
        name: np.where(each > 0, np.log(np.maximum(each, LEAST_PROBABILITY)), -np.inf)
        for name, each in probabilities.items()
    }


def choice_factor(space: SearchSpace, name: str, values: FloatArray) -> Factor:
    """The value of a choice's option where the choice is on, 0 where it is off. `values` has shape (options,)."""
    when = space.choice(name).when
    scope = tuple(dict.fromkeys([name, *(switch for clause in when for switch, _ in clause)]))
    drawn = dict(zip(scope, np.indices([len(space.choice(each).options) for each in scope]), strict=True))
    return Factor(name, scope, np.where(holds(when, drawn, space.by_name), values[drawn[name]], 0.0))


def _regrets(scores: FloatArray) -> FloatArray:
    """How far each score is below the highest; dropped options as the lowest of the others."""
    known = np.isfinite(scores)
    if not known.any():
        return np.zeros(len(scores))
    highest, lowest = scores[known].max(), scores[known].min()
    return np.asarray(highest - np.maximum(scores, lowest))


def _checked(choice: Choice, scores: Mapping[str, FloatArray]) -> FloatArray:
    shape = np.shape(scores[choice.name]) if choice.name in scores else None
    if shape != (len(choice.options),):
        found = "no scores" if shape is None else f"scores of shape {shape}"
        raise SpaceError(f"choice {choice.name!r} has {len(choice.options)} options and {found}; give one per option")
    checked = np.asarray(scores[choice.name], dtype=float)
    if np.isnan(checked).any() or np.isposinf(checked).any():
        raise TrainingError(f"the scores of {choice.name!r} are {checked.tolist()}; training diverged: lower its rate")
    return checked
