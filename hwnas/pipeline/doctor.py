"""Examines an installation: versions, devices and runtimes, cores, and how steady this machine measures, each with advice."""

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, final

import numpy as np

import hwnas
from hwnas.core.reporter import Reporter
from hwnas.errors import DeviceError
from hwnas.predict.shipped import missing_folders
from hwnas.profiler.cores import cores, cores_in_words, usable_cores
from hwnas.profiler.device import DEVICES, conditions_here, precisions
from hwnas.profiler.measure import timed
from hwnas.profiler.patience import Pace
from hwnas.profiler.profile import network_subject
from hwnas.profiler.protocol import Protocol, Session
from hwnas.profiler.runtime import RUNTIMES, USUAL
from hwnas.profiler.setup import Setup
from hwnas.spaces import load_space

# Packages that hwnas computes by, and those that more is possible with, with what that is and how to get it.
NEEDED: Final = ("torch", "onnxruntime", "onnx", "numpy", "scipy")
FURTHER: Final[Mapping[str, tuple[str, str]]] = {
    "onnxruntime-gpu": ("ONNX Runtime on an NVIDIA GPU", "pip install onnxruntime-gpu in the place of onnxruntime"),
    "nvidia-ml-py": ("clock and energy of an NVIDIA GPU", "pip install -c constraints.txt nvidia-ml-py"),
    "tokenizers": ("text with a tokenizer", "pip install -c constraints.txt tokenizers"),
    "transformers": ("--model hf:DIR", "pip install -c constraints.txt transformers"),
    "timm": ("--model timm:NAME", "pip install -c constraints.txt timm"),
    "torchvision": ("--model torchvision:NAME", "pip install -c constraints.txt torchvision"),
}
# The network that is timed, and for how long. It is small: what disturbs it disturbs any.
SPACE: Final = "mobilenet"
SECONDS: Final = 10.0
FEWEST_SESSIONS: Final = 3
# A machine whose sessions differ by less is as steady as those that docs/measuring.md was written on.
STEADY: Final = 0.02
# Rounds of slow phases and outliers, as a share, that are usual beside a quiet system.
USUAL_DISCARDED: Final = 0.2


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: its subject, its finding, whether the finding is good, and advice where it is not."""

    what: str
    found: str
    fine: bool
    advice: str = ""

    def describe(self) -> dict[str, Any]:
        """Returns the finding as JSON has it."""
        return asdict(self)


def examine(reporter: Reporter, seconds: float = SECONDS) -> dict[str, list[Finding]]:
    """Returns all findings, by section. Times a network for about `seconds`."""
    return {
        "installed": list(_installed()),
        "devices": list(_devices()),
        "machine": [_allowed_cores(), *_folders(), _steadiness(reporter, seconds)],
    }


def _installed() -> Iterator[Finding]:
    yield Finding(what="hwnas", found=f"{hwnas.__version__}, Python {platform.python_version()}", fine=True)
    for name in NEEDED:
        found = _version(name) or (_version("onnxruntime-gpu") if name == "onnxruntime" else None)
        yield Finding(
            what=name,
            found=found or "not installed",
            fine=found is not None,
            advice="" if found else f"pip install -c constraints.txt {name}",
        )
    for name, (use, advice) in FURTHER.items():
        found = _version(name)
        yield Finding(what=name, found=found or f"not installed ({use})", fine=True, advice="" if found else advice)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    for device in DEVICES:
        for runtime in (name for name in RUNTIMES if precisions(name, device)):
            what = f"{device} by {runtime}"
            try:
                conditions = conditions_here(device, runtime=runtime)
            except DeviceError as error:
                reason, _, advice = str(error).removeprefix(f"device {device}: ").partition("; ")
                # A device that is not here is no fault of the installation; the CPU is always here.
                yield Finding(what=what, found=reason, fine=device != "cpu", advice=advice)
                continue
            found = f"{', '.join(precisions(runtime, device))}; {conditions.hardware}, {conditions.runtime}"
            yield Finding(what=what, found=found, fine=True)


def _allowed_cores() -> Finding:
    usable = usable_cores()
    few = usable < cores()
    return Finding(
        what="cores",
        found=f"{cores_in_words()} may be used, so --threads may be at most {usable}",
        fine=True,
        advice="CPU affinity (taskset) or a quota of the container withholds the others; lift it to measure with more"
        if few
        else "",
    )


def _folders() -> Iterator[Finding]:
    for words in missing_folders():
        found, _, advice = words.partition("; ")
        yield Finding(what="HWNAS_DEVICES", found=found, fine=False, advice=advice)


def _steadiness(reporter: Reporter, seconds: float) -> Finding:
    """Times the largest network of a space and the same one loaded again, in as many sessions as the time is enough for."""
    conditions, space = conditions_here("cpu", runtime=USUAL), load_space(SPACE)
    subject = network_subject(space, space.largest(), conditions)
    (model, _), (reference, _) = subject.load(), subject.load()
    setup = Setup(
        protocol=Protocol(patience_s=0.0),
        rng=np.random.default_rng(0),
        reporter=reporter,
        clock=conditions.clock(),
        threads=conditions.threads,
    )
    sessions: list[Session] = []
    end = time.monotonic() + seconds
    while len(sessions) < FEWEST_SESSIONS or time.monotonic() < end:
        sessions.append(timed([model], reference, setup, Pace(), tries=1))
    own_ms = np.array([session.timings[0].p10_ms for session in sessions])
    spread = float(own_ms.max() / own_ms.min() - 1)
    again = float(np.median([abs(session.timings[0].p10_ms / session.reference.p10_ms - 1) for session in sessions]))
    rounds = sum(session.discarded_rounds + len(session.reference.rounds_ms) for session in sessions)
    discarded = sum(session.discarded_rounds for session in sessions) / rounds
    steady = spread <= STEADY and discarded <= USUAL_DISCARDED
    return Finding(
        what="steadiness",
        found=f"the largest {SPACE} takes {np.median(own_ms):.4g} ms; {len(sessions)} sessions are up to {100 * spread:.1f} % "
        f"apart, the network and itself, loaded again, {100 * again:.1f} %; {100 * discarded:.0f} % of rounds were disturbed",
        fine=steady,
        advice="" if steady else "end other work, or measure in a quieter hour or on a machine of your own",
    )
