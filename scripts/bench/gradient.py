"""Benches of gradient search on scikit-learn's digits: budgets, penalties, selectors and devices.

    python scripts/bench/gradient.py budgets --out DIR       # 3 budgets x 3 seeds: predicted and measured; about 12 minutes
    python scripts/bench/gradient.py penalties --out DIR     # sweeps of FBNet's beta and ProxylessNAS's lambda
    python scripts/bench/gradient.py selectors --out DIR     # every selector on the same trained supernet
    HWNAS_BENCH_DATA=DATA python scripts/bench/gradient.py devices   # FBNet's space, latencies of two devices swapped

All but `devices` need a predictor of the default `mobilenet` space for this machine; without --predictor FILE they
measure one.
"""

import argparse
import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import numpy as np
import torch

import hwnas
from hwnas.benchmarks.published import fbnet
from hwnas.core.arch import Arch
from hwnas.core.factors import Factor
from hwnas.core.operations import restricted
from hwnas.core.optimum import minimise
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.predicted import PredictedCost
from hwnas.data.dataset import load_data
from hwnas.errors import BudgetError, HwnasError
from hwnas.pipeline.predict import fit_table
from hwnas.pipeline.request import SearchRequest, search_request
from hwnas.pipeline.search import resume, start
from hwnas.predict.expected import ExpectedCost
from hwnas.predict.fit import fit
from hwnas.predict.measurements import Measurements
from hwnas.predict.predictor import LatencyPredictor
from hwnas.profiler.device import conditions_here
from hwnas.profiler.profile import Profiling, profile
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import FrontRow, best_under, named, read_front
from hwnas.runs.objectives import read_goal
from hwnas.strategies.gradient.constraint import Constraint
from hwnas.strategies.gradient.derive import derive, log_scores
from hwnas.strategies.gradient.penalties import Penalty, penalty
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import sampler
from hwnas.strategies.gradient.schedule import Progress, Schedule
from hwnas.strategies.gradient.search import GradientSearch
from hwnas.strategies.gradient.selectors import SELECTORS
from hwnas.supernet.network import Supernet
from hwnas.tasks.classification import Classification
from hwnas.terminal import TerminalReporter
from hwnas.train.recipes import BY_OPTIMIZER

BUDGETS: Final = "40%,55%,70%"
BETAS: Final = (0.1, 0.6, 2.0, 5.0, 15.0)
LAMBDAS: Final = (0.01, 0.1, 0.3, 1.0, 10.0)
DEVICES: Final = ("1080ti_1", "pixel3")
# The number of published networks that a device's predictor is fitted to.
PUBLISHED: Final = 300
# The budget's place between the fastest (0) and the slowest (1) network of a device.
SHARE: Final = 0.4


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
    """Returns the predictor of --predictor, or one that is measured now."""
    if arguments.predictor:
        return Path(arguments.predictor)
    path: Path = arguments.out / "predictor.json"
    space = hwnas.space("mobilenet")
    if not path.exists():
        table = arguments.out / "table.jsonl"
        profile(
            Profiling(space=space, conditions=conditions_here("cpu"), path=table, reporter=TerminalReporter()),
            networks=60,
        )
        fit_table(table, space, allow_unconverged=True).save(path)
    return path


# ---- budgets, by the pipeline of `hwnas search`


def gradient_request(arguments: argparse.Namespace, **options: object) -> SearchRequest:
    """Returns the request of a gradient search of mobilenet on digits."""
    known = {
        "space": "mobilenet",
        "data": "digits",
        "strategy": "gradient",
        "scheme": "joint",
        "predictor": (str(predictor_of(arguments)),),
    }
    training = {"epochs": arguments.epochs, "warmup_epochs": 4, "final_epochs": 6}
    return search_request({**known, **training, **options})


def finished(request: SearchRequest, out: Path) -> RunFolder:
    """Returns the run of a request, resumed where it was begun. A budget that nothing stayed within is left out."""
    with suppress(BudgetError):
        if (out / "run.json").exists():
            resume(out, TerminalReporter(), {})
        else:
            start(request, request.space.load(), out, TerminalReporter())
    return RunFolder(out)


