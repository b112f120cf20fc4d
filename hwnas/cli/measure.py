"""Tables of measurements: made here, packed for elsewhere, merged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hwnas.cli.options import (
    CONDITIONS,
    JSON,
    NETWORKS,
    PATH,
    RUNTIME,
    SEED,
    SPACE,
    made_space,
    parsed_share,
    parsed_texts,
)
from hwnas.terminal import TerminalReporter, print_facts


@click.command()
@SPACE
@RUNTIME
@CONDITIONS
@NETWORKS
@click.option(
    "--until-error",
    metavar="2%",
    callback=parsed_share,
    help="Measure networks, those next that tell most, until this mean error is expected on others; at most --networks.",
)
@click.option("--energy", is_flag=True, help="Millijoules of a call, too, of GPUs that count them.")
@click.option("--networks-only", is_flag=True, help="Leave out the operators: for `hwnas fit --from` other devices.")
@SEED
@click.option("--out", type=PATH, default="table.jsonl", show_default=True, help="An existing table is continued.")
@JSON
def profile(
    space: str,
    device: str,
    threads: int,
    batch: int,
    precision: str,
    runtime_options: Sequence[str],
    runtime: str,
    networks: int,
    until_error: float | None,
    networks_only: bool,
    energy: bool,
    seed: int,
    out: Path,
    as_json: bool,
    **written: Any,
) -> None:
    """Measure a space's operators and some whole networks on a device."""
    from hwnas.pipeline.target import require_here
    from hwnas.pipeline.until import profile_until
    from hwnas.profiler.device import conditions_here
    from hwnas.profiler.profile import measure_works, operator_workloads, random_network_workloads

    require_here(device)
    conditions = conditions_here(
        device,
        threads=threads,
        batch=batch,
        precision=precision,
        runtime=runtime,
        runtime_options=parsed_texts("--runtime-option", runtime_options),
    )
    made = made_space(space, **written)
    operators = [] if networks_only else operator_workloads(made)
    reporter = TerminalReporter()
    if until_error is None:
        works = [*operators, *random_network_workloads(made, networks, seed)]
        summary = measure_works(made, conditions, out, works, seed=seed, reporter=reporter, energy=energy)
    else:
        summary = profile_until(
            made,
            conditions,
            out,
            error=until_error,
            most=networks + 2,
            operators=operators,
            seed=seed,
            reporter=reporter,
            energy=energy,
        )
    print_facts(summary.describe(), as_json)


@click.command()
@SPACE
@RUNTIME
@CONDITIONS
@NETWORKS
@SEED
@click.option("--out", type=PATH, default="bundle.zip", show_default=True)
@JSON
def bundle(
    space: str,
    networks: int,
    seed: int,
    out: Path,
    as_json: bool,
    runtime_options: Sequence[str],
    **others: Any,
) -> None:
    """Pack a space's models for a board without torch: there, `python bundle.zip --out table.jsonl`."""
    from hwnas.profiler.bundle import bundle as write_bundle

    conditions = {name: others.pop(name) for name in ("device", "threads", "batch", "precision", "runtime")}
    conditions["runtime_options"] = parsed_texts("--runtime-option", runtime_options)
    made = made_space(space, **others)
    models = write_bundle(made, out, conditions=conditions, networks=networks, seed=seed, reporter=TerminalReporter())
    print_facts({"path": str(out), "models": models, "mib": out.stat().st_size / 2**20}, as_json)


@click.command()
@click.argument("tables", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, required=True, help="A new table.")
@JSON
def merge(tables: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Merge tables, or shipped ones as DEVICE/SPACE, of the same space and conditions."""
    from hwnas.predict.shipped import shipped_devices, table_file
    from hwnas.profiler.store import merge_tables

    devices = shipped_devices()
    merged = merge_tables([table_file(table, devices) for table in tables], out)
    print_facts({"path": str(out), "rows": len(merged.rows), "unconverged": len(merged.unconverged)}, as_json)
