"""The best architecture within limits from scores of options, exactly.

An architecture costs the sum of its regrets: the regret of a choice that is on is the distance of its option's score from
the choice's highest. The scores themselves do not add up: log-probabilities are all below 0, so their sum would be highest
where the fewest choices are on, however clear the search is about depth. (That sum is the log-probability that the
architecture is drawn, which is another question.) A choice that is off has no regret.
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

# The least probability whose logarithm is taken: options below are never drawn, and would only stretch the integer program.
LEAST_PROBABILITY: Final = 1e-6


def derive(space: SearchSpace, scores: Mapping[str, FloatArray], limits: Sequence[Limit] = ()) -> Arch:
    """Returns the architecture with the least sum of regrets that is within `limits` and meets the space's requirements.

    `scores` has an array (options,), higher is better, for every choice that is not tied; tied choices follow their leader,
    and are on only where the leader is (`SearchSpace` refuses others). The result is exact to a millionth of the largest
    regret, which is the integer program's tolerance. Options of score -inf are dropped options: the result uses the fewest
    of them that the limits allow. Raises BudgetError where no architecture is within the limits, SpaceError for missing
    scores, TrainingError for a score that is not a number.
    """
    free = [choice for choice in space.choices if not choice.tied_to]
    checked = {choice.name: _checked(choice, scores) for choice in free}
    dropped = {name: np.isneginf(scores_K).astype(float) for name, scores_K in checked.items()}
    uses = [choice_factor(space, name, dropped_K) for name, dropped_K in dropped.items() if dropped_K.any()]
    if uses:
        fewest = total(uses, space.encode([minimise(space.choices, uses, limits)]), space.columns)[0]
        limits = [*limits, (uses, fewest + 0.5)]
    return minimise(
        space.choices, [choice_factor(space, name, _regrets(scores_K)) for name, scores_K in checked.items()], limits
    )


def log_scores(probabilities: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Returns logarithms of probabilities, at least log(1e-6); -inf for probability 0, which marks a dropped option.

    >>> log_scores({"kernel": np.array([1.0, 1e-9, 0.0])})["kernel"].round(2).tolist()
    [0.0, -13.82, -inf]
    """
    return {
        name: np.where(probability_K > 0, np.log(np.maximum(probability_K, LEAST_PROBABILITY)), -np.inf)
        for name, probability_K in probabilities.items()
    }


def choice_factor(space: SearchSpace, name: str, values: FloatArray) -> Factor:
    """Returns the factor with the value of a choice's option where the choice is on, else 0. `values` has shape (options,)."""
    when = space.choice(name).when
    scope = tuple(dict.fromkeys([name, *(switch for clause in when for switch, _ in clause)]))
    drawn = dict(zip(scope, np.indices([len(space.choice(switch).options) for switch in scope]), strict=True))
    return Factor(name, scope, np.where(holds(when, drawn, space.by_name), values[drawn[name]], 0.0))


def _regrets(scores: FloatArray) -> FloatArray:
    """Returns the distance of each score from the highest; dropped options count as the lowest of the others."""
    known = np.isfinite(scores)
    if not known.any():
        return np.zeros(len(scores))
    highest, lowest = scores[known].max(), scores[known].min()
    return np.asarray(highest - np.maximum(scores, lowest))


def _checked(choice: Choice, scores: Mapping[str, FloatArray]) -> FloatArray:
    shape = np.shape(scores[choice.name]) if choice.name in scores else None
    if shape != (len(choice.options),):
        words = "no scores" if shape is None else f"scores of shape {shape}"
        raise SpaceError(f"choice {choice.name!r} has {len(choice.options)} options and {words}; give one per option")
    checked = np.asarray(scores[choice.name], dtype=float)
    if np.isnan(checked).any() or np.isposinf(checked).any():
        raise TrainingError(f"the scores of {choice.name!r} are {checked.tolist()}; training diverged: lower its rate")
    return checked
