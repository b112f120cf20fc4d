"""Measurements: networks side by side; tables that are made here, packed for elsewhere, merged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hwnas.cli.generated import option_of, parsed, with_options
from hwnas.cli.options import JSON, OUT_FILE, PATH, SEED, OutputOption, made_space, parsed_share, written_options
from hwnas.core.requests import checked, flag, option_names
from hwnas.errors import HwnasError
from hwnas.pipeline.options import SourcesRequest
from hwnas.profiler.request import DeviceRequest, DevicesRequest
from hwnas.spaces.request import SpaceRequest
from hwnas.terminal import TerminalReporter, print_facts, print_measured

NETWORKS = option_of(SourcesRequest, "networks")


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@with_options(DevicesRequest)
@click.option(
    "--weights", metavar="FILE", default="", help="Weights of the only torch module; times hardly depend on them."
)
@click.option("--resolution", type=click.IntRange(min=1), help="Resolution of torch modules' images.")
@click.option("--length", type=click.IntRange(min=1), help="Number of torch modules' token ids.")
@click.option("--blocks", is_flag=True, help="Say where the time goes: each block alone, or the operations of a file.")
@SEED
@JSON
def measure(
    models: tuple[str, ...],
    weights: str,
    resolution: int | None,
    length: int | None,
    blocks: bool,
    seed: int,
    as_json: bool,
    **written: Any,
) -> None:
    """Time networks side by side on a device: FILE.onnx, FILE.py:NAME, timm:NAME, torchvision:NAME or hf:DIR."""
    from hwnas.pipeline.measured import measure_networks
    from hwnas.pipeline.named_networks import named_networks
    from hwnas.pipeline.target import require_here, target_of

    device = _device(parsed(written))
    require_here(device.device)
    conditions = target_of(device).here
    networks = named_networks(models, weights=weights, resolution=resolution or 0, length=length or 0)
    measured = measure_networks(networks, conditions, blocks=blocks, seed=seed, reporter=TerminalReporter())
    print_measured(measured, as_json)


@click.command()
@with_options(SpaceRequest, DevicesRequest, without=["vary"])
@NETWORKS
@click.option(
    "--until-error",
    metavar="2%",
    callback=parsed_share,
    help="Measure networks, those next that tell most, until this mean error is expected on others; at most --networks.",
)
@click.option("--energy", is_flag=True, help="Measure the millijoules of a call, too, on GPUs that count them.")
@click.option("--networks-only", is_flag=True, help="Leave out the operators: for `hwnas fit --from` other devices.")
@SEED
@click.option("--out", type=OUT_FILE, default="table.jsonl", show_default=True, help="An existing table is continued.")
@JSON
def profile(
    until_error: float | None, networks_only: bool, energy: bool, out: Path, as_json: bool, **written: Any
) -> None:
    """Measure a space's operators and some whole networks on a device."""
    from hwnas.pipeline.target import require_here, target_of
    from hwnas.pipeline.until import profile_until
    from hwnas.profiler.profile import Profiling, measure_works, operator_workloads, random_network_workloads

    options = parsed(written)
    networks, seed = _networks(options), options["seed"]
    device = _device(options)
    require_here(device.device)
    space, conditions = made_space(options), target_of(device).here
    profiling = Profiling(
        space=space, conditions=conditions, path=out, reporter=TerminalReporter(), seed=seed, energy=energy
    )
    operators = [] if networks_only else operator_workloads(space)
    if until_error is None:
        summary = measure_works(profiling, [*operators, *random_network_workloads(space, networks, seed)])
    else:
        summary = profile_until(profiling, operators, error=until_error, most=networks + 2)
    print_facts(summary.describe(), as_json)


@click.command()
@click.argument("run", type=PATH, required=False)
@with_options(SpaceRequest, DevicesRequest, without=["vary"])
@NETWORKS
@SEED
@click.option("--out", cls=OutputOption, type=OUT_FILE, default="bundle.zip", show_default=True)
@JSON
@click.pass_context
def bundle(context: click.Context, /, run: Path | None, out: Path, as_json: bool, **written: Any) -> None:
    """Pack a space's models, or the winners of RUN, for a board without torch: there, `python bundle.zip --out table.jsonl`."""
    from hwnas.pipeline.boards import bundle_winners
    from hwnas.profiler.bundle import bundle as write_bundle
    from hwnas.profiler.runtime import USUAL

    if run is not None:
        given = written_options(context, written)
        for name in given.keys() - {"device"}:
            raise HwnasError(
                f"{flag(name)} is of a space; `hwnas bundle {run}` packs that run's own models; leave it out"
            )
        devices = given.get("device", ())
        if len(devices) > 1:
            raise HwnasError("--device is one device here; pack for each by a command of its own")
        models = bundle_winners(run, out, next(iter(devices), None), TerminalReporter())
        print_facts({"path": str(out), "models": models, "mib": out.stat().st_size / 2**20}, as_json)
        return
    options = parsed(written)
    device = _device(options)
    conditions = {
        name: getattr(device, name) for name in ("device", "threads", "batch", "precision", "step", "runtime_options")
    }
    conditions["runtime"] = device.runtime or USUAL
    models = write_bundle(
        made_space(options),
        out,
        conditions=conditions,
        networks=_networks(options),
        seed=options["seed"],
        reporter=TerminalReporter(),
    )
    print_facts({"path": str(out), "models": models, "mib": out.stat().st_size / 2**20}, as_json)


def _networks(options: Mapping[str, Any]) -> int:
    return checked(SourcesRequest, {"networks": options["networks"]}).networks


def _device(options: Mapping[str, Any]) -> DeviceRequest:
    """The one device to measure. Raises HwnasError where several are named."""
    request = checked(DevicesRequest, {name: options[name] for name in option_names(DevicesRequest)})
    device, *others = request.devices()
    if others:
        raise HwnasError("--device is one device here; measure each by a command of its own")
    return device


@click.command()
@click.argument("tables", nargs=-1, required=True, type=PATH)
@click.option("--out", cls=OutputOption, type=OUT_FILE, required=True, help="A new table.")
@JSON
def merge(tables: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Merge tables, or shipped ones as DEVICE/SPACE, of the same space and conditions."""
    from hwnas.predict.shipped import shipped_devices, table_file
    from hwnas.profiler.store import merge_tables

    devices = shipped_devices()
    merged = merge_tables([table_file(table, devices) for table in tables], out)
    print_facts({"path": str(out), "rows": len(merged.rows), "unconverged": len(merged.unconverged)}, as_json)
