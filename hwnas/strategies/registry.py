"""Strategies by name, and a user's own by FILE.py:NAME."""

from collections.abc import Mapping
from typing import Final

from hwnas.core.references import resolve
from hwnas.errors import HwnasError
from hwnas.strategies.coarse_to_fine import CoarseToFine
from hwnas.strategies.controller import Controller
from hwnas.strategies.evolution import Evolution
from hwnas.strategies.factors import FactorsSearch
from hwnas.strategies.gbdt import Gbdt
from hwnas.strategies.gradient.strategy import GradientSearchStrategy
from hwnas.strategies.linas import Linas
from hwnas.strategies.local import LocalSearch
from hwnas.strategies.nars import Nars
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Strategy
from hwnas.strategies.random import RandomSearch
from hwnas.strategies.robot import Robot
from hwnas.strategies.surrogate import Surrogate

STRATEGIES: Final[Mapping[str, type[Strategy]]] = {
    Nsga2.name: Nsga2,
    Evolution.name: Evolution,
    LocalSearch.name: LocalSearch,
    CoarseToFine.name: CoarseToFine,
    RandomSearch.name: RandomSearch,
    Surrogate.name: Surrogate,
    FactorsSearch.name: FactorsSearch,
    Controller.name: Controller,
    GradientSearchStrategy.name: GradientSearchStrategy,
    Gbdt.name: Gbdt,
    Linas.name: Linas,
    Robot.name: Robot,
    Nars.name: Nars,
}


def load_strategy_class(reference: str) -> type[Strategy]:
    """Returns the class of a built-in strategy by name, or of a user's own by FILE.py:NAME.

    Raises UnknownNameError for an unknown name, HwnasError for a file that cannot be loaded or has no such strategy.
    """
    strategy = resolve("strategy", reference, STRATEGIES, HwnasError)
    needed = ("name", "trains_weights", "search", "__pydantic_fields__")
    missing = [name for name in needed if not hasattr(strategy, name)]
    if not isinstance(strategy, type) or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else "is not a class"
        raise HwnasError(
            f"{reference} {lacks}; write a pydantic dataclass like RandomSearch in hwnas/strategies/random.py"
        )
    return strategy
