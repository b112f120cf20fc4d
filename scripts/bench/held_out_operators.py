"""Prints how many networks the intervals cover where operators were not measured: a space related to a shipped table's.

    python scripts/bench/held_out_operators.py                       # every shipped table, ten minutes on one core
    python scripts/bench/held_out_operators.py --tables ofa gpt --pairs 20

One option of a choice is held out: the networks of the table that have another option are fitted, and predict those that have
this one, whose operators are estimated where no other layer has them, as a search for a shipped device does it
(`predict/related.py`). No network of the fit and no measurement of it has the operators that are estimated. Pairs of options are
drawn at random among those with ten networks each at least.

share    the share of a latency that is estimated, median over the pairs
plain    the share of networks inside the interval of the fit alone
wider    the share inside the interval that hwnas gives, and that of networks below its upper end
cold     the same of predictors that go by rates alone, with the wider interval, from the first table to the second
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

import hwnas
from hwnas.core.operations import keep
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, PredictorError
from hwnas.pipeline.predict import measurements
from hwnas.predict.fit import fit
from hwnas.predict.related import cold_related_predictor, related_predictor
from hwnas.predict.shipped import shipped_devices
from hwnas.profiler.table import Table, read_table
from hwnas.spaces import SPACES

FEWEST: Final = 10
# Tables whose spaces are of blocks of one kind.
ALIKE: Final = ("mobilenet", "fbnet", "proxyless", "ofa")
Figures = tuple[float, float, float, float, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="amd-epyc")
    parser.add_argument("--tables", nargs="*", choices=SPACES, default=list(SPACES))
    parser.add_argument("--pairs", type=int, default=8, help="pairs of options of each table (%(default)s)")
    arguments = parser.parse_args()
    device = shipped_devices()[arguments.device]
    tables = {name: read_table(device.table(name)) for name in arguments.tables}
    print(
        "| table | pairs | networks | share | plain | wider | below the end |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
    )
    for name, table in tables.items():
        found = np.array(list(itertools.islice(pairs(hwnas.space(name), table), arguments.pairs)))
        if len(found):
            weight = found[:, 4]
            plain, wider, below = (float(np.average(column, weights=weight)) for column in found.T[1:4])
            figures = f"{np.median(found[:, 0]):.1%} | {plain:.1%} | {wider:.1%} | {below:.1%}"
            print(f"| {name} | {len(found)} | {weight.sum():.0f} | {figures} |", flush=True)
    print("\n| from | to | cold: inside | below the end |", "|---|---|---|---|", sep="\n")
    for first, second in itertools.permutations([name for name in ALIKE if name in tables], 2):
        inside, below = cold_shares(hwnas.space(first), tables[first], hwnas.space(second), tables[second])
        print(f"| {first} | {second} | {inside:.1%} | {below:.1%} |", flush=True)


def pairs(space: SearchSpace, table: Table) -> Iterator[Figures]:
    """Yields the figures of pairs of options, drawn at random: share, plain, wider, below, and the number of networks."""
    options = [
        (choice.name, *pair)
        for choice in space.choices
        if not choice.tied_to
        for pair in itertools.permutations(choice.options, 2)
    ]
    for index in np.random.default_rng(0).permutation(len(options)):
        name, known, asked = options[index]
        try:
            source, target = keep(space, name, [known]), keep(space, name, [asked])
        except HwnasError:
            continue  # what may not lose its first option
        if all(
            mine.options == other.options or mine.name == name
            for mine, other in zip(source.choices, target.choices, strict=True)
        ):
            figures = pair(source, target, table)
            if figures is not None:
                yield figures


def pair(source: SearchSpace, target: SearchSpace, table: Table) -> Figures | None:
    """Returns the figures of one pair; None where it has too few networks, or where all operators are measured."""
    learned, truth = measurements(table, source), measurements(table, target)
    new = target.operators().keys() - source.operators().keys()
    if not new or min(len(learned.rows_NC), len(truth.rows_NC)) < FEWEST:
        return None
    fitted = replace(fit(source, learned, table.conditions), choices=target.choices)  # one option stands for the other
    try:
        predictor = related_predictor(target, source, fitted, learned)
    except PredictorError:  # too few operators are left to learn rates from
        return None
    predicted_N = predictor.predict_ms(truth.rows_NC)
    ratio_N = truth.networks_N / predicted_N
    plain, wider = (
        float(np.mean((low <= ratio_N) & (ratio_N <= high))) for low, high in (fitted.interval, predictor.interval)
    )
    below = float(np.mean(ratio_N <= predictor.interval[1]))
    return float(predictor.report["estimated_share"]), plain, wider, below, len(ratio_N)


def cold_shares(source: SearchSpace, table: Table, target: SearchSpace, other: Table) -> tuple[float, float]:
    """Returns the shares of a table's networks inside the interval, and below its end, from another table alone."""
    predictor = cold_related_predictor(target, source, measurements(table, source), table.conditions)
    truth = measurements(other, target)
    low, high = predictor.interval
    ratio_N = truth.networks_N / predictor.predict_ms(truth.rows_NC)
    return float(np.mean((low <= ratio_N) & (ratio_N <= high))), float(np.mean(ratio_N <= high))


if __name__ == "__main__":
    main()
