"""Laws of the search loop: it goes on as if it had not stopped, and what is bounded comes within its bound."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hwnas
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.costs.cost import Limit
from hwnas.costs.sizes import SizeCost
from hwnas.data.dataset import load_data
from hwnas.data.images import ImageData
from hwnas.errors import TrainingError
from hwnas.strategies.gradient.constraint import Constraint
from hwnas.strategies.gradient.penalties import penalty
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.samplers import SAMPLERS, sampler
from hwnas.strategies.gradient.schedule import Phase, Schedule
from hwnas.strategies.gradient.search import GradientSearch
from hwnas.strategies.gradient.steps import Chance
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.recipes import BY_OPTIMIZER

RECIPE = replace(BY_OPTIMIZER["sgd"], epochs=3, batch_size=32, learning_rate=0.05)
HALVED = Schedule(warmup_epochs=1, phases=(Phase(), Phase(kept=0.5, resting=0.4)))


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space("mobilenet", resolution=16, width=0.25)


@pytest.fixture(scope="module")
def data(space: SearchSpace) -> ImageData:
    return load_data("digits", space.input_shape, limit=128)


def bounded(space: SearchSpace, name: str, share: float) -> Constraint:
    """At most a share of the largest network's cost."""
    cost = SizeCost(space, name)
    largest = float(cost.values(space.encode([space.largest()]))[0])
    constraint = Constraint.of(Limit(cost, share * largest), space)
    assert constraint is not None
    return constraint


def search(
    space: SearchSpace, data: ImageData, *, name: str = "drnas", share: float = 0.6, **changes: Any
) -> GradientSearch:
    """Bounded by a share of the largest network's FLOPs."""
    torch.manual_seed(0)
    supernet = Supernet(space)
    arguments: dict[str, Any] = {
        "supernet": supernet,
        "relaxation": Relaxation(space, sampler(name), torch.Generator().manual_seed(0)),
        "data": data,
        "task": load_task("classification"),
        "recipe": RECIPE,
        "schedule": Schedule(warmup_epochs=1),
        "penalty": penalty("budget"),
        "constraints": [bounded(space, "flops", share)],
        "seed": 0,
        "reporter": Silent(),
    }
    return GradientSearch(**arguments | changes)


class KilledError(Exception):
    """Stands for a process that is gone."""


