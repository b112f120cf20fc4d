"""The command line: parse, call, print. Results go to stdout, progress and notes to stderr."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

import hwnas
from hwnas.core.choice import Argument
from hwnas.errors import HwnasError
from hwnas.terminal import TerminalReporter, print_facts, print_front, print_path, print_rows

if TYPE_CHECKING:
    from hwnas.core.space import SearchSpace

Command = TypeVar("Command", bound=Callable[..., Any])


def _all_of(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


POSITIVE = click.IntRange(min=1)
SEED = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
NETWORKS = click.option(
    "--networks",
    type=POSITIVE,
    default=60,
    show_default=True,
    help="Whole networks that correct the operators' times.",
)
SPACE_OPTIONS = _all_of(
    click.option(
        "--space-option", "space_options", multiple=True, metavar="NAME=VALUE", help="An option of the space."
    ),
    click.option("--fix", multiple=True, metavar="PATTERN=OPTION", help="The only option of these choices."),
    click.option("--drop", multiple=True, metavar="PATTERN=OPTION", help="Not an option: 'stage*.kernel=7'."),
    click.option("--tie", multiple=True, metavar="PATTERN", help="These choices are one: 'stage*.kernel'."),
)
SPACE = _all_of(
    click.option("--space", default="mobilenet", show_default=True, help="A built-in space, or FILE.py:FUNCTION."),
    SPACE_OPTIONS,
)
DATA = _all_of(
    click.option(
        "--data",
        default="digits",
        show_default=True,
        help="digits, parquet:DIR, imagefolder:DIR, npz:FILE; text:FILE or text:FILE@TOKENIZER.json.",
    ),
    click.option("--limit-images", type=POSITIVE, help="Use at most that many training images, or windows of text."),
    SEED,
    click.option("--epochs", type=POSITIVE, default=30, show_default=True, help="Epochs of supernet training."),
    click.option(
        "--recipe",
        default="auto",
        show_default=True,
        help="sgd, adamw, or auto: sgd where the space has batch-norms, adamw where it has none.",
    ),
    click.option("--learning-rate", type=float, help="Highest rate; by default 0.2 of sgd, 0.001 of adamw."),
)
CONDITIONS = _all_of(
    click.option("--device", default="cpu", show_default=True, help="See `hwnas devices`."),
    click.option("--threads", type=POSITIVE, default=1, show_default=True, help="Threads of one inference."),
    click.option("--batch", type=POSITIVE, default=1, show_default=True, help="Inputs per inference."),
    click.option("--precision", default="fp32", show_default=True, help="fp32, or int8 (static, QDQ)."),
    click.option(
        "--runtime-option",
        "runtime_options",
        multiple=True,
        metavar="NAME=VALUE",
        help="graph_optimization=all|extended|basic|disabled, allow_spinning=1|0, denormal_as_zero=0|1.",
    ),
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
RUN = click.argument("run", type=click.Path(path_type=Path))
PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(hwnas.__version__)
def cli() -> None:
    """Hardware-aware neural architecture search, down to ONNX models timed on your own device."""


@cli.command()
@click.option("--space", help="List this one, too: FILE.py:FUNCTION, or a built-in space with other options.")
@SPACE_OPTIONS
@JSON
def spaces(space: str | None, as_json: bool, **written: Any) -> None:
    """List the built-in search spaces, and one of your own, or a part of one."""
    from hwnas.spaces import SPACES, load_space

    if any(written.values()) and not space:
        raise click.UsageError("--space-option, --fix, --drop and --tie need a --space that they are about.")
    listed = {name: load_space(name) for name in SPACES}
    if space:
        told = [f"--{name} {text}" for name in ("fix", "drop", "tie") for text in written[name]]
        listed[" ".join([space, *written["space_options"], *told])] = _space(space, **written)
    rows = [
        {
            "space": name,
            "architectures": made.size,
            "choices": len(made.choices),
            "operators": len(made.operators()),
            "fingerprint": made.fingerprint,
        }
        for name, made in listed.items()
    ]
    print_rows("spaces", rows, as_json)


@cli.command()
@JSON
def devices(as_json: bool) -> None:
    """List the devices, and whether they can be used here."""
    from hwnas.profiler.device import devices as known

    print_rows("devices", known(), as_json)


@cli.command()
@SPACE
@CONDITIONS
@click.option("--runtime", default="onnxruntime", show_default=True, help="What runs the networks.")
@NETWORKS
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
    seed: int,
    out: Path,
    as_json: bool,
    **written: Any,
) -> None:
    """Measure a space's operators and some whole networks on a device."""
    from hwnas.profiler.device import conditions_here
    from hwnas.profiler.profile import profile as run_profile

    conditions = conditions_here(
        device,
        threads=threads,
        batch=batch,
        precision=precision,
        runtime=runtime,
        runtime_options=_texts("--runtime-option", runtime_options),
    )
    made = _space(space, **written)
    summary = run_profile(made, conditions, out, networks=networks, seed=seed, reporter=TerminalReporter())
    print_facts(summary.describe(), as_json)


