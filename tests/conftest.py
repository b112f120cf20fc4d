"""What tests of all folders share: small spaces, a strategy that draws spaces, and independent counts."""

import importlib.util
import math
import os
import signal
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from hypothesis import strategies as st

import hwnas
from hwnas.core.choice import Choice, Condition, Option
from hwnas.core.layer import Layer
from hwnas.core.operations import drop, fix
from hwnas.core.operator import Operator, OperatorCost, Shape
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.predict.predictor import LatencyPredictor
from hwnas.predict.shipped import own_folder, predictor_path
from hwnas.profiler.device import conditions_here
from hwnas.profiler.protocol import Protocol
from hwnas.runs.database import Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder, create_run
from hwnas.runs.front import DeviceLatency, FrontRow, write_front
from hwnas.strategies.pareto import non_dominated

# Two workers of two threads each are slower on two cores than two of one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests and the processes that they start leave the user's own trust list alone.
_TRUST = tempfile.TemporaryDirectory(prefix="hwnas-trust-")
os.environ["HWNAS_TRUST"] = str(Path(_TRUST.name) / "trusted.jsonl")
# Shells start background jobs with interruptions ignored, and processes inherit that; some tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("hwnas", deadline=None)  # machines differ; a law does not fail for being slow
settings.load_profile("hwnas")
# Measures in milliseconds, and takes every row for converged: for tests of what is done with a table, not of times.
QUICK = Protocol(rounds=3, most_rounds=3, burst_ms=0.5, warmup_ms=0.5, unconverged=10.0)


@pytest.fixture(scope="session", autouse=True)
def busy_machine() -> Iterator[None]:
    """Tests run beside one another, so nothing waits for a machine that was faster before; `Machine`s are waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.profiler.measure.WORTH_WAITING", math.inf)
        patch.setattr("hwnas.profiler.measure.MUCH_SLOWER", math.inf)
        patch.setattr("hwnas.pipeline.timing.DRIFT", math.inf)
        yield


# Folders whose files search and train, longest first: what begins first leaves no worker waiting for another at the end.
LONG_FOLDERS = ("faults", "pipeline", "cli", "conformance", "strategies", "train", "predict", "profiler")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses slow marks without a reason, and puts the tests that take longest first.

    `scripts/check` distributes files, so that the fixtures of a file are made once. (Groups of pytest-xdist 3.8 have no effect
    under pytest 9.2.)
    """
    for item in items:
        slow = item.get_closest_marker("slow")
        if slow is not None and not slow.kwargs.get("reason"):
            raise pytest.UsageError(f'{item.nodeid}: say why it is slow: @pytest.mark.slow(reason="...")')
    items.sort(key=turn)


def turn(item: pytest.Item) -> tuple[bool, int, str]:
    """Orders tests: slow ones, then those of the folders that take longest, by subject where they have one; then all others."""
    folders = item.location[0].split("/")
    rank = next((n for n, folder in enumerate(LONG_FOLDERS) if folder in folders[:2]), len(LONG_FOLDERS))
    subject = (
        item.callspec.params.get("subject", "")
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ""
    )
    return item.get_closest_marker("slow") is None, rank, subject if isinstance(subject, str) else ""


EveryRow = Callable[[SearchSpace], np.ndarray]


@pytest.fixture(scope="session")
def tiny_space() -> SearchSpace:
    """A MobileNet space whose networks run in a millisecond; one of its choices has a single option."""
    return hwnas.space("mobilenet", resolution=16, width=0.5)


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """A MobileNet space of 34 operators, where `mobilenet` has 156: it is profiled in seconds and has 160,000 networks."""
    space = hwnas.space("mobilenet", resolution=16, width=0.25)
    for pattern, option in (("*.kernel", 7), ("*.expansion", 6), ("*.depth", 3)):
        space = drop(space, pattern, option)
    for name, width in (("stage2.width", 8), ("stage3.width", 16), ("stage4.width", 24)):
        space = fix(space, name, width)
    return space