class KillAfter:
    """Waits for nobody: gone in the middle of an epoch."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def track(self, items: Sequence[Any], what: str) -> Iterable[Any]:
        for number, item in enumerate(items):
            if number == self.steps:
                raise KilledError
            yield item

    def note(self, text: str) -> None:
        return None


def state(found: GradientSearch) -> dict[str, torch.Tensor]:
    return found.supernet.state_dict() | found.relaxation.state_dict()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_search_killed_in_any_epoch_goes_on_as_if_it_had_not_been(
    space: SearchSpace, data: ImageData, tmp_path: Path, name: str
) -> None:
    whole = search(space, data, name=name)
    history = whole.run(tmp_path / "whole.pt")
    for steps in (1, 3, 5):
        with pytest.raises(KilledError):
            search(space, data, name=name, reporter=KillAfter(steps)).run(tmp_path / "killed.pt")
    resumed = search(space, data, name=name)
    assert resumed.run(tmp_path / "killed.pt") == history
    for key, tensor in state(whole).items():
        assert torch.equal(tensor, state(resumed)[key]), key


def test_a_warm_up_trains_weights_alone_and_is_what_a_search_goes_on_from(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    found = search(space, data)
    before = {key: tensor.clone() for key, tensor in state(found).items()}
    found.warm_up(tmp_path / "c.pt")
    assert torch.equal(found.relaxation.logits, before["logits"])
    assert not torch.equal(state(found)["layers.stem.conv-s2/conv/weight"], before["layers.stem.conv-s2/conv/weight"])
    history = search(space, data).run(tmp_path / "c.pt")
    assert [progress.epoch for progress in history] == [2, 3, 4]
    whole = search(space, data).run(tmp_path / "other.pt")
    assert history == whole


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "uniform"])
def test_expected_costs_come_within_their_bound_and_without_a_penalty_they_do_not(
    space: SearchSpace, data: ImageData, tmp_path: Path, name: str
) -> None:
    recipe = replace(RECIPE, epochs=12)
    schedule = Schedule(warmup_epochs=0, arch_rate=0.1 * SAMPLERS[name].training.every)
    arguments = {"name": name, "share": 0.15, "recipe": recipe, "schedule": schedule}
    free = search(space, data, penalty=penalty("none"), **arguments).run(tmp_path / "free.pt")
    held = search(space, data, **arguments).run(tmp_path / "held.pt")
    assert held[-1].ratios[0] < 1.05
    assert free[-1].ratios[0] > held[-1].ratios[0] + 0.05
    assert max(progress.multipliers[0] for progress in held) > 0


def test_two_constraints_are_held_at_once(space: SearchSpace, data: ImageData, tmp_path: Path) -> None:
    constraints = [bounded(space, name, share) for name, share in (("flops", 0.4), ("params", 0.25))]
    recipe, schedule = replace(RECIPE, epochs=15), Schedule(warmup_epochs=0, arch_rate=0.1)
    found = search(space, data, constraints=constraints, recipe=recipe, schedule=schedule).run(tmp_path / "c.pt")
    assert max(found[-1].ratios) < 1.05


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_epoch(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    good = search(space, data)
    good.warm_up(tmp_path / "c.pt")
    kept = (tmp_path / "c.pt").read_bytes()
    bad = search(space, data, recipe=replace(RECIPE, learning_rate=1e30, clip_norm=1e30))
    with pytest.raises(TrainingError, match=r"the loss of epoch 2 is not a number.*last good epoch is kept in .*c\.pt"):
        bad.run(tmp_path / "c.pt")
    assert (tmp_path / "c.pt").read_bytes() == kept


def test_a_progressive_search_keeps_a_share_of_the_options_from_half_way_on(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    found = search(space, data, recipe=replace(RECIPE, epochs=6), schedule=HALVED)
    history = found.run(tmp_path / "c.pt")
    assert [progress.epoch for progress in history if progress.arch_loss is None] == [5]  # the first epoch of the phase
    for name, probability_K in found.relaxation.probabilities().items():
        assert int((probability_K > 0).sum()) == -(-len(space.choice(name).options) // 2)


def test_partial_channels_leave_the_others_weights_alone_up_to_half_way(tmp_path: Path) -> None:
    space = hwnas.space("nasbench201", resolution=8, width=4, cells=1)
    data = load_data("digits", space.input_shape, limit=64)
    phases = (Phase(partial=2), Phase())
    schedule = Schedule(warmup_epochs=1, phases=phases)
    recipe = replace(RECIPE, epochs=2, weight_decay=0.0)
    found = search(space, data, schedule=schedule, recipe=recipe)
    before = convolutions(found.supernet)
    found.warm_up(tmp_path / "c.pt")
    first = convolutions(found.supernet)
    for old, new in zip(before, first, strict=True):
        half = len(old) // 2
        assert torch.equal(old[half:], new[half:]) and torch.equal(old[:, half:], new[:, half:])
        assert not torch.equal(old[:half, :half], new[:half, :half])
    found.run(tmp_path / "c.pt")
    assert not any(torch.equal(old[-1], new[-1]) for old, new in zip(first, convolutions(found.supernet), strict=True))


def convolutions(supernet: Supernet) -> list[Tensor]:
    """A copy of those of all edges."""
    return [parameter.detach().clone() for name, parameter in supernet.named_parameters() if "relu_conv/conv" in name]


@pytest.mark.parametrize(
    ("epochs", "starts"),
    [(1, ["first"]), (2, ["first", "second"]), (5, ["first", "", "", "second", ""])],
)
def test_phases_are_equally_long_and_the_warm_up_is_as_the_first(epochs: int, starts: list[str]) -> None:
    names = {1: "first", 2: "second"}
    schedule = Schedule(warmup_epochs=2, phases=(Phase(partial=1), Phase(partial=2)))
    begun = [schedule.phase(epoch, epochs) for epoch in range(2 + epochs)]
    assert [names[phase.partial] if starts else "" for starts, phase in begun] == ["", "", *starts]
    assert [phase.partial for _, phase in begun] == sorted(phase.partial for _, phase in begun)


def test_probabilities_rest_in_the_warm_up_and_while_channels_that_came_in_are_young() -> None:
    """DrNAS's 10 of 25 epochs, twice: the warm-up stands for the first."""
    schedule = Schedule(warmup_epochs=10, phases=(Phase(partial=4), Phase(resting=0.4)))
    assert [epoch for epoch in range(50) if schedule.rests(epoch, 40)] == [*range(10), *range(30, 38)]


