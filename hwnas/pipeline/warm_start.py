"""A warm start: the networks of another run, or of a file, that a search begins with, and what is known of them.

Shapes: N architectures, C choices, D objectives.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.core.files import json_of, replace_file
from hwnas.core.operations import with_float32
from hwnas.core.precise import FLOAT32
from hwnas.core.space import SearchSpace
from hwnas.errors import ArchError, RunError
from hwnas.pipeline.architectures import architectures, lines_of
from hwnas.runs.database import SEARCH, Evaluation, RunDatabase
from hwnas.runs.folder import RunFolder
from hwnas.runs.objectives import read_goal
from hwnas.strategies.pareto import best
from hwnas.strategies.problem import Problem

# Networks of another run that are evaluated again, the best of those within the limits. 5, 10, 15 and 20: docs/log.md.
MOST: Final = 10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """Networks to begin a search with, best first; of a file in its order. `source` is the run or the file they are from.

    `made_with` says which weights and data their metrics hold for (`weights_of`); None for architectures alone.
    """

    source: str
    evaluations: tuple[Evaluation, ...]
    is_run: bool
    made_with: Mapping[str, Any] | None = None

    @classmethod
    def gathered(cls, source: str, space: SearchSpace) -> Self:
        """Reads a run or a file. Raises RunError for a source without networks, ArchError for networks of another space."""
        path = Path(source)
        if path.is_dir():
            return cls._of_run(RunFolder(path), space)
        if not path.is_file():
            raise RunError(
                f"--warm-start {source}: no such run or file; give the folder of a search, or a file with one JSON object of "
                "option by choice name per line"
            )
        try:
            archs = {arch.id: arch for arch in architectures(space, lines_of(path, "--warm-start"))}
        except ArchError as error:
            raise ArchError(f"--warm-start {source}: {error}") from None
        if not archs:
            raise RunError(
                f"--warm-start {source}: has no architecture; write one JSON object of option by choice name per line"
            )
        return cls(source=source, evaluations=tuple(Evaluation(arch, (), {}) for arch in archs.values()), is_run=False)

    @classmethod
    def _of_run(cls, run: RunFolder, space: SearchSpace) -> Self:
        run.read()
        known: dict[str, Evaluation] = {}
        if run.database.is_file():
            with closing(RunDatabase.existing(run.database)) as database:
                known, costs = database.evaluations(SEARCH), database.costs()
        if not known:
            raise RunError(
                f"--warm-start {run.path}: no network was evaluated there; give a run of `hwnas search`, or leave it out"
            )
        try:
            checked = [_in_space(one, space) for one in known.values()]
        except ArchError as error:
            raise ArchError(
                f"--warm-start {run.path}: its networks are not of this space: {error}; search the space of that run, with "
                "the same --space-option, --precisions, --vary, --fix, --drop and --tie"
            ) from None
        order_N = best(_points(run, known, costs), len(known))
        best_first = tuple(checked[number] for number in order_N)
        return cls(source=str(run.path), evaluations=best_first, is_run=True, made_with=weights_of(run))

    def holds_for(self, run: RunFolder, stages: tuple[str, ...], metrics: Collection[str]) -> bool:
        """Returns True where these metrics are known of every network, and a run's own weights, by these stages, give them."""
        is_alike = self.made_with is not None and self.made_with == weights_of(run)
        return is_alike and all(one.stages == stages and one.metrics.keys() >= set(metrics) for one in self.evaluations)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the copy in a run folder. Raises RunError where it is damaged."""
        try:
            facts = json_of(path.read_bytes())
            evaluations = tuple(
                Evaluation(
                    Arch(one["arch"]), tuple(one["stages"]), {name: float(v) for name, v in one["metrics"].items()}
                )
                for one in facts["evaluations"]
            )
            return cls(
                source=facts["source"],
                evaluations=evaluations,
                is_run=facts["is_run"],
                made_with=facts["made_with"],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path}: damaged ({error}); start again under another --out") from None

    def save(self, path: Path) -> None:
        """Writes the copy that a run keeps."""
        facts = {"source": self.source, "is_run": self.is_run, "made_with": self.made_with}
        evaluations = [
            {"arch": dict(one.arch), "stages": list(one.stages), "metrics": dict(one.metrics)}
            for one in self.evaluations
        ]
        replace_file(path, json.dumps(facts | {"evaluations": evaluations}) + "\n")


@final
@dataclass(frozen=True, slots=True, eq=False)
class GivenRows:
    """Rows (N, C) to begin a search with, best first, and how many of them at most."""

    rows_NC: IntArray
    most: int

    def within(self, problem: Problem) -> IntArray:
        """Returns the rows to begin with that are within the limits of a problem; shape (at most N, C)."""
        return self.rows_NC[problem.violation(self.rows_NC) <= 0][: self.most]


def _in_space(evaluation: Evaluation, space: SearchSpace) -> Evaluation:
    """Returns an evaluation as one of a space that may have precisions which the space of its run lacks (`with_float32`).

    Its metrics hold for float32 alone, so they are left out where a block cannot be float32. Raises ArchError.
    """
    options = with_float32(space, evaluation.arch)
    holds = all(options[name] == FLOAT32 for name in options.keys() - evaluation.arch.keys())
    return Evaluation(space.arch(options), *((evaluation.stages, evaluation.metrics) if holds else ((), {})))


def weights_of(run: RunFolder) -> dict[str, Any] | None:
    """Returns all that the metrics of a supernet's network depend on; None where the run has no supernet.

    Two runs for which it is equal have the same metrics for the same network.
    """
    if not run.supernet.is_file():
        return None
    facts = run.read()
    request = facts["request"]
    return {
        "supernet": hashlib.blake2s(run.supernet.read_bytes()).hexdigest(),
        "data": facts.get("data", {}).get("digest"),
        "task": request.get("data", {}).get("task"),
        "class_weights": request.get("training", {}).get("class_weights"),
        "seed": request.get("seed"),
    }


def _points(run: RunFolder, known: Mapping[str, Evaluation], costs: Mapping[str, Mapping[str, float]]) -> FloatArray:
    """Returns the objectives of a run's networks, all to be minimised, infinite where one is not known; shape (N, D)."""
    columns = []
    for objective in read_goal(run).objectives:
        sign = -1.0 if objective.highest else 1.0
        values = [
            (one.metrics if objective.metric is not None else costs.get(arch_id, {})).get(objective.name, math.nan)
            for arch_id, one in known.items()
        ]
        columns.append(sign * np.array(values, dtype=np.float64))
    return np.nan_to_num(np.stack(columns, axis=1), nan=math.inf)
