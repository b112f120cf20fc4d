"""Networks to measure, by name: ONNX files, and torch modules as `hwnas search --model` takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, final

from hwnas.core.choice import Argument
from hwnas.core.references import is_reference
from hwnas.core.space import SearchSpace
from hwnas.elastic.sources import MODELS, NEW, SOURCES
from hwnas.errors import HwnasError, SpaceError, UnknownNameError
from hwnas.pipeline.blocks import Breakdown, blocks_alone, operations, require_operation_times
from hwnas.profiler.device import Conditions
from hwnas.profiler.onnx_file import OnnxFile, read_onnx
from hwnas.profiler.profile import network_subject
from hwnas.profiler.runtime import Model
from hwnas.profiler.setup import Setup
from hwnas.spaces.loading import TRAINED, load_space

ONNX: Final = ".onnx"
# The options of a network's space without choices: nothing is made smaller.
RIGID: Final[Mapping[str, Argument]] = {"widths": (1.0,), "depth": False, "kernels": False}


class NamedNetwork(Protocol):
    """A network that can be measured. `params` is None where the number of parameters is not known."""

    @property
    def name(self) -> str: ...

    @property
    def params(self) -> int | None: ...

    def load(self, conditions: Conditions) -> tuple[Model, int]:
        """Returns the network, loaded and bound to an input, and its size in bytes. Raises ExportError, DeviceError."""

    def require_breakdowns(self, conditions: Conditions) -> None:
        """Raises DeviceError where the network cannot be broken down under these conditions."""

    def breakdowns(self, conditions: Conditions, setup: Setup, whole_ms: float) -> tuple[Breakdown, ...]:
        """Returns where the time goes; `whole_ms` is what the network takes."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FileNetwork:
    """An ONNX file, run as it is."""

    name: str
    file: OnnxFile
    params: None = None

    def load(self, conditions: Conditions) -> tuple[Model, int]:
        return self.file.load(conditions)

    def require_breakdowns(self, conditions: Conditions) -> None:
        require_operation_times(self.name, conditions)

    def breakdowns(self, conditions: Conditions, setup: Setup, whole_ms: float) -> tuple[Breakdown, ...]:
        return operations(self.file, conditions, whole_ms)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleNetwork:
    """A torch module as the only network of a space: traced, cut into blocks, and exported as a search would do it."""

    name: str
    space: SearchSpace

    @property
    def params(self) -> int:
        return int(self.space.cost("params", self.space.largest()))

    def load(self, conditions: Conditions) -> tuple[Model, int]:
        return network_subject(self.space, self.space.largest(), conditions).load()

    def require_breakdowns(self, conditions: Conditions) -> None:
        return None

    def breakdowns(self, conditions: Conditions, setup: Setup, whole_ms: float) -> tuple[Breakdown, ...]:
        return (blocks_alone(self.space, conditions, setup),)


def named_networks(
    references: Sequence[str], *, weights: str = "", resolution: int = 0, length: int = 0
) -> list[NamedNetwork]:
    """Returns the networks of `FILE.onnx`, `FILE.py:NAME`, `timm:NAME`, `torchvision:NAME` or `hf:DIR`.

    `resolution` and `length` are those of all torch modules' inputs, and `weights` those of the only torch module; without
    them, nothing is downloaded. Raises UnknownNameError, ExportError, SpaceError, and HwnasError for options that do not apply.
    """
    modules = [reference for reference in references if not _is_onnx(reference)]
    options = {"--weights": weights, "--resolution": resolution, "--length": length}
    for flag, value in options.items():
        if value and not modules:
            raise HwnasError(f"{flag} is for torch modules, and a file has its own; leave it out")
    if weights and len(modules) > 1:
        raise HwnasError("--weights are those of one torch module; leave them out, since times do not depend on them")
    return [
        FileNetwork(name=reference, file=read_onnx(Path(reference)))
        if _is_onnx(reference)
        else ModuleNetwork(name=reference, space=_space(reference, weights or NEW, resolution, length))
        for reference in references
    ]


def _is_onnx(reference: str) -> bool:
    """Returns True for a file. Raises UnknownNameError for what is neither a file nor a reference to a torch module."""
    kind, _, name = reference.partition(":")
    if (kind in SOURCES and name) or is_reference(reference):
        return False
    if reference.endswith(".py") and Path(reference).is_file():
        raise HwnasError(
            f"{reference}: names no function; give {reference}:NAME, a function that returns the torch module"
        )
    if reference.endswith(ONNX) or Path(reference).is_file():
        return True
    raise UnknownNameError("model", reference, [f"FILE{ONNX}", *MODELS])


def _space(reference: str, weights: str, resolution: int, length: int) -> SearchSpace:
    """Returns the space of a module alone. Raises SpaceError, which names the module."""
    size: dict[str, Argument] = {"resolution": resolution, "length": length}
    options = {"model": reference, "weights": weights, **size, **RIGID}
    try:
        return load_space(TRAINED, options)
    except SpaceError as error:
        advice = f"; or export it, and give the {ONNX} file" if "cannot be traced" in str(error) else ""
        file = reference.rpartition(":")[0] or reference
        named = str(error) if str(error).startswith(file) else f"{reference}: {error}"
        raise SpaceError(f"{named}{advice}") from error
