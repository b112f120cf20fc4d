"""The laws of runtimes: real networks are loaded on every device that is usable here, and compared with torch."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, final

import numpy as np
import torch
from torch import nn

from hwnas.core.operator import Operator, Shape
from hwnas.errors import DeviceError, HwnasError, UnknownNameError
from hwnas.modules.build import build
from hwnas.operators.conv import ConvBlock, PoolClassifier
from hwnas.operators.transformer import LanguageHead, TokenEmbedding
from hwnas.profiler.clock import Clock
from hwnas.profiler.device import TOLERANCES, conditions_here, known_options, onnx_precision, tolerance
from hwnas.profiler.export import deployed_onnx
from hwnas.profiler.profile import like_trained
from hwnas.profiler.runtime import (
    ArrayF32,
    Forms,
    InputArray,
    Model,
    Runtime,
    RuntimeOptions,
    require_output,
    runtime,
)
from hwnas.testing.laws import Laws, NotApplicableError, naming, require

BATCH: Final = 2
# Calls of a short and of a long repetition; each is timed this often, and the fastest counts, because others disturb.
SHORT, LONG, TIMES = 4, 64, 7
# A single call's time, times the number of calls, may differ this much from the time of as many calls together.
AGREEMENT: Final = 20.0
# A part of conditions that no runtime has.
NOWHERE: Final = "no-such-thing"


@dataclass(frozen=True, slots=True)
class Example:
    """A small network of built-in operators."""

    name: str
    operators: tuple[Operator, ...]

    @property
    def input_shape(self) -> Shape:
        return self.operators[0].input_shape

    @property
    def vocabulary(self) -> int | None:
        return self.operators[0].vocabulary

    def inputs(self, seed: int) -> InputArray:
        """Inputs (BATCH, *input_shape)."""
        rng = np.random.default_rng(seed)
        shape = (BATCH, *self.input_shape)
        if self.vocabulary is not None:
            return rng.integers(0, self.vocabulary, shape)
        return rng.standard_normal(shape, dtype=np.float32)

    def module(self) -> nn.Module:
        """The network with random weights, the same ones every time."""
        torch.manual_seed(0)
        with torch.no_grad():
            return like_trained(nn.Sequential(*(build(operator) for operator in self.operators))).eval()

    def answer(self, seed: int) -> ArrayF32:
        """torch's output in float32 on the CPU."""
        with torch.no_grad():
            output: ArrayF32 = self.module()(torch.from_numpy(self.inputs(seed))).numpy()
        return output

    def forms(self, precision: str) -> Forms:
        """The network in the forms that runtimes take."""

        def onnx() -> bytes:
            return deployed_onnx(
                self.module(),
                self.input_shape,
                [self.inputs(0)],
                precision=onnx_precision(precision),
                batch=BATCH,
                vocabulary=self.vocabulary,
            )

        return Forms(module=self.module, onnx=onnx)


STEM: Final = ConvBlock(input_shape=(3, 16, 16), channels=8, stride=2)
EXAMPLES: Final = (
    Example("images", (STEM, PoolClassifier(input_shape=STEM.output_shape, features=16, classes=5))),
    Example(
        "tokens",
        (TokenEmbedding(input_shape=(6,), tokens=11, embedding=8), LanguageHead(input_shape=(6, 8), tokens=11)),
    ),
)


