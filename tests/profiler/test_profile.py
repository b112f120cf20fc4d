"""Laws of profiling a space: everything is measured once, by the contract, and nothing twice."""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hwnas.core.choice import Choice
from hwnas.core.layer import Layer, Options
from hwnas.core.operator import Operator
from hwnas.core.space import SearchSpace
from hwnas.core.wiring import Chain
from hwnas.errors import DeviceError, TableError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier
from hwnas.pipeline.predict import fit_table
from hwnas.profiler import device as device_module
from hwnas.profiler import measure as measure_module
from hwnas.profiler.device import conditions_here
from hwnas.profiler.measure import REPEATED, GroupTimer
from hwnas.profiler.profile import (
    ProfileSummary,
    Profiling,
    calibration_networks,
    like_trained,
    network_subject,
    profile,
)
from hwnas.profiler.protocol import Protocol
from hwnas.profiler.setup import Setup
from hwnas.profiler.table import identity, line, read_table
from hwnas.spaces import load_space

QUICK = Protocol(rounds=3, most_rounds=3, burst_ms=0.5, warmup_ms=0.5, unconverged=10.0)
CONDITIONS = conditions_here("cpu")


def fixed(operator: Operator, _: Options) -> Operator:
    return operator


def block(number: int, options: Options) -> Operator:
    kernel, expansion = (int(options[f"block{number}.{name}"]) for name in ("kernel", "expansion"))
    return MBConv(input_shape=(4, 4, 4), channels=4, kernel=kernel, expansion=expansion, shortcut=number > 1)


@cache
def tiny(blocks: int = 2) -> SearchSpace:
    """Stem, blocks of two kernels and two expansions each, head: 4 ** blocks architectures."""
    choices, layers = [], [Layer("stem", (), partial(fixed, ConvBlock(input_shape=(3, 8, 8), channels=4, stride=2)))]
    for number in range(1, blocks + 1):
        own = (Choice(f"block{number}.kernel", (3, 5)), Choice(f"block{number}.expansion", (2, 3)))
        layers.append(Layer(f"block{number}", tuple(choice.name for choice in own), partial(block, number)))
        choices += own
    head = PoolClassifier(input_shape=(4, 4, 4), features=8, classes=3)
    layers.append(Layer("head", (), partial(fixed, head)))
    return SearchSpace("tiny", tuple(choices), Chain(tuple(layers)), (3, 8, 8), 3)


def quickly(path: Path, networks: int, space: SearchSpace | None = None, **changes: Any) -> ProfileSummary:
    options = {"space": space or tiny(), "conditions": CONDITIONS, "protocol": QUICK} | changes
    return profile(Profiling(path=path, **options), networks=networks)


def wanted(networks: int) -> Counter[tuple[str, str, int]]:
    archs = [arch.key for arch in calibration_networks(tiny(), networks)]
    return Counter(
        [("floor", "identity", 0)]
        + [("operator", key, 0) for key in tiny().operators()]
        + [("network", key, 0) for key in archs]
        + [("network", key, 1) for key in archs[:REPEATED]]
    )


# ---- what is measured


@pytest.fixture(scope="module")
def table_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "table.jsonl"
    summary = quickly(path, networks=10)
    assert (summary.path, summary.measured, summary.reused) == (path, wanted(10).total(), 0)
    assert summary.median_half_width == np.median([row["half_width"] for row in read_table(path).rows])
    assert summary.discarded_rounds >= 0 and summary.discarded_bursts >= 0 and summary.unconverged == 0
    assert json.loads(json.dumps(summary.describe()))["path"] == str(path)
    return path


def written(path: Path) -> Counter[tuple[str, str, int]]:
    """Returns how often the file has a line of each thing; a table that is read keeps only the line that counts."""
    return Counter(identity(json.loads(text)) for text in path.read_text().splitlines()[1:])


def test_every_operator_and_the_networks_are_measured_once_and_the_first_networks_twice(table_path: Path) -> None:
    assert written(table_path) == wanted(10)


def test_rows_have_the_fields_of_the_contract(table_path: Path) -> None:
    for row in read_table(table_path).rows:
        assert 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"] < math.inf
        assert row["reference_ms"] > 0 and row["spread"] >= 0
        assert 1 <= len(row["rounds_ms"]) <= QUICK.rounds and row["calls"] >= 3 * len(row["rounds_ms"])
        assert row["half_width"] >= 0 and row["converged"]
        if row["kind"] == "network":
            assert tiny().arch(json.loads(row["key"])).key == row["key"]


def test_the_table_says_under_what_conditions_and_for_which_space(table_path: Path) -> None:
    table = read_table(table_path)
    assert (table.conditions, table.space) == (CONDITIONS.describe(), tiny().describe())


