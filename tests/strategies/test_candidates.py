"""Candidates: feasible architectures that were not evaluated yet."""

import numpy as np
import pytest

from hwnas.strategies.candidates import Candidates, all_rows
from hwnas.strategies.loss_factors import LossFactors
from hwnas.testing.problems import choices_of, steps


@pytest.mark.parametrize("sizes", [[3, 4, 2, 3], [4] * 9])
def test_candidates_are_feasible_and_new_and_good_ones_are_among_them(sizes: list[int]) -> None:
    recorder = steps(choices_of(sizes), bounds={"latency": 0.5 * len(sizes)})
    problem = recorder.problem()
    candidates = Candidates(problem, np.random.default_rng(0))
    known = {row_C.tobytes() for row_C in candidates.sample[:10]}
    found_NC = candidates.unknown(known, candidates.sample[:2], lambda rows_NC: -recorder.loss(rows_NC))
    assert (problem.violation(found_NC) <= 0).all()
    assert not known & {row_C.tobytes() for row_C in found_NC}
    assert len(np.unique(found_NC, axis=0)) == len(found_NC)
    if len(sizes) == 9:  # 4^9 rows are not listed: local search improves on chance
        assert recorder.loss(found_NC).min() < recorder.loss(candidates.sample).min()
    else:
        every_NC = all_rows(problem.space)
        assert len(found_NC) + len(known) == np.count_nonzero(problem.violation(every_NC) <= 0)


def test_the_best_row_of_factors_keeps_limits_that_are_no_sums() -> None:
    recorder = steps(choices_of([4] * 5), bounds={"latency": 2.5})
    problem = recorder.problem()
    every_NC = all_rows(problem.space)
    factors = LossFactors.fit(problem.space, every_NC, every_NC.sum(axis=1) + 1.0).mean
    row_C = Candidates(problem, np.random.default_rng(0)).best(factors)
    assert row_C is not None and not row_C.any()
    worst = LossFactors.fit(problem.space, every_NC, 20.0 - every_NC.sum(axis=1)).mean
    assert Candidates(problem, np.random.default_rng(0)).best(worst) is None  # the largest network is over the limit