@pytest.mark.parametrize(("epochs", "age"), [(2, 1), (4, 2)])
def test_no_option_is_dropped_by_young_probabilities(
    space: SearchSpace, data: ImageData, tmp_path: Path, epochs: int, age: int
) -> None:
    found = search(space, data, recipe=replace(RECIPE, epochs=epochs), schedule=HALVED)
    with pytest.raises(
        TrainingError, match=rf"after {age} epochs .*too young.*need 3 .*more --epochs \(here {epochs}\)"
    ):
        found.warm_up(tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize("name", ["drnas", "gumbel"])
def test_a_separate_penalty_leaves_the_step_along_the_task_alone(
    space: SearchSpace, data: ImageData, name: str
) -> None:
    """So does Adam's memory of it: what the task has added, and the preferences, are those of a search without a penalty."""
    moved = {}
    for kind in ("budget", "none"):
        found = search(space, data, name=name, share=0.15, penalty=penalty(kind))
        steps, chance = found._steps(100), Chance(1.0, torch.Generator().manual_seed(0))
        start = found.relaxation.logits.detach().clone()
        x, labels = data.training_batch(np.arange(16), np.random.default_rng(0))
        steps.arch_step((x, labels), chance)
        moved[kind] = found.relaxation.logits.detach() - found.relaxation.tilt
        assert (found.relaxation.tilt != 0).any() == (kind == "budget") and not torch.equal(moved[kind], start)
        moved[f"{kind}, preferred"] = torch.cat(list(found.relaxation.preferences().values()))
    assert torch.allclose(moved["budget"], moved["none"], atol=1e-7)
    assert torch.allclose(moved["budget, preferred"], moved["none, preferred"], atol=1e-6)


@pytest.mark.parametrize("kind", ["budget", "proxyless-linear"])
def test_a_step_of_gates_moves_drawn_options_alone_and_keeps_the_probabilities_of_the_others(
    space: SearchSpace, data: ImageData, kind: str
) -> None:
    """Neither momentum nor decay moves an option that was not drawn; the pair keeps what it had together."""
    found = search(space, data, name="gates", share=0.15, penalty=penalty(kind), schedule=Schedule(arch_rate=0.1))
    relaxation, steps = found.relaxation, found._steps(1)
    batch = data.training_batch(np.arange(16), np.random.default_rng(0))
    source = torch.Generator().manual_seed(0)
    for _ in range(3):
        same = torch.Generator()
        same.set_state(source.get_state())
        drawn, before = relaxation.draw(1.0, same), relaxation.logits.detach().clone()
        probabilities = {name: p_K.detach().clone() for name, p_K in relaxation.probabilities().items()}
        movable_L = relaxation.movable(drawn)
        steps.arch_step(batch, Chance(1.0, source))
        now = relaxation.logits.detach()
        assert torch.equal(now[~movable_L], before[~movable_L]) and (now[movable_L] != before[movable_L]).any()
        for name, p_K in relaxation.probabilities().items():
            others = [at for at in range(len(p_K)) if at not in drawn[name].options]
            assert torch.allclose(p_K[others], probabilities[name][others], atol=1e-6)


def test_gates_train_the_weights_by_one_path_drawn_by_probability(space: SearchSpace, data: ImageData) -> None:
    found = search(space, data, name="gates")
    seen: list[int] = []
    whole = found.supernet.forward

    def watched(x: Tensor, drawn: dict[str, Any], partial: int = 1) -> Tensor:
        seen.append(max(len(each.options) for each in drawn.values()))
        return whole(x, drawn, partial)

    found.supernet.forward = watched  # type: ignore[method-assign]
    steps, chance = found._steps(1), Chance(1.0, torch.Generator().manual_seed(0))
    batch = data.training_batch(np.arange(16), np.random.default_rng(0))
    steps.weights_step(batch, chance)
    steps.arch_step(batch, chance)
    assert seen == [1, 2]


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "uniform"])
def test_logits_have_the_published_rate_unless_a_search_is_short(
    space: SearchSpace, data: ImageData, name: str
) -> None:
    training = SAMPLERS[name].training
    rates = {
        per_epoch: search(space, data, name=name)._steps(per_epoch).of_arch.param_groups[0]["lr"]
        for per_epoch in (10, 10**6)
    }
    assert rates[10**6] == training.rate
    assert rates[10] == pytest.approx(max(training.rate, 6.0 * training.every / 30))


