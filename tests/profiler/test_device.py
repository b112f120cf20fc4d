"""Laws of devices and conditions: what cannot be used is refused with a reason, and equal conditions compare equal."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hwnas
from hwnas.errors import DeviceError, UnknownNameError
from hwnas.profiler import device as device_module
from hwnas.profiler.cores import cores_in_words, usable_cores
from hwnas.profiler.device import conditions_here, devices, differences, require_precisions
from hwnas.profiler.export import to_onnx
from hwnas.profiler.runtime import RUNTIMES, Forms, runtime
from hwnas.profiler.runtime_onnx import PROVIDERS, RUNTIME
from hwnas.spaces import with_precisions

CORES = usable_cores()


def test_an_unknown_device_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown device 'toaster'; known: cpu, cuda"):
        conditions_here("toaster")


@pytest.mark.skipif(RUNTIME.missing("cuda") is None, reason="onnxruntime here has CUDA")
def test_cuda_on_a_wheel_without_it_is_an_error_that_names_the_wheel() -> None:
    with pytest.raises(DeviceError, match=r"device cuda: .*CUDAExecutionProvider; install onnxruntime-gpu"):
        conditions_here("cuda")


@pytest.mark.parametrize("threads", [-1, 0, CORES + 1])
def test_threads_the_machine_has_not_are_refused(threads: int) -> None:
    with pytest.raises(DeviceError, match=rf"^{threads} threads on {cores_in_words()}.*; give --threads .*{CORES}$"):
        conditions_here("cpu", threads=threads)


def test_a_batch_of_nothing_and_a_precision_that_is_not_supported_are_refused() -> None:
    with pytest.raises(DeviceError, match="batch must be at least 1, not 0"):
        conditions_here("cpu", batch=0)
    with pytest.raises(UnknownNameError, match="unknown precision 'fp8'; known: bf16, fp16, fp32, int8"):
        conditions_here("cpu", precision="fp8")
    with pytest.raises(
        DeviceError,
        match="on cpu does not compute in fp16; --runtime torch does; it has fp32, int8",
    ):
        conditions_here("cpu", precision="fp16")


def test_a_step_is_a_condition_that_older_tables_need_not_have() -> None:
    whole, decoding = conditions_here("cpu"), conditions_here("cpu", step="decode")
    assert "step" not in whole.describe()
    assert differences(decoding.describe(), whole.describe()) == ["step None (here decode)"]
    with pytest.raises(UnknownNameError, match="unknown step 'encode'; known: decode, whole"):
        conditions_here("cpu", step="encode")
    with pytest.raises(DeviceError, match=r"decoding is not quantised: .*; give --precision fp32"):
        conditions_here("cpu", step="decode", precision="int8", runtime_options={"slow_int8": "allowed"})
    mixed = with_precisions(hwnas.space("gpt", length=8), ("fp32", "int8"))
    with pytest.raises(DeviceError, match="decoding is not quantised; leave out --precisions, or step=decode"):
        require_precisions(mixed, decoding.describe())


def test_int8_on_a_cpu_that_is_slow_at_it_is_refused_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(device_module, "CPUINFO", cpuinfo)
    cpuinfo.write_text("model name : A\nflags : sse2 avx2\n")
    with pytest.raises(DeviceError, match=r"int8 is slower than fp32 .*--runtime-option slow_int8=allowed"):
        conditions_here("cpu", precision="int8")
    asked = conditions_here("cpu", precision="int8", runtime_options={"slow_int8": "allowed"})
    cpuinfo.write_text("model name : A\nflags : sse2 avx2 avx_vnni\n")
    assert conditions_here("cpu", precision="int8").precision == asked.precision == "int8"


def test_options_of_the_runtime_are_conditions_where_they_are_not_the_usual_ones() -> None:
    usual = conditions_here("cpu", runtime_options={"graph_optimization": "all", "allow_spinning": "1"})
    assert usual == conditions_here("cpu")
    other = conditions_here("cpu", runtime_options={"graph_optimization": "disabled"})
    assert differences(usual.describe(), other.describe()) == [
        "runtime_options {'graph_optimization': 'disabled'} (here {})"
    ]
    with pytest.raises(UnknownNameError, match="unknown runtime option 'spinning'; known: allow_spinning"):
        conditions_here("cpu", runtime_options={"spinning": "1"})
    with pytest.raises(DeviceError, match="runtime option allow_spinning is 'yes'; it can be 1, 0"):
        conditions_here("cpu", runtime_options={"allow_spinning": "yes"})


def test_a_runtime_that_is_not_known_or_has_not_the_device_is_refused() -> None:
    with pytest.raises(DeviceError, match="runtime torch has no device tensorrt; it has cpu, cuda"):
        conditions_here("tensorrt", runtime="torch")
    with pytest.raises(UnknownNameError, match=r"unknown runtime 'tvm'; known: FILE.py:NAME, onnxruntime, torch"):
        conditions_here("cpu", runtime="tvm")


def test_conditions_are_the_same_when_asked_twice_and_differ_in_what_was_asked() -> None:
    conditions = conditions_here("cpu", threads=CORES, batch=2)
    assert conditions == conditions_here("cpu", threads=CORES, batch=2)
    assert differences(conditions.describe(), conditions_here("cpu", threads=CORES, batch=3).describe()) == [
        "batch 3 (here 2)"
    ]
    assert (conditions.provider, conditions.options.threads) == (PROVIDERS["cpu"][0], CORES)


def test_conditions_name_the_processor_and_the_runtime() -> None:
    conditions = conditions_here("cpu")
    assert cores_in_words() in conditions.hardware and not conditions.hardware.startswith(" (")
    assert conditions.runtime.startswith("onnxruntime ") and conditions.runtime[-1].isdigit()


DESCRIPTIONS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3) | st.sampled_from(["x", "y"]))


@given(DESCRIPTIONS, DESCRIPTIONS)
def test_differences_name_each_fact_that_differs_with_both_values(
    ours: dict[str, object], theirs: dict[str, object]
) -> None:
    expected = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    found = differences(ours, theirs)
    assert [line.split()[0] for line in found] == sorted(expected)
    for line in found:
        name = line.split()[0]
        assert line == f"{name} {theirs.get(name)} (here {ours.get(name)})"


def test_every_fact_of_the_conditions_is_compared() -> None:
    ours = conditions_here("cpu")
    for name in ours.describe():
        theirs = replace(ours, **{name: "other"})
        assert differences(ours.describe(), theirs.describe()) == [f"{name} other (here {getattr(ours, name)})"]


def test_every_device_is_listed_with_its_hardware_or_the_reason_it_is_not_usable() -> None:
    rows = {row["device"]: row for row in devices()}
    assert list(rows) == list(PROVIDERS)
    assert rows["cpu"] == {"device": "cpu", "usable": True, "detail": conditions_here("cpu").hardware}
    for device, row in rows.items():
        if not row["usable"]:
            with pytest.raises(DeviceError) as refusal:
                conditions_here(device)
            assert row["detail"] == str(refusal.value)


def test_a_device_that_is_usable_runs_a_model() -> None:
    content = to_onnx(torch.nn.Linear(2, 3), (2,))
    for row in devices():
        if row["usable"]:
            forms = Forms(module=lambda: torch.nn.Linear(2, 3), onnx=lambda: content)
            model, _ = conditions_here(str(row["device"])).load(forms)
            model.bind(np.ones((1, 2), np.float32))
            assert model.run(np.ones((1, 2), np.float32)).shape == (1, 3)


def test_every_option_that_is_not_the_usual_one_reaches_the_runtime() -> None:
    for name in RUNTIMES:
        for option, values in runtime(name).options("cpu").items():
            for value in values[1:]:
                conditions = conditions_here("cpu", runtime=name, runtime_options={option: value})
                assert conditions.options.others == ({} if option == "slow_int8" else {option: value})