def budgets(arguments: argparse.Namespace) -> None:
    """Prints, for each seed and budget, what the search expected and the best network of the front within the budget."""
    lines = []
    for seed in range(arguments.seeds):
        request = gradient_request(arguments, latency_budget=BUDGETS, seed=seed)
        run = finished(request, arguments.out / f"seed{seed}")
        lines += [f"| {seed} | {budget_line(run, budget_ms)} |" for budget_ms in run.read()["latency_budgets_ms"]]
    print(
        "| seed | budget, ms | expected at the end | predicted at most, ms | measured median, ms | within | tightened "
        "| test accuracy before final training | after |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))


def budget_line(run: RunFolder, budget_ms: float) -> str:
    """Returns the cells of one budget."""
    searches = [json.loads(path.read_text()) for path in run.searches.glob("*.json")]
    expected = {search["label"]: search["epochs"][-1]["ratios"][0] for search in searches}
    tightened = len(run.read().get("tightened", {}).get(f"{budget_ms:.4g} ms", []))
    begin = f"{budget_ms:.4f} | {100 * expected[f'latency <= {budget_ms:.4g} ms']:.1f} %"
    rows = read_front(run.front) if run.front.exists() else []
    row = best_under(rows, read_goal(run).objectives, "measured_median_ms", budget_ms)
    if row is None:
        return f"{begin} | | | NO | {tightened} | |"
    predictor, space = LatencyPredictor.load(run.predictor), hwnas.space("mobilenet")
    upper_ms = predictor.upper(space.encode([space.arch(json.loads(row.arch))]), "median")[0]
    before = row.metrics.get("accuracy_test_before", float("nan"))
    return (
        f"{begin} | {upper_ms:.4f} | {row.measured_median_ms:.4f} | yes | {tightened} | {100 * before:.1f} % | "
        f"{100 * row.accuracy_test:.1f} %"
    )


# ---- one search, in memory


def searched(
    space: SearchSpace,
    constraint: Constraint,
    chosen_penalty: Penalty,
    arguments: argparse.Namespace,
    *,
    seed: int = 0,
    name: str = "drnas",
) -> tuple[GradientSearch, list[Progress]]:
    """Returns a gradient search on digits after its last epoch, and its history."""
    data = load_data("digits", space.input_shape, outputs=space.classes, seed=0)
    torch.manual_seed(seed)
    search = GradientSearch(
        supernet=Supernet(space),
        relaxation=Relaxation(space, sampler(name), torch.Generator().manual_seed(seed)),
        data=data,
        task=Classification(),
        recipe=replace(BY_OPTIMIZER["sgd"], epochs=arguments.epochs),
        schedule=Schedule(warmup_epochs=3),
        penalty=chosen_penalty,
        constraints=[constraint],
        seed=seed,
        reporter=Silent(),
    )
    return search, search.run(Path(mkdtemp()) / "search.pt")


def probabilities_of(search: GradientSearch) -> dict[str, np.ndarray]:
    """Returns the probabilities of every choice's options."""
    return {name: p_K.detach().double().numpy() for name, p_K in search.relaxation.probabilities().items()}


def latency_constraint(predictor: LatencyPredictor, space: SearchSpace, bound_ms: float, statistic: str) -> Constraint:
    """Returns the constraint of a latency limit in a statistic."""
    constraint = Constraint.of(Limit(PredictedCost(predictor, statistic, "latency"), bound_ms), space)
    assert constraint is not None  # a latency is a sum of factors
    return constraint


def penalties(arguments: argparse.Namespace) -> None:
    """Prints the expected and derived latencies of penalties by their weight."""
    predictor, space = LatencyPredictor.load(predictor_of(arguments)), hwnas.space("mobilenet")
    largest_ms = float(predictor.upper(space.encode([space.largest()]), "median")[0])
    constraint = latency_constraint(predictor, space, 0.4 * largest_ms, "median")
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
            expected, derived = (", ".join(f"{ms:.4f}" for ms in values) for values in (expected_ms, derived_ms))
            print(f"| {name} | {weight:g} | {expected} | {np.mean(expected_ms):.4f} | {derived} |", flush=True)


# ---- selectors


def selectors(arguments: argparse.Namespace) -> None:
    """Runs one search; the network that each selector derives from it gets the same final training."""
    shared = finished(gradient_request(arguments, latency_budget="50%"), arguments.out / "shared")
    print(
        "| selector | architecture | validation loss | test accuracy | measured median, ms | seconds to derive | to train |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in SELECTORS:
        out = arguments.out / name
        request = gradient_request(arguments, latency_budget="50%", selector=name)
        if not out.exists():
            share_search(shared, out, request)
        print(f"| {name} | {selector_line(finished(request, out))} |", flush=True)


def selector_line(run: RunFolder) -> str:
    """Returns the cells of a selector: its best network, and seconds without those of measuring."""
    if not run.front.exists():
        return "none within the budget | | | | |"
    row: FrontRow = named(read_front(run.front), read_goal(run).objectives)["best"]
    seconds = {stage: facts["seconds"] for stage, facts in run.read()["stages"].items()}
    return (
        f"{row.arch_id} | {row.loss_val:.4f} | {100 * row.accuracy_test:.1f} % | {row.measured_median_ms:.4f} | "
        f"{seconds['search']:.0f} | {seconds['final training']:.0f}"
    )


def share_search(source: RunFolder, target: Path, request: SearchRequest) -> None:
    """Makes a run that has the trained searches of another, and derives from them with its own selector."""
    (target / "searches").mkdir(parents=True)
    facts = source.read()
    for name in ("stages", "tightened"):
        facts.pop(name, None)
    RunFolder(target).write(facts | {"request": request.describe()})
    shutil.copyfile(source.predictor, RunFolder(target).predictor)
    for path in source.searches.glob("*.pt"):
        shutil.copyfile(path, target / "searches" / path.name)


# ---- devices


def devices(arguments: argparse.Namespace) -> None:
    """Searches for a network for each of two devices, and prints the latency of both on both."""
    if arguments.data is None:
        raise HwnasError("give the folder of the tables with --data or HWNAS_BENCH_DATA")
    table = fbnet(arguments.data)
    # Without skips: few published networks have many, so networks of mostly skips cannot be predicted.
    published = restricted(table.space, dropped=["*=skip"])
    space = restricted(hwnas.space("fbnet", resolution=32, classes=10, width=0.25), dropped=["*=skip"])
    order = np.random.default_rng(0).permutation(len(table.rows_NC))[:PUBLISHED]
    rows_NC = table.rows_NC[order]
    predictors, archs = {}, {}
    for device in DEVICES:
        measured = Measurements(isolated={}, rows_NC=rows_NC, networks_N=table.latency_ms[device][order])
        predictors[device] = fit(table.space, measured, {"device": device}).for_space(published)
    bound_ms = {device: between(published, predictor, SHARE) for device, predictor in predictors.items()}
    for device, predictor in predictors.items():
        factors = predictor.factors
        # The networks trained here are smaller, with the same choices; latencies are those of the published ones.
        constraint = Constraint(
            "latency", ExpectedCost(space.choices, factors), bound_ms[device], (factors, bound_ms[device])
        )
        search, _ = searched(space, constraint, penalty("budget"), arguments, name="gates")
        archs[device] = derive(space, log_scores(probabilities_of(search)), [constraint.limit])
    print(f"| searched for | {' | '.join(f'{device}, ms' for device in DEVICES)} |\n|---|{'---|' * len(DEVICES)}")
    for device, arch in archs.items():
        print(
            f"| {device} | {' | '.join(f'{predicted_ms(predictors[other], space, arch):.2f}' for other in DEVICES)} |"
        )


def between(space: SearchSpace, predictor: LatencyPredictor, share: float) -> float:
    """Returns the latency at a share of the way from the fastest to the slowest network, in milliseconds."""
    negated = [Factor(factor.name, factor.scope, -factor.values) for factor in predictor.factors]
    fastest_ms, slowest_ms = (
        predicted_ms(predictor, space, minimise(space.choices, factors)) for factors in (predictor.factors, negated)
    )
    return fastest_ms + share * (slowest_ms - fastest_ms)


def predicted_ms(predictor: LatencyPredictor, space: SearchSpace, arch: Arch) -> float:
    """Returns the predicted latency of an architecture, in milliseconds."""
    return float(predictor.predict_ms(space.encode([arch]))[0])


STEPS: Final = {"budgets": budgets, "penalties": penalties, "selectors": selectors, "devices": devices}


if __name__ == "__main__":
    main()
