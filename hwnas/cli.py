"""The command line: parse, call, print. Results go to stdout, progress and notes to stderr."""

import json
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

import hwnas
from hwnas.core.choice import Option
from hwnas.errors import HwnasError

Command = TypeVar("Command", bound=Callable[..., Any])


def _all_of(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


SPACE = _all_of(
    click.option("--space", default="mobilenet", show_default=True, help="A built-in space, or FILE.py:FUNCTION."),
    click.option(
        "--space-option", "space_options", multiple=True, metavar="NAME=VALUE", help="An option of the space."
    ),
)
DATA = _all_of(
    click.option(
        "--data", default="digits", show_default=True, help="digits, parquet:DIR, imagefolder:DIR or npz:FILE."
    ),
    click.option("--limit-images", type=int, help="Use at most that many training images."),
    click.option("--seed", default=0, show_default=True),
    click.option("--epochs", default=30, show_default=True, help="Epochs of supernet training."),
    click.option("--learning-rate", default=0.2, show_default=True),
)
CONDITIONS = _all_of(
    click.option("--device", default="cpu", show_default=True, help="See `hwnas devices`."),
    click.option("--threads", default=1, show_default=True, help="Threads of one inference."),
    click.option("--batch", default=1, show_default=True, help="Images per inference."),
    click.option("--precision", default="fp32", show_default=True),
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
RUN = click.argument("run", type=click.Path(path_type=Path))
PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(hwnas.__version__)
def cli() -> None:
    """Hardware-aware neural architecture search, down to ONNX models timed on your own device."""


@cli.command()
@JSON
def spaces(as_json: bool) -> None:
    """List the built-in search spaces."""
    from hwnas.spaces import SPACES, load_space

    rows = []
    for name in SPACES:
        space = load_space(name)
        rows.append(
            {
                "space": name,
                "architectures": space.size,
                "choices": len(space.choices),
                "operators": len(space.operators()),
            }
        )
    _print_rows("spaces", rows, as_json)


@cli.command()
@JSON
def devices(as_json: bool) -> None:
    """List the devices, and whether they can be used here."""
    from hwnas.profiler.device import devices as known

    _print_rows("devices", known(), as_json)


@cli.command()
@SPACE
@CONDITIONS
@click.option("--networks", default=60, show_default=True, help="Whole networks that correct the operators' times.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=PATH, default="table.jsonl", show_default=True, help="An existing table is continued.")
@JSON
def profile(
    space: str,
    space_options: tuple[str, ...],
    device: str,
    threads: int,
    batch: int,
    precision: str,
    networks: int,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Measure a space's operators and some whole networks on a device."""
    from hwnas.profiler.device import conditions_here
    from hwnas.profiler.profile import profile as run_profile
    from hwnas.spaces import load_space
    from hwnas.terminal import TerminalReporter

    conditions = conditions_here(device, threads=threads, batch=batch, precision=precision)
    made = load_space(space, _options(space_options))
    summary = run_profile(made, conditions, out, networks=networks, seed=seed, reporter=TerminalReporter())
    _print_facts(summary.describe(), as_json)


@cli.command()
@click.option("--table", type=PATH, required=True)
@click.option("--out", type=PATH, default="predictor.json", show_default=True)
@JSON
def fit(table: Path, out: Path, as_json: bool) -> None:
    """Fit a latency predictor to a table; prints its error on held-out networks."""
    from hwnas.pipeline.predict import fit_table

    predictor = fit_table(table)
    predictor.save(out)
    _print_facts({"predictor": str(out), **predictor.report, "interval": predictor.interval}, as_json)


@cli.command()
@click.option("--predictor", type=PATH, required=True)
@click.option("--arch", required=True, help="A JSON object, a file of JSON lines, or - for standard input.")
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
    from hwnas.pipeline.train import resume_training
    from hwnas.pipeline.train import train as run_training
    from hwnas.spaces import load_space
    from hwnas.terminal import TerminalReporter

    options["space_options"] = _options(options["space_options"])
    if resume:
        weights = resume_training(out, TerminalReporter(), _given(context, options))
    else:
        config = SearchConfig(**options)
        weights = run_training(config, load_space(config.space, config.space_options), out, TerminalReporter())
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
@click.option("--max-params", type=int, help="Most parameters.")
@click.option("--strategy", default="nsga2", show_default=True, help="nsga2 or random.")
@click.option("--evaluations", default=200, show_default=True, help="Architectures judged on the validation split.")
@click.option("--networks", default=60, show_default=True, help="Whole networks that correct the operators' times.")
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
    from hwnas.pipeline.search import resume as resume_search
    from hwnas.pipeline.search import start
    from hwnas.spaces import load_space
    from hwnas.terminal import TerminalReporter

    options["space_options"] = _options(options["space_options"])
    if resume:
        result = resume_search(out, TerminalReporter(), _given(context, options))
    else:
        config = SearchConfig(**options)
        result = start(config, load_space(config.space, config.space_options), out, TerminalReporter())
    _print_front(result.front, result.run.path, as_json)


@cli.command()
@RUN
@click.option("--arch", default="knee", show_default=True, help="fastest, knee, best, or an id.")
@click.option("--out", type=PATH, help="The ONNX file to write; default ID.onnx here.")
def export(run: Path, arch: str, out: Path | None) -> None:
    """Write the ONNX model of one architecture of a run."""
    from hwnas.pipeline.winners import export as export_arch

    click.echo(export_arch(run, arch, out))


@cli.command()
@RUN
@JSON
def verify(run: Path, as_json: bool) -> None:
    """Measure the front again: predicted against measured."""
    from hwnas.pipeline.winners import verify as verify_run
    from hwnas.terminal import TerminalReporter

    rows = [verification.describe() for verification in verify_run(run, TerminalReporter())]
    _print_rows("verified", rows, as_json)


@cli.command()
@RUN
@click.option("--out", type=PATH, required=True, help="front.png, .svg, .html or .csv")
def plot(run: Path, out: Path) -> None:
    """Plot the front of a run."""
    from hwnas.pipeline.plots import draw_to
    from hwnas.runs.folder import RunFolder

    draw_to(RunFolder(run), out)
    click.echo(out)


def main() -> None:
    """Runs the command line; exit codes: 0 done, 2 wrong request, 3 budget, 1 our fault, 130 and 143 interrupted."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except HwnasError as error:
        click.echo(f"hwnas: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("hwnas: interrupted; what was measured and evaluated is kept, --resume goes on from it", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        click.echo(f"hwnas: {error.filename or 'a file'}: {error.strerror or error}", err=True)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _terminated(*_: object) -> None:
    click.echo("hwnas: terminated; what was measured and evaluated is kept, --resume goes on from it", err=True)
    sys.exit(143)


def _options(written: tuple[str, ...]) -> dict[str, Option]:
    """NAME=VALUE to a mapping; values are JSON where they can be, else strings."""
    result: dict[str, Option] = {}
    for item in written:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise HwnasError(f"--space-option {item!r} is not NAME=VALUE; write --space-option resolution=32")
        try:
            result[name.replace("-", "_")] = json.loads(value)
        except ValueError:
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
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise HwnasError(f"--arch {path}: neither a JSON object nor a readable file of them") from None


def _print_rows(name: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    from hwnas.terminal import plain_table, print_table

    if as_json:
        click.echo(json.dumps({name: rows}))
    else:
        print_table(plain_table(rows))


def _print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        written = (
            ", ".join(f"{k} {_short(v)}" for k, v in value.items()) if isinstance(value, Mapping) else _short(value)
        )
        click.echo(f"{name}: {written}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_front(front: Any, folder: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from hwnas.terminal import front_table, print_table

    if as_json:
        click.echo(json.dumps({"run": str(folder), "front": [asdict(row) for row in front]}))
        return
    print_table(front_table(front))
    click.echo(
        f"plot {folder / 'front.png'}, {folder / 'front.html'}; table {folder / 'front.csv'}; models {folder / 'models'}/"
    )


if __name__ == "__main__":
    main()
