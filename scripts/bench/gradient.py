"""What gradient search holds to: budgets, penalties, devices, selectors; on scikit-learn's digits.

    python scripts/bench/gradient.py budgets --out DIR       # 3 budgets x 3 seeds: predicted and measured; about 12 minutes
    python scripts/bench/gradient.py penalties --out DIR     # sweeps of FBNet's beta and ProxylessNAS's lambda
    python scripts/bench/gradient.py selectors --out DIR     # every selector on the same trained supernet
    HWNAS_BENCH_DATA=DATA python scripts/bench/gradient.py devices   # FBNet's space, latencies of two devices swapped

All but `devices` need a predictor of the default `mobilenet` space for this machine: --predictor FILE, or they make one.
"""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import numpy as np
import torch
from hwnas.pipeline.config import SearchConfig

import hwnas
from hwnas.benchmarks.published import fbnet
from hwnas.core.arch import Arch
from hwnas.core.factors import Factor
from hwnas.core.operations import restricted
from hwnas.core.optimum import minimise
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import load_data
from hwnas.errors import HwnasError
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.search import resume, start
from hwnas.predict.expected import ExpectedCost
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import Profiling, profile
from hwnas.strategies.gradient.constraint import Constraint, latency_constraint
from hwnas.strategies.gradient.derive import derive, log_scores
from hwnas.strategies.gradient.penalties import Penalty, penalty
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import sampler
from hwnas.strategies.gradient.search import GradientSearch, Progress, Schedule
from hwnas.strategies.gradient.selectors import SELECTORS
from hwnas.supernet.network import Supernet
from hwnas.terminal import TerminalReporter
from hwnas.train.recipes import RECIPES

BUDGETS: Final = "40%,55%,70%"
BETAS: Final = (0.1, 0.6, 2.0, 5.0, 15.0)
LAMBDAS: Final = (0.01, 0.1, 0.3, 1.0, 10.0)
DEVICES: Final = ("1080ti_1", "pixel3")
# Networks of a published table that a device's predictor is fitted to.
PUBLISHED: Final = 300
# Where the budget is between the fastest and the slowest network of a device.
SHARE: Final = 0.4


