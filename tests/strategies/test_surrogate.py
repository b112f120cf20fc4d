"""The strategy `surrogate`: when it stops, and what it takes from earlier searches. Its laws are in the conformance suite."""

from dataclasses import replace
from typing import Any

import numpy as np

from hwnas.core.arrays import FloatArray, IntArray
from hwnas.strategies.surrogate import START, Surrogate
from hwnas.strategies.workshop import Workshop
from hwnas.testing.notes import Notes
from hwnas.testing.problems import Recorder, choices_of, steps, uneven


def test_a_search_ends_where_little_is_expected_to_be_gained_and_says_so() -> None:
    notes, recorder = Notes(), uneven(choices_of([4] * 8))
    workshop = Workshop(seed=0, reporter=notes)
    Surrogate(evaluations=60, until_converged=0.02).search(recorder.problem(), workshop)
    assert START < len(recorder.asked) < 60
    assert len(notes.texts) == 1 and f"converged after {len(recorder.asked)} evaluations" in notes.texts[0]
    whole = uneven(choices_of([4] * 8))
    Surrogate(evaluations=60).search(whole.problem(), workshop)
    assert whole.asked[: len(recorder.asked)] == recorder.asked and len(whole.asked) == 60


def after_an_earlier_search(recorder: Recorder, earlier_NC: IntArray) -> tuple[list[Any], list[Any]]:
    """Returns the rows that were asked for again, and the new ones."""
    problem, again = recorder.problem(), []
    known = {tuple(row_C) for row_C in earlier_NC.tolist()}

    def evaluate(rows_NC: IntArray) -> dict[str, FloatArray]:
        again.extend(tuple(row_C) for row_C in rows_NC.tolist() if tuple(row_C) in known)
        new_NC = np.array([row_C for row_C in rows_NC if tuple(row_C.tolist()) not in known])
        if len(new_NC):
            problem.evaluate(new_NC)
        return probe(rows_NC)

    def probe(rows_NC: IntArray) -> dict[str, FloatArray]:
        return {"loss": recorder.loss(rows_NC), "accuracy": -recorder.loss(rows_NC)}

    going_on = replace(problem, evaluate=evaluate, probe=probe, earlier_NC=earlier_NC)
    Surrogate(evaluations=8).search(going_on, Workshop(seed=0))
    return again, recorder.asked


def test_what_was_evaluated_earlier_teaches_and_only_feasible_rows_are_asked_for_again() -> None:
    space = choices_of([4] * 8)
    earlier_NC = space.spread_rows(np.random.default_rng(5), 40)
    recorder = steps(space, bounds={"latency": 6.0})
    earlier_NC = np.unique(earlier_NC, axis=0)
    feasible = {tuple(row_C) for row_C in earlier_NC[recorder.problem().violation(earlier_NC) <= 0].tolist()}
    again, new = after_an_earlier_search(recorder, earlier_NC)
    assert set(again) == feasible and 0 < len(feasible) < len(earlier_NC)
    assert len(new) == 8 and not set(new) & {tuple(row_C) for row_C in earlier_NC.tolist()}


def test_many_earlier_networks_make_the_next_ones_better() -> None:
    space = choices_of([4] * 20)
    earlier_NC = np.unique(space.spread_rows(np.random.default_rng(5), 60), axis=0)
    taught, alone = uneven(space), uneven(space)
    after_an_earlier_search(taught, earlier_NC)
    Surrogate(evaluations=8).search(alone.problem(), Workshop(seed=0))

    def best(recorder: Recorder) -> float:
        rows_NC = np.array(recorder.asked)
        return float((recorder.loss(rows_NC) + recorder.costs["latency"](rows_NC)).min())

    assert best(taught) < best(alone)