@pytest.fixture(scope="session")
def small_table(small_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A real table of `small_space` on one thread of this CPU, by a quick protocol, measured once for all workers.

    Tests only read it: whoever adds rows copies it first.
    """
    from hwnas.profiler.profile import Profiling, profile  # loads torch, which most folders need not

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    path = shared / "small_table.jsonl"
    with FileLock(shared / "small_table.lock"):
        if not path.exists():
            unfinished = shared / "unfinished.jsonl"
            profile(
                Profiling(space=small_space, conditions=conditions_here("cpu"), path=unfinished, protocol=QUICK),
                networks=10,
            )
            unfinished.rename(path)
    return path


@pytest.fixture(scope="session")
def small_predictor(small_space: SearchSpace, small_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a predictor fitted to `small_table`."""
    from hwnas.pipeline.predict import fit_table  # loads torch

    path = tmp_path_factory.mktemp("small") / "predictor.json"
    fit_table(small_table, small_space).save(path)
    return path


@pytest.fixture(scope="session")
def made_run() -> Callable[..., RunFolder]:
    """Makes the folder of a run whose networks were drawn: their costs are those of a shipped predictor and of the space, their
    metrics and measurements are drawn, too. Nothing is trained, so that thousands of networks take seconds."""
    return _made_run


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The folder of published benchmark tables."""
    folder = os.environ.get("HWNAS_BENCH_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HWNAS_BENCH_DATA names no folder: the published benchmark tables are not here")
    return Path(folder)


@pytest.fixture(scope="session")
def every_row() -> EveryRow:
    """All normalised rows of a small space, each once, by enumeration of every combination of options."""

    def rows(space: SearchSpace) -> np.ndarray:
        sizes = [len(choice.options) for choice in space.choices]
        return np.unique(space.normalise(np.indices(sizes).reshape(len(sizes), -1).T), axis=0)

    return rows


@pytest.fixture(scope="session")
def spaces() -> st.SearchStrategy[SearchSpace]:
    """Spaces of up to five choices and 1,024 combinations, options of mixed types, conditions of conditions."""
    return _spaces()


@pytest.fixture(scope="session")
def tied_spaces() -> st.SearchStrategy[SearchSpace]:
    """The same, and some choices tied to others."""
    return _spaces(ties=True)


@pytest.fixture(scope="session")
def measured_cost() -> Callable[..., OperatorCost]:
    """What a built module really costs: FLOPs of one run, as torch counts them, and the numbers it holds."""
    return _measured_cost


@pytest.fixture(scope="session")
def measured_peak() -> Callable[..., int]:
    """The most bytes a built module really has alive: every torch operation of one run, and who reads its result."""
    return _measured_peak


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy(Operator):
    """An operator without a module: a number of weights."""

    kind: ClassVar[str] = "toy"
    module: ClassVar[str] = ""

    weights: int

    @property
    def output_shape(self) -> Shape:
        return self.input_shape

    def cost(self) -> OperatorCost:
        return OperatorCost(2 * self.weights, self.weights, self.weights % 7)


@dataclass(frozen=True)
class Toys:
    """Decides a layer by one choice and an always-on neighbour: a toy where the choice is on, nothing where it is off."""

    choice: Choice
    neighbour: str

    def __call__(self, options: Mapping[str, Option]) -> Operator | None:
        if not is_on(self.choice.when, options):
            return None
        decided_by = repr((self.choice.name, options[self.choice.name], options[self.neighbour]))
        return Toy(input_shape=(1,), weights=zlib.crc32(decided_by.encode()) % 1000)


def is_on(when: Condition, options: Mapping[str, Option]) -> bool:
    """A condition as its definition reads, on options by name."""
    return not when or any(all(options[name] in allowed for name, allowed in clause) for clause in when)


OPTIONS = st.one_of(
    st.integers(-5, 5), st.floats(-5, 5), st.booleans(), st.text("3abé \"'", max_size=3), st.sampled_from(["0", "1"])
)


@st.composite
def _spaces(draw: st.DrawFn, ties: bool = False) -> SearchSpace:
    choices: list[Choice] = []
    for number in range(draw(st.integers(1, 5))):
        leaders = [choice for choice in choices if not choice.when and not choice.tied_to]
        leader = draw(st.sampled_from([None, *leaders])) if ties else None
        options = leader.options if leader else draw(st.lists(OPTIONS, min_size=1, max_size=4, unique=True))
        clauses = [draw(_clauses(choices)) for _ in range(draw(st.integers(0, 2)))] if choices else []
        when = tuple(clause for clause in clauses if clause)
        choices.append(Choice(f"choice{number}", tuple(options), when, leader.name if leader else ""))
    layers = []
    for choice in choices:
        named = [name for clause in choice.when for name, _ in clause]
        scope = dict.fromkeys([*named, choices[0].name, choice.name])
        layers.append(Layer(f"layer.{choice.name}", tuple(scope), Toys(choice, choices[0].name)))
    return SearchSpace("drawn", tuple(choices), Chain(tuple(layers)), (1,), 1)


@st.composite
def _clauses(draw: st.DrawFn, earlier: list[Choice]) -> tuple[tuple[str, tuple[Option, ...]], ...]:
    """A clause that names one or two earlier choices, and with a conditional one whatever switches that on."""
    clause: dict[str, tuple[Option, ...]] = {}
    for choice in draw(
        st.lists(st.sampled_from(earlier), min_size=1, max_size=2, unique_by=lambda choice: choice.name)
    ):
        literals = [(choice.name, tuple(draw(st.sets(st.sampled_from(choice.options), min_size=1))))]
        literals += draw(st.sampled_from(choice.when)) if choice.when else []
        joined = dict(clause)
        for name, options in literals:
            joined[name] = tuple(option for option in options if option in joined.get(name, options))
        if all(joined.values()):
            clause = joined
    return tuple(clause.items())


def _measured_cost(module: Any, input_shape: Shape, vocabulary: int | None = None) -> OperatorCost:
    from hwnas.modules.counting import counts

    return counts(module, input_shape, vocabulary).cost


def _measured_peak(module: Any, input_shape: Shape, vocabulary: int | None = None) -> int:
    from hwnas.modules.counting import counts

    return counts(module, input_shape, vocabulary).peak_bytes


@pytest.fixture(scope="session")
def prepare_image() -> ModuleType:
    """The example that prepares a photo for an exported model."""
    path = Path(__file__).parents[1] / "scripts/examples/prepare_image.py"
    spec = importlib.util.spec_from_file_location("prepare_image", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _made_run(path: Path, evaluated: int = 60, *, final: bool = False) -> RunFolder:
    space, rng = hwnas.space("mobilenet"), np.random.default_rng(0)
    predictor = LatencyPredictor.load(
        predictor_path(own_folder(Path(hwnas.__file__).parent), "amd-epyc", "mobilenet")
    ).for_space(space)
    rows_NC = np.unique(space.sample_rows(rng, evaluated), axis=0)
    latency_N, params_N = predictor.predict(rows_NC), space.costs("params", rows_NC)
    loss_N = 0.3 + 0.02 / latency_N * rng.uniform(1, 2, len(rows_NC))
    run = create_run(
        path, {"strategy": {"name": "random", "options": {"evaluations": evaluated}}, "seed": 3}, space.describe()
    )
    metrics = [
        {"name": "loss", "unit": "nats", "highest": False},
        {"name": "accuracy", "unit": "share", "highest": True},
    ]
    device = {"name": "amd-epyc", "conditions": dict(predictor.conditions)}
    goal = {"objectives": ["loss", "latency", "params"], "metrics": metrics, "budget_on": "median"}
    stages = {"search": {"seconds": 90.0, "peak_mib": 700.0}}
    run.write(run.read() | {"title": "mobilenet <drawn>", "goal": goal, "devices": [device], "stages": stages})
    predictor.save(run.predictor)
    evaluations = [
        Evaluation(space.decode(row_C), ("supernet",), {"loss": float(loss), "accuracy": float(1 - loss / 3)})
        for row_C, loss in zip(rows_NC, loss_N, strict=True)
    ]
    with closing(RunDatabase(run.database)) as database:
        database.add_evaluations("search", evaluations)
        database.add_costs(
            {
                one.arch.id: {"latency": float(latency), "params": float(params)}
                for one, latency, params in zip(evaluations, latency_N, params_N, strict=True)
            }
        )
    fronted = np.flatnonzero(non_dominated(np.stack([loss_N, latency_N, params_N], axis=1)))[:12]
    write_front(
        run.front,
        [
            _front_row(
                evaluations[at],
                float(latency_N[at]),
                float(params_N[at]),
                predictor.interval,
                float(rng.normal(1, 0.02)),
                final,
            )
            for at in fronted
        ],
    )
    return run


def _front_row(
    evaluation: Evaluation, predicted_ms: float, params: float, interval: tuple[float, float], off: float, final: bool
) -> FrontRow:
    measured_ms, metrics = predicted_ms * off, evaluation.metrics
    before = {f"{name}_val_before": value for name, value in metrics.items()} if final else {}
    return FrontRow(
        arch_id=evaluation.arch.id,
        arch=evaluation.arch.key,
        stages="supernet",
        metrics={
            "loss_val": metrics["loss"],
            "accuracy_val": metrics["accuracy"],
            "accuracy_test": metrics["accuracy"] - 0.01,
            **before,
        },
        latencies=(
            DeviceLatency(
                device="amd-epyc",
                predicted_ms=predicted_ms,
                interval_low_ms=predicted_ms * interval[0],
                interval_high_ms=predicted_ms * interval[1],
                measured_ms=measured_ms,
                measured_median_ms=1.01 * measured_ms,
                measured_p90_ms=1.1 * measured_ms,
                within_budget=1.01 * measured_ms <= 0.15,
                budget_ms=0.15,
            ),
        ),
        costs={"params": params},
        onnx=f"models/{evaluation.arch.id}.onnx",
    )
