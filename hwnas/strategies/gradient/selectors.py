"""From a trained supernet and probabilities of its options to one architecture.

Which one is best depends on how the supernet was trained, so any goes with any. Limits are hard: all selectors but one end
in `derive`, and that one chooses among architectures within the limits.

Shapes: N architectures, C choices.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.core import optimum
from hwnas.core.arch import Arch
from hwnas.core.arrays import BoolArray, FloatArray, IntArray
from hwnas.core.condition import holds
from hwnas.core.factors import Factor, total
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.function import FunctionCost
from hwnas.costs.proxies import MEASURES
from hwnas.errors import BudgetError, TrainingError, UnknownNameError
from hwnas.strategies.gradient.derive import choice_factor, derive, log_scores
from hwnas.strategies.nsga2 import Nsga2
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop
from hwnas.supernet.mixture import Drawn
from hwnas.supernet.network import Supernet
from hwnas.tasks.task import Metric, Task

# Networks that are compared by a proxy; rows drawn at a time for them, and how often before chance is helped, and left.
CANDIDATES: Final = 100
DRAW: Final = 4096
DRAWS: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """`probabilities` has an array (options,) for every choice that is not tied; 0 is an option that was dropped.

    `validation` is the supernet's loss under probabilities, with batch-norms in train mode as in DARTS-PT; `tune` trains the
    weights a little under them. `evolution` judges `evaluations` networks. `batch` holds inputs and labels for proxies, which
    leave the supernet in train mode.
    """

    space: SearchSpace
    probabilities: Mapping[str, FloatArray]
    limits: Sequence[optimum.Limit]
    supernet: Supernet
    task: Task
    validation: Callable[[Mapping[str, Tensor | Drawn]], float]
    tune: Callable[[Mapping[str, Tensor]], None]
    batch: tuple[Tensor, Tensor]
    seed: int
    evaluations: int = 200

    def tensors(self, probabilities: Mapping[str, FloatArray]) -> dict[str, Tensor]:
        """The probabilities as the supernet takes them: of the inputs' device, and of their type where that is a float."""
        inputs, _ = self.batch
        dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
        return {name: torch.as_tensor(each, dtype=dtype, device=inputs.device) for name, each in probabilities.items()}

    def proxy(self, network: nn.Module) -> float:
        """The proxy that the space's inputs allow. Raises TrainingError where it is not a number."""
        measure = MEASURES["jacobian" if self.space.vocabulary is None else "grad-norm"]
        torch.manual_seed(self.seed)  # dropout
        # Train mode: the running statistics of a supernet are no network's.
        return _number(measure(network.train(), *self.batch, self.task.loss))


# Given the same selection and weights it returns the same architecture. Raises BudgetError where none is within the limits.
Selector = Callable[[Selection], Arch]
# Of a supernet under probabilities: the higher without an option, the more that option is worth.
Loss = Callable[[Mapping[str, Tensor | Drawn]], float]


def magnitude(selection: Selection) -> Arch:
    """The likeliest options that the limits allow together (DARTS, Liu et al. 2019, section 2.3, but for the limits)."""
    return derive(selection.space, log_scores(selection.probabilities), selection.limits)


def perturbation(selection: Selection) -> Arch:
    """An option is worth the validation loss without it; all are judged before any is chosen.

    DARTS-PT (Wang et al. 2021, section 4.1) without its tuning. There the probabilities of the others are not
    renormalised; here they are, because what the supernet mixes are expectations.
    """
    return _most_important(selection, selection.validation)


def zero_shot(selection: Selection) -> Arch:
    """An option is worth the more, the lower a proxy of the supernet without it (Zero-Cost-PT, Xiang et al. 2021)."""
    return _most_important(selection, lambda tensors: -selection.proxy(_Mixed(selection.supernet, tensors)))


def _most_important(selection: Selection, loss: Loss) -> Arch:
    magnitude(selection)  # raises BudgetError before anything takes long
    scores = {name: _importance(selection, selection.probabilities, name, loss) for name in selection.probabilities}
    return derive(selection.space, scores, selection.limits)


