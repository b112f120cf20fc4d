"""A search begins with the networks of another run, or of a file, and needs neither again."""

import json
import shutil
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.arch import Arch
from hwnas.core.operations import drop, fix, precision_choices
from hwnas.core.precise import Precise
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, HwnasError, RunError
from hwnas.pipeline.evaluations import Evaluations
from hwnas.pipeline.search import branch, resume, search
from hwnas.pipeline.warm_start import MOST, WarmStart
from hwnas.predict.predictor import LatencyPredictor
from hwnas.runs.database import Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.front import read_front
from hwnas.spaces import with_precisions
from hwnas.strategies.pareto import non_dominated

QUICK: dict[str, Any] = {"device": ("board",), "limit_images": 128, "epochs": 1, "evaluations": 24, "final": "none"}


def evaluated(run: RunFolder) -> dict[str, Evaluation]:
    with closing(RunDatabase(run.database)) as database:
        return database.evaluations()


@pytest.fixture
def earlier(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A random search, which is made once, and copied for each test."""
    made = tmp_path_factory.getbasetemp() / "earlier"
    if not made.exists():
        search(small_space, "digits", out=made, strategy="random", **QUICK)
    return RunFolder(Path(shutil.copytree(made, tmp_path / "earlier")))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the networks that supernets have scored since, in order."""
    scored: list[str] = []
    evaluate = Evaluations._evaluate

    def noted(evaluations: Evaluations, archs: list[Arch], evaluator: Any) -> None:
        scored.extend(arch.id for arch in archs)
        evaluate(evaluations, archs, evaluator)

    monkeypatch.setattr(Evaluations, "_evaluate", noted)
    return scored


@pytest.mark.parametrize("strategy", ["surrogate", "nsga2", "random"])
def test_the_best_networks_of_another_run_are_evaluated_first_on_this_runs_weights(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path, strategy: str
) -> None:
    options = QUICK | {"strategy": strategy, "seed": 1, "warm_start": earlier.path}
    known, mine = evaluated(earlier), evaluated(search(small_space, "digits", out=tmp_path / "run", **options).run)
    first = list(mine)[:MOST]
    front = {row.arch_id for row in read_front(earlier.front)}
    assert set(first) <= known.keys() and (front <= set(first) or len(front) > MOST)
    assert front.isdisjoint(first[len(front) :])
    assert len(mine) > MOST and any(mine[arch_id].metrics != known[arch_id].metrics for arch_id in first)


def test_best_first_means_that_no_later_network_dominates_an_earlier_one(
    small_space: SearchSpace, earlier: RunFolder
) -> None:
    warm = WarmStart.gathered(str(earlier.path), small_space)
    assert len(warm.evaluations) == 24
    with closing(RunDatabase(earlier.database)) as database:
        costs = database.costs()
    points_ND = np.array([[one.metrics["loss"], costs[one.arch.id]["latency"]] for one in warm.evaluations])
    front_N = non_dominated(points_ND)
    assert front_N[: front_N.sum()].all()


def test_evaluations_on_the_same_weights_hold_and_cost_nothing(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path, trained: list[str]
) -> None:
    known = evaluated(earlier)
    options = QUICK | {"supernet": earlier.path, "strategy": "surrogate", "evaluations": 6}
    result = search(small_space, "digits", out=tmp_path / "run", warm_start=earlier.path, **options)
    mine = evaluated(result.run)
    assert len(trained) == 6 and known.keys().isdisjoint(trained)
    assert set(mine) == {*known, *trained}
    assert all(mine[arch_id].metrics == one.metrics for arch_id, one in known.items())
    again = search(small_space, "digits", out=tmp_path / "again", **options | {"strategy": "random", "evaluations": 24})
    assert {arch_id: one.metrics for arch_id, one in evaluated(again.run).items()} == {
        arch_id: one.metrics for arch_id, one in known.items()
    }


@pytest.mark.parametrize(("strategy", "shared", "kept"), [("surrogate", False, (3, 22)), ("evolution", True, (0, 3))])
def test_a_killed_search_goes_on_without_the_other_run_and_comes_to_the_same_result(
    small_space: SearchSpace,
    earlier: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    shared: bool,
    kept: tuple[int, ...],
) -> None:
    options = QUICK | {"strategy": strategy, "warm_start": earlier.path, "evaluations": 26}
    options |= {"supernet": earlier.path} if shared else {"seed": 1}
    whole = search(small_space, "digits", out=tmp_path / "whole", **options)
    add, added = RunDatabase.add_evaluations, 0

    def killed(database: RunDatabase, phase: str, evaluations: Iterable[Evaluation]) -> None:
        nonlocal added
        added += 1
        if added > allowed:
            raise KeyboardInterrupt
        add(database, phase, evaluations)

    for allowed in kept:
        added, out = 0, tmp_path / f"killed{allowed}"
        monkeypatch.setattr(RunDatabase, "add_evaluations", killed)
        try:
            search(small_space, "digits", out=out, **options)
        except KeyboardInterrupt:
            pass
        finally:
            monkeypatch.setattr(RunDatabase, "add_evaluations", add)
        moved = shutil.move(earlier.path, tmp_path / "elsewhere")
        result = resume(out, Silent(), {})
        shutil.move(moved, earlier.path)
        assert list(evaluated(result.run)) == list(evaluated(whole.run))
        assert evaluated(result.run) == evaluated(whole.run)
        assert [row.arch_id for row in result.front] == [row.arch_id for row in whole.front]


def test_a_longer_search_begins_with_the_same_and_so_does_a_copy(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path
) -> None:
    options = QUICK | {"strategy": "surrogate", "seed": 1, "warm_start": str(earlier.path), "evaluations": 4}
    short = search(small_space, "digits", out=tmp_path / "run", **options)
    whole = search(small_space, "digits", out=tmp_path / "whole", **options | {"evaluations": 8})
    shutil.rmtree(earlier.path)
    copy = branch(short.run.path, tmp_path / "copy", Silent(), {"evaluations": 8})
    assert list(evaluated(copy.run)) == list(evaluated(whole.run)) and len(evaluated(copy.run)) == MOST + 8
    assert list(evaluated(short.run)) == list(evaluated(whole.run))[: MOST + 4]


def test_networks_beyond_the_limits_are_left_out_for_the_next_best(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path
) -> None:
    warm = WarmStart.gathered(str(earlier.path), small_space)
    archs = [one.arch for one in warm.evaluations]
    params_N = small_space.costs("params", small_space.encode(archs))
    most = int(np.median(params_N))
    options = QUICK | {"strategy": "random", "seed": 1, "warm_start": earlier.path, "max_params": float(most)}
    result = search(small_space, "digits", out=tmp_path / "run", **options)
    within = [arch.id for arch, params in zip(archs, params_N, strict=True) if params <= most]
    assert list(evaluated(result.run))[:MOST] == within[:MOST] and len(within) >= MOST


def test_a_file_of_architectures_is_evaluated_in_its_order_and_not_needed_again(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    archs = [small_space.decode(row_C) for row_C in small_space.sample_rows(np.random.default_rng(5), MOST + 5)]
    assert len({arch.id for arch in archs}) == len(archs)
    file = tmp_path / "archs.jsonl"
    file.write_text("\n".join([*(arch.key for arch in archs), "", archs[0].key]) + "\n")
    options = QUICK | {"strategy": "evolution", "warm_start": file, "evaluations": 30}
    run = search(small_space, "digits", out=tmp_path / "run", **options).run
    file.unlink()
    assert list(evaluated(run))[: len(archs)] == [arch.id for arch in archs]
    assert resume(run.path, Silent(), {}).front
    tighter = resume(run.path, Silent(), {"latency_budget": "90%"})
    assert tighter.front and all(row.within_budget for row in tighter.front)


def test_networks_of_a_float32_run_are_float32_where_blocks_have_precisions(
    small_space: SearchSpace, earlier: RunFolder
) -> None:
    """Their metrics hold, unless a block must be int8; beside other precisions the options are those of the run."""
    plain = WarmStart.gathered(str(earlier.path), small_space).evaluations
    space = with_precisions(small_space, ("int8", "fp32"))
    given = WarmStart.gathered(str(earlier.path), space).evaluations
    assert len(given) == len(plain) == 24
    precise = precision_choices(space).values()
    for one, own in zip(given, plain, strict=True):
        assert (one.stages, one.metrics) == (own.stages, own.metrics)
        assert {name: option for name, option in one.arch.items() if name not in precise} == dict(own.arch)
        operators = [layer.operator(one.arch) for layer in space.layers]
        assert not any(isinstance(operator, Precise) for operator in operators)
    quantised = WarmStart.gathered(str(earlier.path), fix(space, "stem.precision", "int8")).evaluations
    assert all(one.arch["stem.precision"] == "int8" and not one.metrics and not one.stages for one in quantised)


def refused(space: SearchSpace, out: Path, source: Path | str) -> str:
    with pytest.raises(HwnasError) as caught:
        search(space, "digits", out=out, strategy="random", **QUICK | {"warm_start": source})
    assert not out.exists()
    return str(caught.value)


def test_a_source_that_gives_no_networks_is_refused_before_anything_is_made(
    small_space: SearchSpace, board: LatencyPredictor, tmp_path: Path
) -> None:
    out, empty, folder = tmp_path / "out", tmp_path / "empty.jsonl", tmp_path / "folder"
    empty.write_text("\n")
    folder.mkdir()
    assert "nowhere: no such run or file; give the folder of a search, or a file" in refused(
        small_space, out, "nowhere"
    )
    assert "has no architecture; write one JSON object" in refused(small_space, out, empty)
    assert "no run there (no run.json)" in refused(small_space, out, folder)
    empty.write_text('{"stage1.depth": 1}\n')
    assert "empty.jsonl: architecture 1: the architecture does not set 'stage1.width'" in refused(
        small_space, out, empty
    )
    empty.write_text("[1, 2]\n")
    assert "architecture 1: [1, 2] is not a JSON object of option by choice name" in refused(small_space, out, empty)


def test_a_run_of_another_space_is_refused_with_what_differs(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path
) -> None:
    smaller = drop(small_space, "stage1.*.kernel", 5)
    message = refused(smaller, tmp_path / "out", earlier.path)
    assert "its networks are not of this space: 'stage1.block1.kernel' cannot be 5; options: (3,)" in message
    assert "search the space of that run, with the same --space-option, --precisions, --vary, --fix" in message
    with pytest.raises(ArchError):
        WarmStart.gathered(str(earlier.path), smaller)


def test_a_run_without_evaluated_networks_is_refused(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path
) -> None:
    earlier.database.unlink()
    message = refused(small_space, tmp_path / "out", earlier.path)
    assert "no network was evaluated there; give a run of `hwnas search`, or leave it out" in message


def test_a_strategy_with_weights_of_its_own_has_no_warm_start(small_space: SearchSpace, tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="--warm-start needs a supernet that networks share, and --strategy gradient"):
        search(small_space, "digits", strategy="gradient", scheme="joint", warm_start="x", out=tmp_path / "run")


def test_a_run_that_goes_on_cannot_be_given_another_start(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"was started with --warm-start none, not .*; leave it out, or start anew"):
        resume(earlier.path, Silent(), {"warm_start": str(tmp_path / "other")})


def test_a_run_from_before_warm_starts_goes_on(earlier: RunFolder) -> None:
    facts = earlier.read()
    del facts["request"]["start"]
    earlier.write(facts)
    assert resume(earlier.path, Silent(), {}).front == tuple(read_front(earlier.front))


def test_a_damaged_copy_is_refused_with_what_to_do(
    small_space: SearchSpace, earlier: RunFolder, tmp_path: Path
) -> None:
    options = QUICK | {"strategy": "random", "warm_start": earlier.path, "seed": 1}
    run = search(small_space, "digits", out=tmp_path / "run", **options).run
    run.warm_start.write_text(json.dumps({"source": "x"}))
    with pytest.raises(RunError, match=r"warm_start.json: damaged \('evaluations'\); start again under another --out"):
        resume(run.path, Silent(), {})
