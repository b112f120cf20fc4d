"""How well FBNetV3's predictor ranks networks with and without pretraining on FLOPs and parameters.

    HWNAS_BENCH_DATA=DIR python scripts/bench/search/nars.py

The predictor of `--strategy nars` is fitted to the validation accuracies of random networks of a published table, and ranks all
the others: Kendall's tau, mean over seeds and its standard error, and the number of seeds in which pretraining is ahead. A seed
draws the samples, the same for all predictors, and the weights. The encoder is pretrained on the FLOPs and parameters of
--pretraining random networks, which cost no training. "same schedule" freezes the random encoder for the first half, as if it
were pretrained. Ridge regression or an SVM (LINAS), boosted trees (GBDT-NAS), and the FLOPs alone are there to compare.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
from scipy.stats import kendalltau

from hwnas.benchmarks.tabular import BENCHMARKS, TabularBenchmark
from hwnas.core.arrays import FloatArray
from hwnas.strategies.gbdt import boosted
from hwnas.strategies.learned import Fit, one_hot
from hwnas.strategies.linas import ridge_or_svr
from hwnas.strategies.pretrained import Pretrained

WITH, WITHOUT = "with pretraining", "without"

# From a table, the number of architectures to pretrain on, and a seed, to how a predictor is fitted.
Prepared = Callable[[TabularBenchmark, int, int], Fit]


def pretrained(benchmark: TabularBenchmark, count: int, seed: int) -> Fit:
    space = benchmark.raw
    return Pretrained.of(space, space.sample_rows(np.random.default_rng((seed, 1)), count), seed)


PREDICTORS: Mapping[str, Prepared] = {
    WITH: pretrained,
    WITHOUT: lambda benchmark, _, seed: Pretrained.untrained(benchmark.raw, seed),
    "without, same schedule": lambda benchmark, _, seed: replace(
        Pretrained.untrained(benchmark.raw, seed), is_pretrained=True
    ),
    "ridge or SVM": lambda *_: ridge_or_svr,
    "boosted trees": lambda *_: boosted,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", choices=("nasbench201", "conv_macro"), default="nasbench201")
    parser.add_argument("--samples", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--pretraining", type=int, default=2048, help="networks to pretrain on")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"), help="default: HWNAS_BENCH_DATA"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give the folder of the tables with --data or HWNAS_BENCH_DATA")

    benchmark, began = BENCHMARKS[arguments.benchmark](arguments.data), process_time()
    features_TF = one_hot(benchmark.raw, benchmark.rows_TC)
    accuracy_T = benchmark.results[benchmark.accuracy]
    taus: dict[str, list[list[float]]] = {name: [] for name in PREDICTORS}
    for seed in range(arguments.seeds):
        for name, prepared in PREDICTORS.items():
            fit = prepared(benchmark, arguments.pretraining, seed)
            taus[name].append([tau(fit, features_TF, accuracy_T, count, seed) for count in arguments.samples])

    print(f"| Kendall's tau | {' | '.join(f'{count} samples' for count in arguments.samples)} |")
    print("|---" * (1 + len(arguments.samples)) + "|")
    for name, rows in taus.items():
        print(f"| {name} | {' | '.join(cell(column) for column in np.array(rows).T)} |")
    ahead = (np.array(taus[WITH]) > np.array(taus[WITHOUT])).sum(axis=0)
    print(f"| seeds in which pretraining is ahead | {' | '.join(f'{n} of {arguments.seeds}' for n in ahead)} |")
    flops_T = benchmark.raw.costs("flops", benchmark.rows_TC)
    print(f"FLOPs alone: {kendalltau(flops_T, accuracy_T).statistic:.3f}; {process_time() - began:.0f} s of CPU time")


def tau(fit: Fit, features_TF: FloatArray, accuracy_T: FloatArray, count: int, seed: int) -> float:
    """Returns Kendall's tau over the networks that are not among `count` random ones, to which the predictor is fitted."""
    order = np.random.default_rng(seed).permutation(len(accuracy_T))
    samples, others = order[:count], order[count:]
    predict = fit(features_TF[samples], accuracy_T[samples], seed)
    return float(kendalltau(predict(features_TF[others]), accuracy_T[others]).statistic)


def cell(taus: Sequence[float]) -> str:
    return f"{np.mean(taus):.3f} ± {np.std(taus, ddof=1) / np.sqrt(len(taus)):.3f}"


if __name__ == "__main__":
    main()