def test_fbnet_teaches_the_weights_by_four_fifths_of_the_examples(space: SearchSpace, data: ImageData) -> None:
    of_weights, of_arch = search(space, data, name="gumbel")._halves()
    assert len(of_weights) == round(0.8 * len(data.train)) and len(of_weights) + len(of_arch) == len(data.train)


def test_the_divergence_regularises_instead_of_the_squares(space: SearchSpace, data: ImageData) -> None:
    found = search(space, data, schedule=Schedule(divergence=True))
    with torch.no_grad():
        found.relaxation.logits.normal_(generator=torch.Generator().manual_seed(0))
    logits = found.relaxation.logits
    (slope,) = torch.autograd.grad(found.relaxation.divergence(), logits)
    assert torch.allclose(found._steps(1)._regularisation(), 1e-3 * slope)
    assert torch.allclose(search(space, data)._steps(1)._regularisation(), 1e-3 * search(space, data).relaxation.logits)


def test_uniform_sampling_trains_no_probabilities_and_spends_all_data_on_weights(
    space: SearchSpace, data: ImageData, tmp_path: Path
) -> None:
    found = search(space, data, name="uniform")
    before = found.relaxation.logits.clone()
    history = found.run(tmp_path / "c.pt")
    assert torch.equal(found.relaxation.logits, before)
    assert all(progress.arch_loss is None for progress in history)
    of_weights, of_arch = found._halves()
    assert sorted(of_weights) == list(range(len(data.train))) and len(of_arch) == 0


def test_weights_and_probabilities_learn_from_different_examples(space: SearchSpace, data: ImageData) -> None:
    of_weights, of_arch = search(space, data)._halves()
    assert not set(of_weights) & set(of_arch)
    assert sorted([*of_weights, *of_arch]) == list(range(len(data.train)))


def test_an_unrolled_step_follows_the_loss_after_a_step_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against finite differences of the validation loss at the weights that one plain step leads to; one weight is frozen."""
    monkeypatch.setattr("hwnas.strategies.gradient.steps.DIFFERENCE", 1e-6)  # float64
    space = hwnas.space("conv_macro", resolution=16, features=16, dropout=0.0)
    data = load_data("digits", space.input_shape, limit=64)
    recipe = replace(RECIPE, learning_rate=0.05, weight_decay=0.0)
    found = search(space, data, name="darts", recipe=recipe, penalty=penalty("proxyless-linear"))
    found.supernet.double()
    found.relaxation.double()
    with torch.no_grad():
        for parameter in found.supernet.parameters():
            parameter.copy_(torch.randn_like(parameter) / (parameter[0].numel() if parameter.dim() > 1 else 100) ** 0.5)
    next(found.supernet.parameters()).requires_grad_(False)
    steps = found._steps(1)
    rng, chance = np.random.default_rng(0), Chance(1.0, torch.Generator().manual_seed(0))
    (x, labels), (more, others) = (data.training_batch(np.arange(at, at + 8), rng) for at in (0, 8))
    batch, weights_batch = (x.double(), labels), (more.double(), others)
    gradients: list[torch.Tensor] = []
    object.__setattr__(steps, "multiplier_K", steps.multiplier_K.double())
    steps.of_arch.step = lambda: gradients.append(steps.relaxation.logits.grad.clone())  # type: ignore[method-assign]
    steps.unrolled_step(batch, chance, weights_batch)

    start = {name: tensor.clone() for name, tensor in found.supernet.state_dict().items()}
    weights = [weight for weight in found.supernet.parameters() if weight.requires_grad]
    logits = found.relaxation.logits

    def after_a_step() -> float:
        grads = torch.autograd.grad(
            steps._loss(weights_batch, steps._drawn(chance), chance, RECIPE.label_smoothing), weights
        )
        with torch.no_grad():
            for weight, grad in zip(weights, grads, strict=True):
                weight.sub_(grad, alpha=0.05)
            drawn = steps._drawn(chance)
            loss = steps._penalised(steps._loss(batch, drawn, chance), drawn)
        found.supernet.load_state_dict(start)
        return float(loss)

    for entry in range(0, len(logits), 5):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                logits[entry] += sign * 1e-6
            sides.append(after_a_step())
            with torch.no_grad():
                logits[entry] -= sign * 1e-6
        difference = (sides[0] - sides[1]) / 2e-6
        decay = 1e-3 * float(logits.detach()[entry])
        assert gradients[0][entry] - decay == pytest.approx(difference, rel=1e-3, abs=1e-9)
