"""Options that several commands share, and what is made of what they were given."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from hwnas.core.choice import Argument
from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from hwnas.core.space import SearchSpace

Command = TypeVar("Command", bound=Callable[..., Any])


def all_of(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator of several options, in `--help` in this order."""

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
SPACE_OPTIONS = all_of(
    click.option(
        "--space-option", "space_options", multiple=True, metavar="NAME=VALUE", help="An option of the space."
    ),
    click.option("--fix", multiple=True, metavar="PATTERN=OPTION", help="The only option of these choices."),
    click.option("--drop", multiple=True, metavar="PATTERN=OPTION", help="Not an option: 'stage*.kernel=7'."),
    click.option("--tie", multiple=True, metavar="PATTERN", help="These choices are one: 'stage*.kernel'."),
)
SPACE = all_of(
    click.option("--space", default="mobilenet", show_default=True, help="A built-in space, or FILE.py:FUNCTION."),
    SPACE_OPTIONS,
)
DATA = all_of(
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
    click.option(
        "--train-on", default="auto", show_default=True, help="cpu, cuda, or auto: a GPU where PyTorch finds one."
    ),
)
RUNTIME = click.option(
    "--runtime", default="onnxruntime", show_default=True, help="What runs models: onnxruntime, or torch."
)
CONDITIONS = all_of(
    click.option("--device", default="cpu", show_default=True, help="See `hwnas devices`."),
    click.option("--threads", type=POSITIVE, default=1, show_default=True, help="Threads of one inference."),
    click.option("--batch", type=POSITIVE, default=1, show_default=True, help="Inputs per inference."),
    click.option(
        "--precision",
        default="fp32",
        show_default=True,
        help="fp32; int8 (static, QDQ) on a CPU; fp16, bf16 by torch.",
    ),
    click.option(
        "--runtime-option",
        "runtime_options",
        multiple=True,
        metavar="NAME=VALUE",
        help="What the runtime is told, such as graph_optimization=basic; an unknown name lists those there are.",
    ),
)
GRADIENT = all_of(
    click.option(
        "--sampler",
        default="drnas",
        show_default=True,
        help="Of --strategy gradient: drnas, darts, sparsemax, gdas, gates (ProxylessNAS) or uniform (SPOS).",
    ),
    click.option(
        "--penalty",
        default="budget",
        show_default=True,
        help="budget (no weight to tune), fbnet, proxyless-linear, proxyless-log, mnasnet-soft, mnasnet-hard or none.",
    ),
    click.option(
        "--penalty-weight", type=float, help="FBNet's beta, ProxylessNAS's lambda ...; default: as published."
    ),
    click.option(
        "--selector",
        default="auto",
        show_default=True,
        help="magnitude, perturbation (DARTS-PT), perturbation-tuned, zero-shot, zero-shot-networks or evolution.",
    ),
    click.option(
        "--warmup-epochs",
        type=click.IntRange(min=0),
        default=5,
        show_default=True,
        help="Of weights alone, before --epochs.",
    ),
    click.option("--progressive", is_flag=True, help="Half of the options stay for the second half of the epochs."),
    click.option(
        "--partial-channels",
        type=POSITIVE,
        default=1,
        show_default=True,
        help="In cells, operators get one in so many channels up to half of the epochs (PC-DARTS, DrNAS): faster.",
    ),
    click.option("--unrolled", is_flag=True, help="Second-order DARTS: three times the time."),
    click.option("--mixed-precision", is_flag=True, help="Train in bfloat16 where that is safe."),
    click.option(
        "--final",
        default="finetune",
        show_default=True,
        help="What becomes of a derived network: none, finetune, or scratch.",
    ),
    click.option("--final-epochs", type=POSITIVE, default=15, show_default=True, help="Epochs of --final."),
)
ENERGY = all_of(
    click.option(
        "--max-energy-mj",
        type=float,
        help="Most millijoules of one inference, predicted (upper end of the interval) from the table's energies.",
    ),
    click.option("--energy-predictor", help="Of `hwnas fit --cost energy`, instead of the table's energies."),
)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
PATH = click.Path(path_type=Path)
RUN = click.argument("run", type=PATH)


def made_space(
    space: str, space_options: Sequence[str], fix: Sequence[str], drop: Sequence[str], tie: Sequence[str]
) -> "SearchSpace":
    """The space that the options of `SPACE` say."""
    from hwnas.core.operations import restricted
    from hwnas.spaces import load_space

    return restricted(load_space(space, parsed_options(space_options)), fixed=fix, dropped=drop, tied=tie)


def parsed_options(written: Sequence[str]) -> dict[str, Argument]:
    """NAME=VALUE to a mapping; values are JSON where they can be, else strings."""
    result: dict[str, Argument] = {}
    for name, value in parsed_texts("--space-option", written).items():
        try:
            result[name] = json.loads(value)
        except ValueError:
            result[name] = value
    return result


def parsed_texts(flag: str, written: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE to a mapping of texts."""
    result = {}
    for item in written:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise HwnasError(f"{flag} {item!r} is not NAME=VALUE; see --help")
        result[name.replace("-", "_")] = value
    return result


def parsed_share(context: click.Context, option: click.Parameter, written: str | None) -> float | None:
    """`2%` to 0.02."""
    if written is None:
        return None
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*%\s*", written)
    if match is None or not 0 < float(match[1]) < 100:
        raise HwnasError(f"{option.opts[0]} {written!r} is not a share above 0 %; write 2%")
    return float(match[1]) / 100


def given(context: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were written on the command line."""
    return {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE
    }