class Quiet:
    """Counts nothing, says nothing."""

    def track(self, items: Sequence[Any], what: str) -> Iterable[Any]:
        return items

    def note(self, text: str) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--predictor", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--data", type=Path, default=os.environ.get("HWNAS_BENCH_DATA"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out = arguments.out or Path(mkdtemp())
    arguments.out.mkdir(parents=True, exist_ok=True)
    STEPS[arguments.step](arguments)


def predictor_of(arguments: argparse.Namespace) -> Path:
    """The one given, or one that is measured now."""
    if arguments.predictor:
        return Path(arguments.predictor)
    path, space = arguments.out / "predictor.json", hwnas.space("mobilenet")
    if not path.exists():
        table = arguments.out / "table.jsonl"
        profile(
            Profiling(space=space, conditions=conditions_here("cpu"), path=table, reporter=TerminalReporter()),
            networks=60,
        )
        fit_table(table, space, allow_unconverged=True).save(path)
    return path


# ---- budgets, by the command's own pipeline


def budgets(arguments: argparse.Namespace) -> None:
    predictor = predictor_of(arguments)
    lines = []
    for seed in range(arguments.seeds):
        out = arguments.out / f"seed{seed}"
        config = SearchConfig(
            strategy="gradient",
            latency_budget=BUDGETS,
            predictor=str(predictor),
            seed=seed,
            epochs=arguments.epochs,
            warmup_epochs=4,
            final_epochs=6,
        )
        known = (out / "run.json").exists()
        result = (
            resume(out, TerminalReporter(), {})
            if known
            else start(config, hwnas.space("mobilenet"), out, TerminalReporter())
        )
        facts = json.loads(result.run.json.read_text())
        accuracy = {row.arch_id: row.accuracy_test for row in result.front}
        for budget_ms, (name, tried) in zip(sorted(facts["latency_budgets_ms"]), facts["derived"].items(), strict=True):
            last = tried[-1]
            expected = json.loads((result.run.searches / f"{name}.json").read_text())["epochs"][-1]["ratios"][0]
            lines.append(
                f"| {seed} | {budget_ms:.4f} | {100 * expected:.1f} % | {last['upper_ms']:.4f} | {last['measured_ms']:.4f} | "
                f"{'yes' if last['measured_ms'] <= budget_ms else 'NO'} | {len(tried) - 1} | "
                f"{100 * accuracy.get(last['arch_id'], float('nan')):.1f} % |"
            )
    print(
        "| seed | budget, ms | expected at the end | predicted at most | measured median | within | tightened | test accuracy |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))


# ---- one search, in memory


def searched(
    space: SearchSpace,
    constraint: Constraint,
    of_penalty: Penalty,
    arguments: argparse.Namespace,
    *,
    seed: int = 0,
    name: str = "drnas",
) -> tuple[GradientSearch, list[Progress]]:
    data = load_data("digits", space.input_shape, outputs=space.classes, seed=0)
    torch.manual_seed(seed)
    search = GradientSearch(
        supernet=Supernet(space),
        relaxation=Relaxation(space, sampler(name), torch.Generator().manual_seed(seed)),
        data=data,
        recipe=replace(RECIPES["sgd"], epochs=arguments.epochs),
        schedule=Schedule(warmup_epochs=3),
        penalty=of_penalty,
        constraints=[constraint],
        seed=seed,
        reporter=Quiet(),
    )
    return search, search.run(Path(mkdtemp()) / "search.pt")


def probabilities_of(search: GradientSearch) -> dict[str, np.ndarray]:
    found = search.relaxation.probabilities()
    return {name: probability_K.detach().double().numpy() for name, probability_K in found.items()}


def penalties(arguments: argparse.Namespace) -> None:
    predictor, space = LatencyPredictor.load(predictor_of(arguments)), hwnas.space("mobilenet")
    largest_ms = float(predictor.upper(space.encode([space.largest()]), "median")[0])
    constraint = latency_constraint(predictor, 0.4 * largest_ms, "median")
    print("| penalty | weight | expected latency, ms | mean | derived without a limit, ms |\n|---|---|---|---|---|")
    for name, weights in (("fbnet", BETAS), ("proxyless-linear", LAMBDAS)):
        for weight in weights:
            expected_ms, derived_ms = [], []
            for seed in range(arguments.seeds):
                search, history = searched(
                    space, constraint, replace(penalty(name), weight=weight), arguments, seed=seed
                )
                likeliest = derive(space, log_scores(probabilities_of(search)))
                expected_ms.append(history[-1].ratios[0] * constraint.bound)
                derived_ms.append(float(predictor.predict_ms(space.encode([likeliest]))[0]))
            each, derived = (", ".join(f"{ms:.4f}" for ms in found) for found in (expected_ms, derived_ms))
            print(f"| {name} | {weight:g} | {each} | {np.mean(expected_ms):.4f} | {derived} |", flush=True)


# ---- selectors


def selectors(arguments: argparse.Namespace) -> None:
    """One search; every selector's network is trained alike, and its accuracy is that of the test split."""
    predictor = predictor_of(arguments)
    print(
        "| selector | architecture | validation loss | test accuracy | measured median, ms | seconds to select and train |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    first: Path | None = None
    for name in SELECTORS:
        out = arguments.out / name
        config = SearchConfig(
            strategy="gradient",
            latency_budget="50%",
            predictor=str(predictor),
            selector=name,
            epochs=arguments.epochs,
            warmup_epochs=4,
            final_epochs=6,
        )
        if first is not None and not out.exists():
            share_search(first, out, config)
        space = hwnas.space("mobilenet")
        begun = (out / "run.json").exists()
        result = resume(out, TerminalReporter(), {}) if begun else start(config, space, out, TerminalReporter())
        (row,) = result.front
        seconds = json.loads(result.run.json.read_text())["stages"]["derive and train"]["seconds"]
        print(
            f"| {name} | {row.arch_id} | {row.loss_val:.4f} | {100 * row.accuracy_test:.1f} % | "
            f"{row.measured_median_ms:.4f} | {seconds:.0f} |",
            flush=True,
        )
        first = first or out


def share_search(source: Path, target: Path, config: SearchConfig) -> None:
    """A run that has the searches of another, and derives from them itself."""
    (target / "searches").mkdir(parents=True)
    facts = json.loads((source / "run.json").read_text())
    shared = ("schema", "started", "space", "data", "versions", "latency_budget_ms", "latency_budgets_ms")
    kept = {name: facts[name] for name in shared}
    (target / "run.json").write_text(json.dumps(kept | {"config": config.describe()}))
    for path in (source / "searches").glob("*.pt"):
        (target / "searches" / path.name).write_bytes(path.read_bytes())


# ---- devices


def devices(arguments: argparse.Namespace) -> None:
    """Each network is faster, relative to what the other takes there, on the device it was searched for."""
    if arguments.data is None:
        raise HwnasError("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    table = fbnet(arguments.data)
    # No skips: where most of 22 layers do nothing, so few published networks are like it that nothing can be predicted.
    published = restricted(table.space, dropped=["*=skip"])
    space = restricted(hwnas.space("fbnet", resolution=32, classes=10, width=0.25), dropped=["*=skip"])
    order = np.random.default_rng(0).permutation(len(table.rows_NC))[:PUBLISHED]
    rows_NC = table.rows_NC[order]
    predictors, found = {}, {}
    for device in DEVICES:
        measured = Measurements(isolated={}, rows_NC=rows_NC, networks_N=table.latency_ms[device][order])
        predictors[device] = fit(table.space, measured, {"device": device}).for_space(published)
    bound_ms = {device: between(published, predictor, SHARE) for device, predictor in predictors.items()}
    for device, predictor in predictors.items():
        factors = predictor.factors
        # The same choices of smaller networks: what is trained here in minutes; latencies are those of the published ones.
        constraint = Constraint(
            "latency", ExpectedCost(space.choices, factors), bound_ms[device], (factors, bound_ms[device])
        )
        search, _ = searched(space, constraint, penalty("budget"), arguments, name="gates")
        found[device] = derive(space, log_scores(probabilities_of(search)), [constraint.limit])
    print(f"| searched for | {' | '.join(f'{device}, ms' for device in DEVICES)} |\n|---|{'---|' * len(DEVICES)}")
    for device, arch in found.items():
        print(
            f"| {device} | {' | '.join(f'{predicted_ms(predictors[other], space, arch):.2f}' for other in DEVICES)} |"
        )


def between(space: SearchSpace, predictor: LatencyPredictor, share: float) -> float:
    """Milliseconds that so large a share of the way lead from the fastest to the slowest network."""
    negated = [Factor(factor.name, factor.scope, -factor.values) for factor in predictor.factors]
    ends = [predicted_ms(predictor, space, minimise(space.choices, each)) for each in (predictor.factors, negated)]
    return ends[0] + share * (ends[1] - ends[0])


def predicted_ms(predictor: LatencyPredictor, space: SearchSpace, arch: Arch) -> float:
    return float(predictor.predict_ms(space.encode([arch]))[0])


STEPS: Final = {"budgets": budgets, "penalties": penalties, "selectors": selectors, "devices": devices}


if __name__ == "__main__":
    main()
