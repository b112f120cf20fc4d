"""Laws of the selector `factors`, with losses that are known.

Shapes: N architectures, C choices.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.factors import Factor, total
from hwnas.core.space import SearchSpace
from hwnas.strategies.gradient.factors import ALIKE, BATCH, TIE, factors
from hwnas.strategies.gradient.selection import Selection
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task


class Judge:
    """Losses that fall with the logarithm of FLOPs, layer by layer; remembers what was evaluated."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.factors = [Factor(f.name, f.scope, -np.log1p(f.values)) for f in space.cost_factors("flops")]
        self.asked: list[bytes] = []

    def truth(self, rows_NC: IntArray) -> FloatArray:
        return 1.0 + 0.01 * total(self.factors, rows_NC, self.space.columns)

    def __call__(self, rows_NC: IntArray) -> FloatArray:
        self.asked += [row_C.tobytes() for row_C in rows_NC]
        return self.truth(rows_NC)

    def rows(self) -> IntArray:
        return np.array([np.frombuffer(row, dtype=np.int64) for row in self.asked])


def selection(space: SearchSpace, judge: Judge, share: float | None = 0.5, **changes: object) -> Selection:
    """Equal probabilities; at most a share of the way from the smallest to the largest network's parameters."""
    costs = space.cost_factors("params")
    ends = [space.cost("params", arch) for arch in (space.smallest(), space.largest())]
    limits = [] if share is None else [(costs, ends[0] + share * (ends[1] - ends[0]))]
    known = {c.name: np.full(len(c.options), 1 / len(c.options)) for c in space.choices if not c.tied_to}
    made = Selection(
        space=space,
        probabilities=known,
        limits=limits,
        supernet=Supernet(space),
        task=load_task("classification"),
        validation=lambda probabilities: float("nan"),
        tune=lambda probabilities: None,
        batch=(torch.zeros(2, *space.input_shape), torch.zeros(2, dtype=torch.int64)),
        seed=0,
        evaluations=40,
        judge=judge,
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def space(small_space: SearchSpace) -> SearchSpace:
    return small_space


def test_at_most_so_many_networks_within_the_limits_are_evaluated_each_once(space: SearchSpace) -> None:
    for count in (1, 7, 33):
        judge = Judge(space)
        made = selection(space, judge, evaluations=count)
        factors(made)
        assert len(set(judge.asked)) == len(judge.asked)
        # Certain of the loss, all draws name a network that is known; so fewer than 33 are evaluated.
        assert len(judge.asked) == count if count < 20 else 20 < len(judge.asked) <= count
        assert made.within(judge.rows()).all()


def test_forty_evaluations_find_what_four_thousand_random_ones_do_not_beat(space: SearchSpace) -> None:
    judge = Judge(space)
    made = selection(space, judge)
    (row_C,) = space.encode([factors(made)])
    random_NC = space.sample_rows(np.random.default_rng(5), 4000)
    best = judge.truth(random_NC[made.within(random_NC)]).min()
    assert judge.truth(row_C[None])[0] <= best + TIE * abs(best)


def test_of_networks_that_tie_the_one_that_uses_the_limit_up_is_taken(space: SearchSpace) -> None:
    judge = Judge(space)
    judge.truth = lambda rows_NC: np.full(len(rows_NC), 0.3)  # type: ignore[method-assign]
    made = selection(space, judge)
    arch = factors(made)
    ((costs, bound),) = made.limits
    use_N = total(costs, judge.rows(), space.columns) / bound
    assert total(costs, space.encode([arch]), space.columns)[0] / bound == pytest.approx(use_N.max())
    assert use_N.max() > 0.9


def test_networks_evaluated_before_count_towards_the_evaluations(space: SearchSpace) -> None:
    first = Judge(space)
    made = selection(space, first)
    found = factors(made)
    ((costs, bound),) = made.limits
    second = Judge(space)
    tighter = replace(made, judge=second, earlier_NC=first.rows(), limits=[(costs, 0.99 * bound)])
    again = factors(tighter)
    alike_N = np.abs(np.log(total(costs, first.rows(), space.columns) / (0.99 * bound))) < np.log(ALIKE)
    new = set(second.asked) - set(first.asked)
    assert len(new) <= max(BATCH, 40 - np.count_nonzero(alike_N)) < 40
    assert tighter.within(space.encode([again])).all() and found.id in {a.id for a in map(space.decode, first.rows())}


def test_dropped_options_are_left_out(space: SearchSpace) -> None:
    judge = Judge(space)
    made = selection(space, judge, share=None, evaluations=12)
    choice = next(c for c in space.choices if not c.tied_to and not c.when and len(c.options) > 1)
    only = np.eye(len(choice.options))[0]
    arch = factors(replace(made, probabilities={**made.probabilities, choice.name: only}))
    assert arch[choice.name] == choice.options[0]
    assert not judge.rows()[:, space.columns[choice.name]].any()
