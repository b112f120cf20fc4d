"""The costs of a search, by the names that objectives and limits use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from hwnas.costs.cost import Cost
from hwnas.costs.predicted import PredictedCost
from hwnas.costs.proxies import ProxyCost
from hwnas.costs.registry import COSTS, space_cost
from hwnas.pipeline.checked import CheckedRequest
from hwnas.predict.measurements import LATENCY, STATISTIC_OF
from hwnas.predict.predictor import LatencyPredictor

# The costs of every front, whether or not they are objectives.
ALWAYS: Final = ("params", "flops", "model", "peak")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """All costs of a search, and those of them that are predicted from measurements."""

    predicted: Mapping[str, PredictedCost]
    all: Mapping[str, Cost]


def made_costs(checked: CheckedRequest, predictors: Mapping[str, LatencyPredictor]) -> Costs:
    """Returns the costs that a search needs, latencies first; latency is limited in the budget's statistic."""
    goal = checked.request.goal
    kinds = {need.name: need.kind for need in checked.sources.needs}
    predicted = {
        name: PredictedCost(predictor, goal.budget_on if kinds[name] == LATENCY else STATISTIC_OF[kinds[name]], name)
        for name, predictor in predictors.items()
    }
    others = dict.fromkeys((*ALWAYS, *(name for name in checked.cost_names if name not in predicted)))
    return Costs(predicted=predicted, all={**predicted, **{name: _made(checked, name) for name in others}})


def _made(checked: CheckedRequest, name: str) -> Cost:
    """A cost that is not predicted: of the space's operators, or of untrained networks."""
    if name not in COSTS or COSTS[name].origin == "space":
        return space_cost(name, checked.space)
    score = ProxyCost(space=checked.space, name=name, batch=checked.proxy_batch(), loss=checked.task.loss)
    score.values(
        checked.space.encode([checked.space.largest()])
    )  # raises before any training where there is no such score
    return score
