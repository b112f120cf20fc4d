"""Tests of what NVML tells on a GPU, and of the messages without GPU, driver or wheel."""

import re
import sys

import pytest

from hwnas.errors import DeviceError
from hwnas.profiler.nvml import THROTTLING, Gpu, energy_counter, full_uuid, throttling, visible

UUID = "8932f937-d72c-4106-c12f-20bd9faed9f6"


def no_gpu() -> str | None:
    """Why there is none, or None."""
    try:
        Gpu()
    except DeviceError as error:
        return str(error)
    return None


NO_GPU = no_gpu()
needs_gpu = pytest.mark.skipif(NO_GPU is not None, reason=f"needs an NVIDIA GPU: {NO_GPU}")


@pytest.mark.skipif(NO_GPU is None, reason="there is a driver")
@pytest.mark.parametrize("make", [Gpu, lambda: Gpu(uuid=UUID), lambda: energy_counter("cuda")])
def test_without_a_driver_one_line_says_so(make) -> None:
    with pytest.raises(DeviceError, match=r"^NVML: no NVIDIA driver can be used here \(.+\); is there such a GPU\?$"):
        make()


def test_without_the_wheel_one_line_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(
        DeviceError, match=r"^NVML: the wheel nvidia-ml-py is not installed; `pip install nvidia-ml-py`$"
    ):
        Gpu()


def test_a_device_without_a_counter_is_refused_before_nvml_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(
        DeviceError, match=r"^device cpu has no counter of energy that can be read; cuda and tensorrt have one$"
    ):
        energy_counter("cpu")


def test_settings_and_idling_throttle_nothing() -> None:
    assert throttling(0x0) == throttling(0x1 | 0x2 | 0x10 | 0x100) == ()


def test_every_reason_is_told_and_no_other() -> None:
    for bit, reason in THROTTLING.items():
        assert throttling(bit | 0x1 | 0x100) == (reason,)
    assert throttling(2**64 - 1) == tuple(THROTTLING.values())


def test_the_bits_are_those_of_nvml() -> None:
    import pynvml

    settings = {"GpuIdle", "ApplicationsClocksSetting", "UserDefinedClocks", "SyncBoost", "DisplayClockSetting"}
    bits = {
        getattr(pynvml, name)
        for name in dir(pynvml)
        if (found := re.fullmatch(r"nvmlClocks(?:Event|Throttle)Reason([A-Z]\w+)", name))
        and found[1] not in {"All", "None", *settings}
    }
    assert bits == set(THROTTLING)


@pytest.mark.parametrize(("index", "listed", "which"), [(2, None, 2), (0, "3", 3), (1, "3, 1", 1), (0, UUID, UUID)])
def test_a_gpu_is_the_one_that_cuda_sees(index: int, listed: str | None, which: int | str) -> None:
    assert visible(index, listed) == which


@pytest.mark.parametrize(("index", "listed"), [(0, ""), (0, "-1"), (2, "0,1"), (1, "0,-1")])
def test_a_gpu_that_cuda_does_not_see_is_refused_with_what_hides_it(index: int, listed: str) -> None:
    message = rf"^NVML: no GPU {index} is visible: CUDA_VISIBLE_DEVICES is '{listed}'$"
    with pytest.raises(DeviceError, match=message):
        visible(index, listed)


def test_a_uuid_is_written_as_nvml_writes_it_once() -> None:
    assert full_uuid(full_uuid(UUID)) == full_uuid(UUID) == f"GPU-{UUID}"
    assert full_uuid(f"MIG-{UUID}") == f"MIG-{UUID}"


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_tells_what_it_is_and_how_it_runs() -> None:
    gpu = Gpu()
    assert gpu.name() and gpu.driver()
    state = gpu.state()
    assert 0 < state.mhz < 10_000 and 0 < state.celsius < 120


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"^NVML: no GPU GPU-0+-0000.*; `nvidia-smi -L` lists"):
        Gpu(uuid="00000000-0000-0000-0000-000000000000")


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_of_torchs_uuid_counts_the_energy_of_its_work() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a torch with CUDA")
    from hwnas.profiler.energy import energy_mj_per_call

    x = torch.randn(2048, 2048, device="cuda")

    def run(calls: int) -> None:
        for _ in range(calls):
            x @ x
        torch.cuda.synchronize()

    uuid = str(torch.cuda.get_device_properties(0).uuid)
    energy = energy_mj_per_call(run, energy_counter("cuda", uuid=uuid))
    assert energy.uncertainty <= 0.1
    assert 20 < energy.watts < 2000
