"""A search, from a budget to measured models: begun, resumed, or gone on with by other options."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, Final

from hwnas.core.files import replace_file
from hwnas.core.reporter import Reporter, Silent
from hwnas.core.requests import flag
from hwnas.core.space import SearchSpace
from hwnas.data.given import as_npz
from hwnas.errors import HwnasError, RunError
from hwnas.notebook import NotebookReporter, in_notebook
from hwnas.pipeline.alteration import Alteration, alteration_back, alteration_of
from hwnas.pipeline.checked import CheckedRequest, check_sources, checked_request, data_facts
from hwnas.pipeline.fitting import fitted_to_data
from hwnas.pipeline.request import SearchRequest, refitted, reopened, search_request
from hwnas.pipeline.result import SearchResult
from hwnas.pipeline.stages import Stages
from hwnas.pipeline.tracking import check_trackers, tracked
from hwnas.runs.folder import (
    RunFolder,
    copy_run,
    create_run,
    data_beside,
    discard_new,
    folder_for,
    require_free,
)

# Options that make another space of the one that is given.
_OF_THE_SPACE: Final = frozenset({"fix", "drop", "tie", "precisions", "vary"})


def search(
    space: SearchSpace | str,
    data: Any,
    *,
    device: str | Sequence[str] | None = None,
    latency_budget: str | Sequence[str] | None = None,
    latency_budget_ms: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    **options: Any,
) -> SearchResult:
    """Searches a space for architectures that trade validation loss for latency, none over the budget when measured.

    `data` is a reference, as of `hwnas search`, or in memory: a pair of arrays, a torch Dataset, an iterable of batches, or a
    mapping of splits to these (`data/given.py`); these are kept as OUT.npz beside the run. `latency_budget` is `"0.4ms"`, or a
    share of the largest network, `"60%"`; `latency_budget_ms` is a number. `options` are those of `hwnas search`, with
    underscores: `epochs=5`, `strategy="gradient"`, `objectives="loss,params"`. The budget is judged on the median by default. A
    shipped device's name (`hwnas devices`) is searched for by its predictor: then nothing is measured, and the budget is held
    against the upper ends of intervals.

    The number of classes is that of the data where `space` is a name and `space_options` has none.

    Without `out`, the run is in `runs/search`, or in `runs/search-2` and so on where there is one already. With `resume` the run
    at `out`, or the last of these, goes on, by other options where these may change (`docs/objectives.md`); where there is none,
    it is started. Progress is shown in a terminal and in a notebook; `reporter` shows it elsewhere, or is `Silent()`.

    Raises HwnasError; BudgetError where the budget cannot be met.
    """
    if isinstance(latency_budget, Real):
        raise HwnasError(
            f"--latency-budget {latency_budget} has no unit; write '{latency_budget}ms', or latency_budget_ms={latency_budget}"
        )
    given = {"device": device, "latency_budget": _joined(latency_budget)}
    if latency_budget_ms is not None:
        given["latency_budget"] = f"{latency_budget_ms}ms"
    options = {**options, **{name: value for name, value in given.items() if value is not None}}
    if "objectives" in options:
        options["objectives"] = _joined(options["objectives"])
    if isinstance(space, str):
        options["space"] = space
    else:
        options |= {"space": space.reference, "space_options": space.options}
    if latency_budget is not None and latency_budget_ms is not None:
        raise HwnasError("--latency-budget and latency_budget_ms exclude each other; give one of the two")
    with folder_for(None if out is None else Path(out), resume) as path:
        return _found(space, data, path, resume, reporter or usual_reporter(), options)


def _found(
    space: SearchSpace | str,
    data: Any,
    out: Path,
    resume: bool,
    reporter: Reporter,
    options: Mapping[str, Any],
) -> SearchResult:
    """Returns the result of the search at `out`, which begins, or with `resume` goes on where there is a run."""
    if resume and RunFolder(out).json.exists():
        return _gone_on(space, data, out, reporter, options)
    require_free(out)
    with _reference(data, out) as reference:
        request = search_request({**options, "data": reference})
        if isinstance(space, str):
            request = fitted_to_data(request)
            return start(request, request.space.load(), out, reporter)
        return start(request, request.space.restrict(space), out, reporter)


def _gone_on(
    space: SearchSpace | str, data: Any, out: Path, reporter: Reporter, options: Mapping[str, Any]
) -> SearchResult:
    """Goes on with the run at `out`. Raises RunError where it is of another space, or of other data."""
    made, altered = RunFolder(out).read()["space"]["fingerprint"], _OF_THE_SPACE & set(options)
    if not isinstance(space, str) and not altered and space.fingerprint != made:
        raise RunError(f"{out} was started with another space than this {space.name}; give that, or another --out")
    with _reference(data, out) as reference:
        return resume(out, reporter, {**options, "data": reference})


@contextmanager
def _reference(data: Any, out: Path) -> Iterator[str]:
    """Gives the reference of data; data in memory are written beside the run, and removed again where no run is begun.

    Raises RunError where the file holds other data.
    """
    if isinstance(data, str | Path):
        yield str(data)
        return
    path, content = data_beside(out), as_npz(data)
    if not path.exists():
        replace_file(path, content)
    elif path.read_bytes() != content:
        raise RunError(
            f"{path}: holds other data than these, or the same in another order, as a shuffled DataLoader gives; go on with "
            f"--data npz:{path}, or give another --out"
        )
    try:
        yield f"npz:{path}"
    finally:
        if not RunFolder(out).json.exists():
            path.unlink(missing_ok=True)


def _joined(texts: str | Sequence[str] | None) -> str | None:
    return texts if texts is None or isinstance(texts, str) else ",".join(texts)


def usual_reporter() -> Reporter:
    """Returns the reporter of a notebook, or of a terminal, or one that shows nothing where neither would be read."""
    if in_notebook():
        return NotebookReporter()
    if sys.stderr is None or not sys.stderr.isatty():
        return Silent()
    from hwnas.terminal import TerminalReporter  # rich takes a while to import

    return TerminalReporter()


def start(request: SearchRequest, space: SearchSpace, out: Path, reporter: Reporter) -> SearchResult:
    """Starts a new run. What can be refused is refused before the folder is made."""
    require_free(out)
    checked = checked_request(request, space)
    check_sources(checked)
    check_trackers(request)
    devices = [target.describe() for target in checked.targets]
    for note in space.notes:
        reporter.note(note)
    facts = data_facts(checked.data, reporter)
    is_new = not out.exists()
    run = create_run(out, request.describe(), space.describe(), facts, title=request.title, devices=devices)
    try:
        return _finished(run, checked, reporter)
    except HwnasError:
        # What was measured serves a later request (`--resume`); a request that was refused before leaves nothing.
        if "goal" not in run.read() and not any(run.path.glob("table*.jsonl")):
            discard_new(run, is_new)
        raise


def resume(out: Path, reporter: Reporter, options: Mapping[str, Any], *, back: bool = False) -> SearchResult:
    """Goes on with a run, as it was asked for, or by options for more: evaluations, other budgets, limits, objectives, devices
    or final training. What was trained, evaluated and measured stays.

    With `back` it goes on by the request that it had before. Raises RunError for options that trained weights depend on, and
    that differ from those the run was started with.
    """
    run, before, space = reopened(out, options)
    options = refitted(options, before)
    if back and options:
        raise RunError(f"--back goes on as before, without other options; leave out {flag(next(iter(options)))}")
    alteration = alteration_back(run, before) if back else alteration_of(run, before, options)
    checked = checked_request(alteration.after, space, run)
    check_trackers(alteration.after)
    if not alteration.changes_the_search:
        return _finished(run, checked, reporter)
    alteration.require_useful(checked.sources, out)
    check_sources(checked)
    reporter.note(f"going on with {out}: {alteration.words()}")
    return _finished(run, checked, reporter, alteration)


def _finished(
    run: RunFolder, checked: CheckedRequest, reporter: Reporter, alteration: Alteration | None = None
) -> SearchResult:
    """Returns the result of all stages, whose numbers go to the trackers of the request."""
    with tracked(checked.request, run, reporter) as reporter:
        return Stages(run, checked, reporter, alteration).finish()


def branch(source: Path, out: Path, reporter: Reporter, options: Mapping[str, Any]) -> SearchResult:
    """Goes on with a copy of a run, at `out`, by options that may differ as in `resume`; the run itself stays as it is.

    Called again, it goes on with the copy that is there.
    """
    run, before, _ = reopened(source, options)
    alteration_of(run, before, refitted(options, before))
    copy = RunFolder(out)
    if not copy.json.exists() or copy.read().get("copy_of") != str(source.resolve()):
        copy_run(run, out)
    return resume(out, reporter, options)