@cli.command()
@SPACE
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

    conditions = {name: others.pop(name) for name in ("device", "threads", "batch", "precision")}
    conditions["runtime_options"] = _texts("--runtime-option", runtime_options)
    made = _space(space, **others)
    models = write_bundle(made, out, conditions=conditions, networks=networks, seed=seed, reporter=TerminalReporter())
    print_facts({"path": str(out), "models": models, "mib": out.stat().st_size / 2**20}, as_json)


@cli.command()
@click.argument("tables", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, required=True, help="A new table.")
@JSON
def merge(tables: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Merge tables of the same space and conditions."""
    from hwnas.profiler.store import merge_tables

    merged = merge_tables(tables, out)
    print_facts({"path": str(out), "rows": len(merged.rows), "unconverged": len(merged.unconverged)}, as_json)


@cli.command()
@click.option("--table", type=PATH, required=True)
@click.option("--allow-unconverged", is_flag=True, help="Also of measurements that are not precise.")
@click.option("--out", type=PATH, default="predictor.json", show_default=True)
@JSON
def fit(table: Path, allow_unconverged: bool, out: Path, as_json: bool) -> None:
    """Fit a latency predictor to a table; prints its error on held-out networks."""
    from hwnas.pipeline.predict import fit_table

    predictor = fit_table(table, allow_unconverged=allow_unconverged)
    predictor.save(out)
    print_facts({"predictor": str(out), **predictor.report, "interval": predictor.interval}, as_json)


@cli.command()
@click.option("--predictor", type=PATH, required=True)
@click.option(
    "--arch",
    required=True,
    help="A JSON object, a file of one or of JSON lines, or - for JSON lines on standard input.",
)
@click.option("--json", is_flag=True, expose_value=False, help="Changes nothing: the output is JSON lines either way.")
def predict(predictor: Path, arch: str) -> None:
    """Predict latencies: one JSON line per architecture."""
    from hwnas.latency.predictor import LatencyPredictor
    from hwnas.pipeline.predict import predictions

    lines = sys.stdin if arch == "-" else [arch] if arch.lstrip().startswith("{") else _lines(Path(arch))
    for answer in predictions(LatencyPredictor.load(predictor), lines):
        click.echo(json.dumps(answer))


@cli.command()
@SPACE
@DATA
@click.option("--out", type=PATH, required=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.pass_context
def train(context: click.Context, /, out: Path, resume: bool, **options: Any) -> None:
    """Train a supernet, for searches that share it."""
    from hwnas.pipeline.config import SearchConfig
    from hwnas.pipeline.search import configured
    from hwnas.pipeline.train import resume_training
    from hwnas.pipeline.train import train as run_training

    options["space_options"] = _options(options["space_options"])
    if resume:
        weights = resume_training(out, TerminalReporter(), _given(context, options))
    else:
        config = SearchConfig(**options)
        weights = run_training(config, configured(config.space, config), out, TerminalReporter())
    click.echo(weights)


@cli.command()
@SPACE
@DATA
@CONDITIONS
@click.option(
    "--latency-budget", default="100%", show_default=True, help="0.4ms, 250us, or a share of the largest network, 60%."
)
@click.option(
    "--budget-on", default="median", show_default=True, help="Statistic the budget is judged on: median, p10 or p90."
)
@click.option("--max-params", type=POSITIVE, help="Most parameters.")
@click.option("--max-model-mib", type=float, help="Most MiB of weights and statistics, float32.")
@click.option("--max-peak-mib", type=float, help="Most MiB of activations alive at once, of one sample, float32.")
@click.option("--strategy", default="nsga2", show_default=True, help="nsga2 or random.")
@click.option(
    "--evaluations",
    type=POSITIVE,
    default=200,
    show_default=True,
    help="Architectures judged on the validation split.",
)
@NETWORKS
@click.option("--table", help="A table measured before, instead of profiling.")
@click.option("--predictor", help="A predictor fitted before, instead of profiling.")
@click.option("--supernet", help="Folder of `hwnas train`, instead of training.")
@click.option("--out", type=PATH, default="runs/search", show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@JSON
@click.pass_context
def search(context: click.Context, /, out: Path, resume: bool, as_json: bool, **options: Any) -> None:
    """Search for the networks that are best within a latency budget, and measure them."""
    from hwnas.pipeline.config import SearchConfig
    from hwnas.pipeline.search import configured, start
    from hwnas.pipeline.search import resume as resume_search

    options["space_options"] = _options(options["space_options"])
    options["runtime_options"] = _texts("--runtime-option", options["runtime_options"])
    if resume:
        result = resume_search(out, TerminalReporter(), _given(context, options))
    else:
        config = SearchConfig(**options)
        result = start(config, configured(config.space, config), out, TerminalReporter())
    print_front(result.front, result.run.path, as_json)


@cli.command()
@RUN
@click.option("--arch", default="knee", show_default=True, help="fastest, knee, best, or an id.")
@click.option("--out", type=PATH, help="The ONNX file to write; default ID.onnx here.")
@JSON
def export(run: Path, arch: str, out: Path | None, as_json: bool) -> None:
    """Write the ONNX model of one architecture of a run."""
    from hwnas.pipeline.winners import export as export_arch

    print_path(export_arch(run, arch, out), as_json)


@cli.command()
@RUN
@JSON
def verify(run: Path, as_json: bool) -> None:
    """Measure the front again: predicted against measured."""
    from hwnas.pipeline.winners import verify as verify_run

    rows = [verification.describe() for verification in verify_run(run, TerminalReporter())]
    print_rows("verified", rows, as_json)


@cli.command()
@RUN
@click.option("--out", type=PATH, required=True, help="front.png, .svg, .html or .csv")
@JSON
def plot(run: Path, out: Path, as_json: bool) -> None:
    """Plot the front of a run."""
    from hwnas.pipeline.plots import draw_to
    from hwnas.runs.folder import RunFolder

    draw_to(RunFolder(run), out)
    print_path(out, as_json)


def _space(
    space: str, space_options: Sequence[str], fix: Sequence[str], drop: Sequence[str], tie: Sequence[str]
) -> "SearchSpace":
    from hwnas.core.operations import restricted
    from hwnas.spaces import load_space

    return restricted(load_space(space, _options(space_options)), fixed=fix, dropped=drop, tied=tie)


def _options(written: Sequence[str]) -> dict[str, Argument]:
    """NAME=VALUE to a mapping; values are JSON where they can be, else strings."""
    result: dict[str, Argument] = {}
    for name, value in _texts("--space-option", written).items():
        try:
            result[name] = json.loads(value)
        except ValueError:
            result[name] = value
    return result


def _texts(flag: str, written: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE to a mapping of texts."""
    result = {}
    for item in written:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise HwnasError(f"{flag} {item!r} is not NAME=VALUE; see --help")
        result[name.replace("-", "_")] = value
    return result


def _given(context: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were written on the command line."""
    return {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE
    }


def _lines(path: Path) -> list[str]:
    """One line per architecture, also where the file is one object over several lines."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise HwnasError(f"--arch {path}: neither a JSON object nor a readable file of them") from None
    try:
        return [json.dumps(json.loads(text))]
    except (ValueError, RecursionError):
        return text.splitlines()
