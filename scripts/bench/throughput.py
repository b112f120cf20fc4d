"""Times the prediction of architectures on one core, in architectures per second.

    python scripts/bench/throughput.py           # the default mobilenet space, a million random architectures

The additive model has every feature that it can have, interactions of adjacent layers included, with random weights. Trees
are fitted to noise so that they split on all choices, which gives the largest number of factors. The last rows are
XGBoost's own predictions by the same trees of the same architectures.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import xgboost

import hwnas
from hwnas.core.factors import absorbed, total
from hwnas.predict.features import space_basis
from hwnas.predict.trees import fit_trees, tree_factors

TREES = 300
NETWORKS = 2000
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    space = hwnas.space(arguments.space)
    rng = np.random.default_rng(0)
    basis = space_basis(space, {}, 1.0)
    additive = absorbed(basis.factors(rng.normal(size=len(basis.group_P))))
    booster = fit_trees(space.sample_rows(rng, NETWORKS), rng.normal(size=NETWORKS), np.ones(NETWORKS), TREES)
    trees = absorbed([*additive, *tree_factors(booster, space.choices)])
    theirs = xgboost.Booster({"nthread": 1}, model_file=bytearray(json.dumps(booster).encode()))
    rows_NC = space.sample_rows(rng, arguments.rows)
    floats_NC = rows_NC.astype(np.float32)
    print(f"{space.name}: {len(space.choices)} choices, {arguments.rows:,} architectures, best of {REPEATS}")
    print(f"{'':42} {'s per million':>14} {'architectures/s':>16}")
    for name, call in {
        f"additive, {len(additive)} factors": lambda: total(additive, rows_NC, space.columns),
        f"with {TREES} trees, {len(trees)} factors": lambda: total(trees, rows_NC, space.columns),
        "xgboost, the trees: inplace_predict": lambda: theirs.inplace_predict(floats_NC),
        "xgboost, the trees: predict": lambda: theirs.predict(xgboost.DMatrix(floats_NC, nthread=1)),
    }.items():
        seconds = best_seconds(call)
        print(f"{name:42} {1e6 * seconds / len(rows_NC):14.3f} {len(rows_NC) / seconds:16,.0f}", flush=True)


def best_seconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