class Sessions:
    """A reporter that keeps what the measuring sessions say of themselves."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def track(self, items: Sequence[Any], what: str) -> Iterable[Any]:
        if what.startswith("measuring"):
            self.said.append(what)
        return items

    def note(self, text: str) -> None:
        raise AssertionError(f"nothing to note: {text}")


def test_repeats_are_measured_in_another_session_than_the_first_time(tmp_path: Path) -> None:
    sessions = Sessions()
    quickly(tmp_path / "t", networks=2, space=tiny(1), reporter=sessions)  # all would fit into one group
    repeated = [row.get("repeat", 0) for row in read_table(tmp_path / "t").rows]
    assert sessions.said == ["measuring 11 models", "measuring 4 models"]
    assert repeated == [0] * 11 + [1] * 4


def test_operators_and_networks_of_token_ids_are_measured(tmp_path: Path) -> None:
    space = load_space(f"{Path(__file__).parents[1] / 'train/token_space.py'}:build")
    summary = quickly(tmp_path / "t", networks=1, space=space)
    assert summary.measured == 1 + len(space.operators()) + 3 + 3


def test_only_norms_and_biases_that_are_all_equal_are_made_random() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    module.register_buffer("positions", torch.zeros(4, dtype=torch.int64))
    nn.init.zeros_(module[0].bias)
    module[2].running_var.copy_(torch.tensor([1.0, 10.0, 100.0, 1000.0]))  # as training leaves it
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    like_trained(module)
    changed = {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}
    norms = {f"{i}.{name}" for i in (1, 2) for name in ("weight", "bias", "running_mean", "running_var")}
    assert changed == (norms | {"0.bias"}) - {"2.running_var"}
    assert all(len(module.state_dict()[name].unique()) == 4 for name in changed)


# ---- what is not measured again


def test_a_finished_table_is_not_measured_again(table_path: Path) -> None:
    content = table_path.read_bytes()
    summary = quickly(table_path, networks=10)
    assert (summary.measured, summary.reused) == (0, wanted(10).total())
    assert summary.discarded_rounds == 0
    assert table_path.read_bytes() == content


def test_more_networks_measure_only_the_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "t"
    quickly(path, networks=9)
    content = path.read_bytes()
    summary = quickly(path, networks=12)
    assert (summary.measured, summary.reused) == (3, wanted(9).total())
    assert path.read_bytes().startswith(content)
    assert written(path) == wanted(12)


def test_a_row_that_is_lost_is_the_only_one_measured_again(tmp_path: Path, table_path: Path) -> None:
    path = tmp_path / "t"
    lines = table_path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:7], *lines[8:]]))
    assert quickly(path, networks=10).measured == 1
    assert written(path) == wanted(10)


def test_rows_with_nothing_but_what_the_contract_asks_are_reused(tmp_path: Path, table_path: Path) -> None:
    path = tmp_path / "t"
    header = table_path.read_bytes().splitlines(keepends=True)[0]
    least = {"kind", "key", "repeat", "p10_ms", "median_ms", "p90_ms", "half_width", "converged", "reference_ms"}
    rows = [{name: value for name, value in row.items() if name in least} for row in read_table(table_path).rows[1:]]
    path.write_bytes(b"".join([header, *map(line, rows)]))
    assert quickly(path, networks=10).measured == 1


def test_a_table_of_other_conditions_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "t"
    quickly(path, networks=0, space=tiny(1))
    content = path.read_bytes()
    with pytest.raises(TableError, match=r"batch 1 \(here 2\)"):
        quickly(path, networks=60, space=tiny(1), conditions=conditions_here("cpu", batch=2))
    with pytest.raises(TableError, match="measured for space"):
        quickly(path, networks=1)
    assert path.read_bytes() == content


@pytest.mark.parametrize(("size", "room"), [(3, 2**30), (40, 1)])
def test_groups_are_bounded_in_number_and_in_bytes_and_lose_nothing(
    size: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_module, "GROUP_SIZE", size)
    monkeypatch.setattr(measure_module, "GROUP_BYTES", room)
    space = tiny(1)
    subjects = [network_subject(space, arch, CONDITIONS) for arch in calibration_networks(space, 4)]
    timer = GroupTimer(subjects[1], Setup(rng=np.random.default_rng(0), protocol=QUICK))
    groups = [rows for rows, _ in timer.groups(subjects)]
    assert [row["key"] for rows in groups for row in rows] == [subject.key for subject in subjects]
    assert [len(rows) for rows in groups] == ([3, 1] if size == 3 else [1, 1, 1, 1])


def test_larger_batches_take_longer_and_are_measured_as_asked(tmp_path: Path) -> None:
    def largest_ms(batch: int) -> float:
        path = tmp_path / f"{batch}"
        quickly(path, networks=0, space=tiny(1), conditions=conditions_here("cpu", batch=batch))
        rows: Sequence[Mapping[str, Any]] = read_table(path).rows
        return min(row["p10_ms"] for row in rows if row["key"] == tiny(1).largest().key)

    assert largest_ms(64) > 3 * largest_ms(1)


def test_energies_are_measured_where_they_are_counted_and_where_a_table_lacks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter of a device that draws 50 W all the time, brought up to date every 5 ms."""
    path = tmp_path / "t.jsonl"
    with pytest.raises(DeviceError, match="device cpu has no counter of energy"):
        quickly(path, 0, tiny(1), energy=True)
    plain = quickly(path, 0, tiny(1))
    monkeypatch.setattr(
        device_module, "energy_counter", lambda device, uuid: lambda: 250 * (time.perf_counter_ns() // 5_000_000)
    )
    counted = quickly(path, 0, tiny(1), energy=True)
    assert counted.measured == plain.measured > 0
    rows = read_table(path).rows
    for row in rows:
        assert 0 < row["energy_uncertainty"] <= 0.1
        # At a steady 50 W energy is time; not the fastest, and of a busy machine any that is longer.
        assert row["energy_mj"] > 0.5 * 50 * row["p10_ms"]
    energy_mj = {row["kind"]: row["energy_mj"] for row in rows}
    assert energy_mj["network"] > energy_mj["floor"]
    assert quickly(path, 0, tiny(1), energy=True).measured == 0


# ---- what is measured again


def test_what_does_not_converge_is_measured_again_and_flagged_and_no_fit_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t"
    monkeypatch.setattr(measure_module, "AGAIN", 1)  # each time takes as long as the first
    # Of three rounds, a busy machine may leave one, and one alone agrees with itself.
    strict = replace(QUICK, rounds=12, most_rounds=12, precision=1e-12, unconverged=1e-12)
    summary = quickly(path, networks=8, protocol=strict)
    table = read_table(path)
    flagged = len(table.unconverged)
    assert summary.unconverged == flagged > 0.5 * len(table.rows)  # a few may by chance be exact
    assert summary.again >= measure_module.AGAIN * flagged
    assert len(path.read_bytes().splitlines()) == 1 + summary.measured + summary.again
    with pytest.raises(TableError, match=rf"{flagged} of {len(table.rows)} rows did not converge.*--allow-unconverged"):
        fit_table(path, tiny())
    assert fit_table(path, tiny(), allow_unconverged=True).report["networks"] == 10
    # The next profile measures just those.
    assert quickly(path, networks=8).measured == flagged
    assert not read_table(path).unconverged


def test_what_was_measured_while_the_device_was_much_slower_is_measured_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_module, "MUCH_SLOWER", -1.0)  # everything was much slower than the fastest
    monkeypatch.setattr(GroupTimer, "is_fast", lambda self, *, patiently: True)  # now it no longer is
    summary = quickly(tmp_path / "t", networks=2, space=tiny(1))
    assert summary.again == summary.measured == 15
    first, second = (json.loads(text) for text in (tmp_path / "t").read_text().splitlines()[1::15])
    assert identity(first) == identity(second)
    assert read_table(tmp_path / "t").rows[0]["rounds_ms"] == second["rounds_ms"]


