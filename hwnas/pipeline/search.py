"""A search, from a budget to measured models: begun, resumed, or gone on with by other options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.core.reporter import Reporter, Silent
from hwnas.core.requests import flag
from hwnas.core.space import SearchSpace
from hwnas.errors import HwnasError, RunError
from hwnas.pipeline.alteration import alteration_back, alteration_of
from hwnas.pipeline.checked import check_sources, checked_request, data_facts
from hwnas.pipeline.request import SearchRequest, reopened, search_request
from hwnas.pipeline.stages import SearchResult, Stages
from hwnas.runs.folder import RunFolder, copy_run, create_run, discard_new, new_path, require_free


def search(
    space: SearchSpace | str,
    data: str,
    *,
    device: str | Sequence[str] | None = None,
    latency_budget_ms: float | None = None,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> SearchResult:
    """Searches a space for architectures that trade validation loss for latency, none over the budget when measured.

    `options` are those of `hwnas search`, with underscores: `epochs=5`, `strategy="gradient"`, `objectives="loss,params"`. The
    budget is judged on the median by default. A shipped device's name (`hwnas devices`) is searched for by its predictor:
    then nothing is measured, and the budget is held against the upper ends of intervals. Without `out`, the run is in
    `runs/search`, or `runs/search-2` and so on where there is one already.

    Raises HwnasError; BudgetError where the budget cannot be met.
    """
    if device is not None:
        options["device"] = device
    if latency_budget_ms is not None:
        options["latency_budget"] = f"{latency_budget_ms}ms"
    if isinstance(space, str):
        options["space"] = space
        request = search_request({**options, "data": data})
        loaded = request.space.load()
    else:
        known = {"space": space.reference, "space_options": space.options}
        request = search_request({**options, **known, "data": data})
        loaded = request.space.restrict(space)
    return start(request, loaded, new_path() if out is None else Path(out), reporter or Silent())


def start(request: SearchRequest, space: SearchSpace, out: Path, reporter: Reporter) -> SearchResult:
    """Starts a new run. What can be refused is refused before the folder is made."""
    require_free(out)
    checked = checked_request(request, space)
    check_sources(checked)
    devices = [target.describe() for target in checked.targets]
    for note in space.notes:
        reporter.note(note)
    facts = data_facts(checked.data, reporter)
    run = create_run(out, request.describe(), space.describe(), facts, title=request.title, devices=devices)
    try:
        return Stages(run, checked, reporter).finish()
    except HwnasError:
        # What was measured serves a later request (`--resume`); a request that was refused before leaves nothing.
        if "goal" not in run.read() and not any(run.path.glob("table*.jsonl")):
            discard_new(run)
        raise


def resume(out: Path, reporter: Reporter, options: Mapping[str, Any], *, back: bool = False) -> SearchResult:
    """Goes on with a run, as it was asked for, or by options for more: evaluations, other budgets, limits, objectives, devices
    or final training. What was trained, evaluated and measured stays.

    With `back` it goes on by the request that it had before. Raises RunError for options that trained weights depend on, and
    that differ from those the run was started with.
    """
    run, before, space = reopened(out, options)
    if back and options:
        raise RunError(f"--back goes on as before, without other options; leave out {flag(next(iter(options)))}")
    alteration = alteration_back(run, before) if back else alteration_of(run, before, options)
    checked = checked_request(alteration.after, space, run)
    if not alteration.changes_the_search:
        return Stages(run, checked, reporter).finish()
    alteration.require_useful(checked.sources, out)
    check_sources(checked)
    reporter.note(f"going on with {out}: {alteration.words()}")
    return Stages(run, checked, reporter, alteration).finish()


def branch(source: Path, out: Path, reporter: Reporter, options: Mapping[str, Any]) -> SearchResult:
    """Goes on with a copy of a run, at `out`, by options that may differ as in `resume`; the run itself stays as it is.

    Called again, it goes on with the copy that is there.
    """
    run, before, _ = reopened(source, options)
    alteration_of(run, before, options)
    copy = RunFolder(out)
    if not copy.json.exists() or copy.read().get("copy_of") != str(source.resolve()):
        copy_run(run, out)
    return resume(out, reporter, options)