def perturbation_tuned(selection: Selection) -> Arch:
    """Choices are decided one by one in random order by the validation loss without an option, and the weights tuned after
    each (DARTS-PT, Wang et al. 2021, algorithm 1).

    At hand is always an architecture that agrees with what is decided, at first the likeliest one. The next choice is one
    that is on there. It takes its most important option with which, and with the choice on, an architecture is still
    within the limits; the likeliest such is next at hand. So what is off in the end was never decided, or was switched off
    by a later decision.
    """
    space, probabilities = selection.space, dict(selection.probabilities)
    scores = log_scores(probabilities)
    names = [name for name, each in probabilities.items() if np.count_nonzero(each) > 1]
    undecided = [names[at] for at in np.random.default_rng(selection.seed).permutation(len(names))]
    deviations: list[Factor] = []
    arch = magnitude(selection)
    while (name := _first_on(space, undecided, arch)) is not None:
        importance = _importance(selection, probabilities, name, selection.validation)
        option, arch = _decided(space, scores, [*selection.limits, (deviations, 0.5)], name, importance, arch)
        chosen = np.arange(len(importance)) == option
        probabilities[name] = chosen.astype(float)
        scores[name] = np.zeros(len(importance))  # a decided choice has no more regrets
        deviations.append(choice_factor(space, name, 1.0 - chosen))
        undecided.remove(name)
        selection.tune(selection.tensors(probabilities))
    return arch


def _first_on(space: SearchSpace, names: Sequence[str], arch: Arch) -> str | None:
    """The first of some choices that is on in an architecture."""
    row_1C = space.encode([arch])
    drawn = {name: row_1C[:, column] for name, column in space.columns.items()}
    return next((name for name in names if holds(space.choice(name).when, drawn, space.by_name).all()), None)


def _decided(
    space: SearchSpace,
    scores: Mapping[str, FloatArray],
    limits: Sequence[optimum.Limit],
    name: str,
    importance: FloatArray,
    arch: Arch,
) -> tuple[int, Arch]:
    """The most important option that a choice can be on with, and the best architecture with that; `arch` is one that it is
    on in.

    Not one program with the importance weighted above all else: a choice that is off has no regrets, so it would rather
    be switched off than take its second best option.
    """
    at_hand = space.choice(name).options.index(arch[name])
    ranked = np.argsort(-importance, kind="stable").tolist()
    for option in ranked[: ranked.index(at_hand)]:
        is_option = np.arange(len(ranked)) == option
        on_at_option = choice_factor(space, name, -is_option.astype(float))
        with suppress(BudgetError):
            return option, derive(space, scores, [*limits, ([on_at_option], -0.5)])
    return at_hand, arch


def zero_shot_networks(selection: Selection) -> Arch:
    """Returns, among up to 100 architectures drawn by their probabilities and the likeliest one, that of the highest
    proxy (as in Mellor et al. 2021, section 5, but with a supernet's weights)."""
    archs = [selection.space.decode(row_C) for row_C in _candidates(selection)]
    return max(archs, key=lambda arch: selection.proxy(selection.supernet.extract(arch)))


def evolution(selection: Selection) -> Arch:
    """Returns the network of least validation loss among those that NSGA-II breeds within the limits, on supernet weights.

    The second stage of SPOS (Guo et al. 2020, section 3.4). The search begins at the likeliest architecture, and uses no
    more dropped options (probability 0) than that one does.
    """
    space, losses = selection.space, dict[bytes, float]()
    one = torch.ones(1, device=selection.batch[0].device)
    likeliest_1C = space.encode([magnitude(selection)])
    dropped = [choice_factor(space, name, np.equal(each, 0.0)) for name, each in selection.probabilities.items()]
    fewest = (dropped, total(dropped, likeliest_1C, space.columns)[0] + 0.5)
    allowed = replace(selection, limits=[*selection.limits, fewest])

    def evaluate(rows_NC: IntArray) -> Mapping[str, FloatArray]:
        for row_C in rows_NC:
            drawn = {name: Drawn((int(row_C[at]),), one) for name, at in space.columns.items()}
            losses[row_C.tobytes()] = _number(selection.validation(drawn))
        return {"loss": np.array([losses[row_C.tobytes()] for row_C in rows_NC])}

    outside = FunctionCost("outside the limits", "", lambda rows_NC: np.where(_within(allowed, rows_NC), 0.0, 1.0))
    problem = Problem(
        space=space,
        objectives=("loss",),
        metrics=(Metric(name="loss"),),
        costs={},
        evaluate=evaluate,
        limits=(Limit(outside, 0.5),),
        start_C=likeliest_1C[0],
    )
    Nsga2(evaluations=selection.evaluations).search(problem, Workshop(seed=selection.seed))
    if not losses:
        return magnitude(selection)
    best = min(losses, key=losses.__getitem__)
    return space.decode(np.frombuffer(best, dtype=np.int64))