def test_where_the_device_stays_slow_nothing_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_module, "MUCH_SLOWER", -1.0)
    monkeypatch.setattr(measure_module, "WORTH_WAITING", -1.0)
    impatient = replace(QUICK, patience_s=0.0)
    assert quickly(tmp_path / "t", networks=2, space=tiny(1), protocol=impatient).again == 0


# ---- which networks


@given(count=st.integers(0, 30), seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_calibration_networks_are_the_two_ends_and_different_random_ones(count: int, seed: int) -> None:
    archs = calibration_networks(tiny(), count, seed)
    assert archs[:2] == [tiny().smallest(), tiny().largest()]
    assert len(set(archs)) == len(archs) == min(count + 2, tiny().size)
    assert archs == calibration_networks(tiny(), count, seed)
    assert calibration_networks(tiny(), count + 5, seed)[: len(archs)] == archs  # so that more reuse fewer


class Hiding(SearchSpace):
    """Counts all its architectures, and draws but a few of them."""

    def spread_rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return self.sample_rows(rng, count)

    def sample_rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return super().sample_rows(rng, count) * (np.arange(len(self.choices)) < 2)


def test_where_no_more_architectures_can_be_drawn_there_are_fewer_calibration_networks() -> None:
    hiding = Hiding(**{field.name: getattr(tiny(), field.name) for field in fields(SearchSpace)})
    archs = calibration_networks(hiding, 10)
    assert len(set(archs)) == len(archs) == 5  # two choices of two, and the largest network
    assert hiding.size == 16


def test_calibration_networks_of_different_seeds_differ() -> None:
    large = tiny(6)
    assert calibration_networks(large, 20, 0)[2:] != calibration_networks(large, 20, 1)[2:]


def test_a_space_of_one_architecture_is_its_own_smallest_and_largest() -> None:
    alone = tiny(0)
    assert calibration_networks(alone, 60) == [alone.smallest()]