@final
class RuntimeSubject:
    """A runtime by reference, and the devices of it that are usable here."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.runtime: Runtime = runtime(reference)

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """The devices on which the runtime can load networks here. Raises NotApplicableError where there is none."""
        usable = tuple(device for device in self.runtime.providers() if self.runtime.missing(device) is None)
        if not usable:
            raise NotApplicableError(f"runtime {self.reference} has no device that is usable here")
        return usable

    def loaded(self) -> Iterator[tuple[str, float, Example, Model]]:
        """Every example, loaded on every usable device in every precision; with its place, and the tolerance of its outputs."""
        for device in self.devices:
            for precision in self.runtime.precisions(device):
                for example in EXAMPLES:
                    place = f"runtime {self.reference} on {device} in {precision}, {example.name}"
                    options = RuntimeOptions(device=device, precision=precision)
                    with naming(f"{place}: the network cannot be loaded"):
                        model, _ = self.runtime.load(example.forms(precision), options)
                    yield place, tolerance(device, precision, {}), example, model


def states_its_parts(subject: RuntimeSubject) -> None:
    providers = subject.runtime.providers()
    require(providers, f"runtime {subject.reference} has no devices; providers() gives {providers!r}")
    for device, provider in providers.items():
        place = f"runtime {subject.reference} on {device}"
        precisions, options = subject.runtime.precisions(device), subject.runtime.options(device)
        require(provider, f"{place}: providers() gives {provider!r}; name what runs networks there")
        require("fp32" in precisions, f"{place}: precisions() gives {precisions!r}, without 'fp32'")
        unknown = sorted(set(precisions) - set(TOLERANCES))
        require(not unknown, f"{place}: precision {unknown} is none of {', '.join(TOLERANCES)}")
        for name, values in options.items():
            several = len(set(values)) == len(values) > 1
            require(several, f"{place}: option {name!r} has values {values!r}; give two different ones at least")


def outputs_are_torchs(subject: RuntimeSubject) -> None:
    for place, allowed, example, model in subject.loaded():
        with naming(place):
            model.bind(example.inputs(0))
            for seed in (0, 1):  # a model may not answer for the input that was bound first
                require_output(model, example.inputs(seed), example.answer(seed), allowed)


def times_grow_with_calls(subject: RuntimeSubject) -> None:
    for place, _, example, model in subject.loaded():
        with naming(place):
            model.bind(example.inputs(0))
            model.repeat(SHORT)
            times_ns = np.concatenate([model.times_ns(SHORT, Clock()) for _ in range(TIMES)])
            short_ns, long_ns = (_fastest_ns(partial(model.repeat, calls)) for calls in (SHORT, LONG))
        require(
            len(times_ns) and (times_ns > 0).all(),
            f"{place}: times_ns({SHORT}) gives {times_ns.min()} ns; times are above 0",
        )
        least = LONG / SHORT / 4
        require(
            long_ns > least * short_ns,
            f"{place}: repeat({LONG}) takes {long_ns:,} ns and repeat({SHORT}) {short_ns:,} ns; it should take {least:g} "
            f"times as long at least",
        )
        together, alone = long_ns / LONG, float(np.median(times_ns))
        require(
            1 / AGREEMENT < alone / together < AGREEMENT,
            f"{place}: times_ns gives {alone:,.0f} ns a call, and repeat({LONG}) takes {together:,.0f} ns a call",
        )


def what_is_unknown_is_refused(subject: RuntimeSubject) -> None:
    for device in subject.devices:
        place = f"runtime {subject.reference} on {device}"
        forms = EXAMPLES[0].forms("fp32")
        wrong: list[tuple[str, Mapping[str, str]]] = [(f"option {NOWHERE!r}", {NOWHERE: "1"})]
        wrong += [
            (f"value {NOWHERE!r} of option {name!r}", {name: NOWHERE}) for name in subject.runtime.options(device)
        ]
        for what, others in wrong:
            options = RuntimeOptions(device=device, others=others)
            _require_refused(f"{place}: {what}", partial(subject.runtime.load, forms, options))
        for precision in (NOWHERE, *sorted(set(TOLERANCES) - set(subject.runtime.precisions(device)))):
            _require_refused(
                f"{place}: precision {precision!r}",
                partial(known_options, device, precision=precision, runtime=subject.reference),
            )


def facts_are_complete(subject: RuntimeSubject) -> None:
    version = subject.runtime.version()
    require(version and " " not in version, f"runtime {subject.reference}: version() gives {version!r}; give one word")
    for device in subject.devices:
        place = f"runtime {subject.reference} on {device}"
        with naming(f"{place}: its conditions cannot be made"):
            conditions = conditions_here(device, runtime=subject.reference)
        for name, value in (("hardware", conditions.hardware), ("provider", conditions.provider)):
            require(value, f"{place}: the conditions' {name} is {value!r}; a table needs it")
        require(
            conditions.runtime_name == subject.reference,
            f"{place}: the conditions name {conditions.runtime_name!r}, not {subject.reference!r}",
        )
        model, size = subject.runtime.load(EXAMPLES[0].forms("fp32"), RuntimeOptions(device=device))
        model.bind(EXAMPLES[0].inputs(0))
        require(isinstance(size, int) and size > 0, f"{place}: load() gives a size of {size!r} bytes")
        texts = all(isinstance(text, str) for pair in model.facts.items() for text in pair)
        require(texts, f"{place}: a model's facts are {dict(model.facts)!r}; they are texts by name")


RUNTIME_LAWS: Final[Laws[RuntimeSubject]] = {
    "it states what it has on each of its devices": states_its_parts,
    "outputs are torch's in every precision": outputs_are_torchs,
    "times are positive and grow with the number of calls": times_grow_with_calls,
    "unknown options, values and precisions are refused": what_is_unknown_is_refused,
    "facts and conditions are complete": facts_are_complete,
}


def _fastest_ns(call: Callable[[], None]) -> int:
    times = []
    for _ in range(TIMES):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return max(1, min(times))


def _require_refused(what: str, load: Callable[[], object]) -> None:
    """The request raises UnknownNameError or DeviceError."""
    try:
        load()
    except (UnknownNameError, DeviceError):
        return
    except HwnasError as error:
        require(False, f"{what}: it raises {type(error).__name__}; raise UnknownNameError or DeviceError")
    require(False, f"{what}: it is accepted; refuse it by UnknownNameError or DeviceError")