def _candidates(selection: Selection) -> IntArray:
    """The likeliest architecture and different ones that are drawn, all within the limits; shape (N, C).

    Where chance finds too few, a random share of the likeliest one's choices is drawn anew.
    """
    space, rng = selection.space, np.random.default_rng(selection.seed)
    likeliest_1C = space.encode([magnitude(selection)])
    found = {likeliest_1C[0].tobytes(): likeliest_1C[0]}
    for attempt in range(2 * DRAWS):
        rows_NC = _drawn(selection, rng)
        if attempt >= DRAWS:
            anew_NC = rng.random(rows_NC.shape) < rng.random((DRAW, 1))
            rows_NC = np.where(anew_NC, rows_NC, likeliest_1C)
        rows_NC = space.normalise(rows_NC)
        for row_C in rows_NC[_within(selection, rows_NC)]:
            found.setdefault(row_C.tobytes(), row_C)
            if len(found) > CANDIDATES:
                return np.array(list(found.values()))
    return np.array(list(found.values()))


def _drawn(selection: Selection, rng: np.random.Generator) -> IntArray:
    """Rows with every choice drawn by its probabilities, not normalised; shape (DRAW, C)."""
    rows_NC = np.zeros((DRAW, len(selection.space.choices)), dtype=np.int64)
    for name, column in selection.space.columns.items():
        if name in selection.probabilities:
            exact = np.asarray(selection.probabilities[name], dtype=float)
            rows_NC[:, column] = rng.choice(len(exact), DRAW, p=exact / exact.sum())
    return rows_NC


def _within(selection: Selection, rows_NC: IntArray) -> BoolArray:
    """Returns True where the requirements and all limits are met; shape (N,)."""
    result = selection.space.meets_requirements(rows_NC)
    for factors, bound in selection.limits:
        result = result & (total(factors, rows_NC, selection.space.columns) <= bound)
    return result


def _importance(selection: Selection, probabilities: Mapping[str, FloatArray], name: str, loss: Loss) -> FloatArray:
    """The loss without each option of a choice, -inf where its probability is 0; shape (options,). Raises TrainingError."""
    known = np.asarray(probabilities[name], dtype=float)
    result = np.where(known > 0, 0.0, -np.inf)
    if np.count_nonzero(known) > 1:
        for option in np.flatnonzero(known):
            rest = np.where(np.arange(len(known)) == option, 0.0, known)
            without = {**probabilities, name: rest / rest.sum()}
            result[option] = _number(loss(selection.tensors(without)))
    return result


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise TrainingError(f"the supernet's loss or proxy is {value}; train it again with a lower learning rate")
    return value


@final
class _Mixed(nn.Module):
    """A supernet under probabilities, as a network."""

    def __init__(self, supernet: nn.Module, probabilities: Mapping[str, Tensor | Drawn]) -> None:
        super().__init__()
        self.supernet = supernet
        self.probabilities = probabilities

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.supernet(x, self.probabilities)
        return output


SELECTORS: Final[Mapping[str, Selector]] = {
    "magnitude": magnitude,
    "perturbation": perturbation,
    "perturbation-tuned": perturbation_tuned,
    "zero-shot": zero_shot,
    "zero-shot-networks": zero_shot_networks,
    "evolution": evolution,
}


def selector(name: str) -> Selector:
    """Raises UnknownNameError."""
    if name not in SELECTORS:
        raise UnknownNameError("selector", name, list(SELECTORS))
    return SELECTORS[name]
