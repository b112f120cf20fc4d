"""Laws of networks that are timed side by side: what is noise, and where the time goes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hwnas.errors import DeviceError, HwnasError
from hwnas.pipeline.blocks import by_prefix
from hwnas.pipeline.measured import LOADED_AGAIN, MeasuredNetwork, MeasuredNetworks, measure_networks
from hwnas.pipeline.named_networks import named_networks
from hwnas.profiler.device import conditions_here
from hwnas.profiler.export import to_onnx
from hwnas.profiler.protocol import Protocol, Timing

MODEL = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(24, 48), nn.Linear(48, 24)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))

class Net(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.stem, self.head = nn.Linear(8, 24), nn.Linear(24, 3)
        self.blocks = nn.Sequential(*[Block() for _ in range(blocks)])

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))

def make():
    return Net(3), torch.zeros(1, 8)

def depends():
    class Depends(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x
    return Depends(), torch.zeros(1, 8)
"""
QUICK = Protocol(rounds=3, most_rounds=3, burst_ms=0.5, warmup_ms=0.5, unconverged=10.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.pipeline.timing.PROTOCOL", QUICK)


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(MODEL)
    return f"{path}:make"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "small.onnx"
    path.write_bytes(to_onnx(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (8,), batch="dynamic"))
    return str(path)


def timing(p10_ms: float, half_width: float = 0.001, tail: float = 1.1) -> Timing:
    return Timing(
        p10_ms=p10_ms,
        median_ms=p10_ms * tail,
        p90_ms=2 * p10_ms,
        spread=0.01,
        half_width=half_width,
        converged=True,
        calls=100,
        discarded=0,
        rounds_ms=(p10_ms,) * 5,
    )


def side_by_side(*timings: Timing, repeat: float = 0.0) -> MeasuredNetworks:
    networks = [
        MeasuredNetwork(name=name, timing=one, ratio=one.median_ms / timings[0].median_ms, mib=1.0, params=None)
        for name, one in zip("abcdef", timings, strict=False)
    ]
    return MeasuredNetworks(conditions=conditions_here("cpu"), networks=tuple(networks), repeat=repeat)


# ---- noise


@given(st.floats(0.01, 100), st.floats(1, 2))
def test_networks_are_told_apart_beyond_the_noise_whatever_their_order(fast_ms: float, ratio: float) -> None:
    one, other = timing(fast_ms), timing(fast_ms * ratio)
    ties = [list(side_by_side(*pair).ties()) for pair in ((one, other), (other, one))]
    for found in ties:
        assert bool(found) == (ratio - 1 <= LOADED_AGAIN) or abs(ratio - 1 - LOADED_AGAIN) < 1e-9


@pytest.mark.parametrize(
    ("networks", "repeat"),
    [
        ((timing(1.0, 0.03), timing(1.05, 0.03)), 0.0),  # their own noise
        ((timing(1.0), timing(1.05)), 0.06),  # what two loads of one network differ by
        ((timing(1.0), timing(1.05, tail=1.1 / 1.05)), 0.0),  # the medians are alike
    ],
)
def test_every_source_of_noise_makes_a_tie(networks: tuple[Timing, ...], repeat: float) -> None:
    assert [tie.names for tie in side_by_side(*networks, repeat=repeat).ties()] == [("a", "b")]
    assert not list(side_by_side(timing(1.0), timing(1.05)).ties())


# ---- measuring


def test_networks_of_every_kind_are_measured_in_their_order(module: str, file: str) -> None:
    measured = measure_networks(named_networks([module, file, file]), conditions_here("cpu", batch=2))
    first, *files = measured.networks
    assert [network.name for network in measured.networks] == [module, file, file]
    assert first.ratio == 1 and all(network.ratio > 0 for network in files)
    made = 8 * 24 + 24 + 3 * (24 * 48 + 48 + 48 * 24 + 24) + 24 * 3 + 3
    assert first.params == made and first.mib > 4 * made / 2**20
    assert files[0].params is None and files[0].mib == Path(file).stat().st_size / 2**20


def test_the_blocks_of_a_module_are_timed_alone_and_equal_ones_once(module: str) -> None:
    (network,) = measure_networks(named_networks([module]), conditions_here("cpu"), blocks=True).networks
    (breakdown,) = network.breakdowns
    names, times_ms = [share.name for share in breakdown.shares], [share.ms for share in breakdown.shares]
    assert names == ["stem", "blocks.0", "blocks.1", "blocks.2", "head"] and breakdown.alone
    assert len(set(times_ms[1:4])) == 1 and min(times_ms) > 0
    assert sum(share.share for share in breakdown.shares) == pytest.approx(1)


def test_the_operations_of_a_file_are_told_by_type_and_by_name(module: str, file: str) -> None:
    (network,) = measure_networks(named_networks([file]), conditions_here("cpu"), blocks=True).networks
    types, names = network.breakdowns
    assert {"Gemm", "FusedGemm"} & {share.name for share in types.shares}
    assert sum(share.ms for share in types.shares) == pytest.approx(sum(share.ms for share in names.shares))
    assert types.sum_to_whole > 0 and not types.alone


def test_modules_run_by_pytorch_have_blocks_and_files_have_none(module: str, file: str) -> None:
    conditions = conditions_here("cpu", runtime="torch")
    (network,) = measure_networks(named_networks([module]), conditions, blocks=True).networks
    assert len(network.breakdowns[0].shares) == 5
    with pytest.raises(DeviceError, match=r"small\.onnx: the operations of a file are timed by ONNX Runtime on a CPU"):
        measure_networks(named_networks([module, file]), conditions, blocks=True)


PATHS = st.lists(st.tuples(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.floats(0.1, 9)), min_size=1)


@given(PATHS)
def test_the_times_of_prefixes_add_up_to_those_of_all_nodes(nodes: list[tuple[list[str], float]]) -> None:
    named_ms = [(f"/{'/'.join(path)}", ms) for path, ms in nodes]
    prefixes = by_prefix(named_ms)
    assert sum(prefixes.values()) == pytest.approx(sum(ms for _, ms in named_ms))
    assert all(any(f"{name}/".startswith(f"/{prefix}/") for name, _ in named_ms) for prefix in prefixes)


def test_blocks_of_names_are_not_split_into_single_nodes() -> None:
    named_ms = [(f"/layers/{block}/{node}", 1.0) for block in "ab" for node in ("Conv", "Relu")]
    assert by_prefix(named_ms) == {"layers/a": 2.0, "layers/b": 2.0}


# ---- names


def test_new_weights_are_enough_and_given_ones_are_read(module: str, tmp_path: Path) -> None:
    (network,) = named_networks([module])
    torch.save({"stem.weight": torch.zeros(24, 8)}, tmp_path / "w.pth")
    with pytest.raises(HwnasError, match="are not the weights of this model"):
        named_networks([module], weights=str(tmp_path / "w.pth"))
    assert network.params


def test_the_sizes_of_inputs_are_those_of_modules(module: str, file: str, tmp_path: Path) -> None:
    path = tmp_path / "image.py"
    path.write_text("from torch import nn\ndef make():\n    return nn.Conv2d(3, 4, 3)\n")
    image, other = named_networks([f"{path}:make", file], resolution=12)
    model, _ = image.load(conditions_here("cpu"))
    assert model.run(np.zeros((1, 3, 12, 12), dtype=np.float32)).shape == (1, 4, 10, 10) and other.params is None
    with pytest.raises(HwnasError, match="--resolution is for torch modules, and a file has its own; leave it out"):
        named_networks([file], resolution=12)
    with pytest.raises(HwnasError, match="--weights are those of one torch module"):
        named_networks([module, module], weights="w.pth")


def test_a_file_of_python_without_a_name_is_asked_for_one(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("")
    with pytest.raises(HwnasError, match=r"net.py: names no function; give .*net.py:NAME, a function that returns"):
        named_networks([str(tmp_path / "net.py")])
