"""Laws of requests: what is stored is what was asked, every part is checked by its owner, and no option is ignored."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.requests import flag, option_names
from hwnas.errors import HwnasError, RunError, UnknownNameError
from hwnas.pipeline.request import PARTS, search_request, stored_request
from hwnas.strategies.registry import STRATEGIES, load_strategy_class
from hwnas.train.request import USUAL

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "space_options": st.dictionaries(
            st.text(max_size=5), st.integers() | st.booleans() | st.text(max_size=5), max_size=3
        ),
        "limit_images": st.none() | st.integers(1, 1000),
        "latency_budget": st.sampled_from(["0.4ms", "60%", None]),
        "budget_on": st.sampled_from(["p10", "median", "p90"]),
        "max_params": st.none() | st.integers(1, 10**9).map(float),
        "max_peak_mib": st.none() | st.floats(1e-3, 1e3),
        "device": st.sampled_from([("cpu",), ("cpu", "cpu+threads=2")]),
        "seed": st.integers(0, 2**31),
        "recipe": st.sampled_from(["sandwich", "bignas", "single-path"]),
        "optimizer": st.sampled_from(["auto", "sgd", "adamw"]),
        "learning_rate": st.none() | st.floats(1e-6, 10),
        "table": st.lists(st.text(min_size=1, max_size=5), max_size=2).map(tuple),
        "evaluations": st.integers(1, 500),
        "strategy": st.sampled_from(sorted(STRATEGIES)),
        "final": st.sampled_from(["none", "finetune", "scratch"]),
    },
).filter(lambda options: options.get("strategy") != "nars" or options.get("recipe", USUAL) == USUAL)


@given(OPTIONS)
def test_a_request_comes_back_from_the_json_that_a_run_stores(options: dict[str, Any]) -> None:
    request = search_request(options)
    stored = json.loads(json.dumps({"request": request.describe()}))
    assert stored_request(stored, Path("run.json")) == request


@given(OPTIONS)
def test_a_request_has_the_options_that_were_asked_for(options: dict[str, Any]) -> None:
    flat = search_request(options).options()
    assert {name: flat[name] for name in options} == options


def test_no_option_belongs_to_two_parts() -> None:
    names = [name for part in PARTS.values() for name in option_names(part)]
    assert len(names) == len(set(names))
    for strategy in STRATEGIES:
        assert not set(names) & set(option_names(load_strategy_class(strategy)))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"optimizer": "lamb"}, UnknownNameError, "unknown optimizer 'lamb'; known: adamw, auto, sgd"),
        (
            {"recipe": "spos"},
            UnknownNameError,
            "unknown recipe 'spos'; known: alternating, autodistil, bignas, instatune, progressive, sandwich",
        ),
        ({"ema": 1.0}, HwnasError, "--ema must be"),
        (
            {"strategy": "gradient", "scheme": "joint", "epochs": 0},
            HwnasError,
            "--epochs 0 keeps the weights of a supernet",
        ),
        (
            {"strategy": "nars", "epochs": 0},
            HwnasError,
            "--strategy nars trains weights of its own; give --epochs 1 or more",
        ),
        ({"freeze": "head"}, HwnasError, "--freeze keeps weights of a --model; add it"),
        ({"teacher_epochs": -1}, HwnasError, "--teacher-epochs must be at least 0, not -1"),
        ({"final_teacher": "external"}, HwnasError, "--final-teacher external needs --teacher"),
        ({"teacher": "largest", "epochs": 0}, HwnasError, "with --epochs 0 none is trained; leave --teacher out"),
        ({"teacher": "t.onnx", "supernet": "S"}, HwnasError, "with --supernet S none is trained; leave --teacher out"),
        ({"learning_rate": 0.0}, HwnasError, r"--learning-rate must be above 0, not 0\.0"),
        ({"learning_rate": float("nan")}, HwnasError, "--learning-rate must be a finite number, not nan"),
        ({"epochs": -1}, HwnasError, "--epochs must be at least 0, not -1"),
        ({"evaluations": 0}, HwnasError, "--evaluations must be at least 1, not 0"),
        ({"networks": -4}, HwnasError, "--networks must be at least 1, not -4"),
        ({"seed": -1}, HwnasError, "--seed must be between 0 and 4294967295, not -1"),
        ({"final": "more"}, HwnasError, "--final must be 'none', 'finetune' or 'scratch', not 'more'"),
        (
            {"sampler": "gdas"},
            HwnasError,
            "--sampler only applies to --strategy gradient; leave it out with --strategy surrogate",
        ),
        ({"strategy": "best"}, UnknownNameError, "unknown strategy 'best'; known: "),
        ({"nonsense": 1}, UnknownNameError, "unknown option 'nonsense'; known: "),
        ({"strategy": "gradient", "penalty_weight": -1.0}, HwnasError, "--penalty-weight must be above 0"),
        ({"strategy": "gradient", "sampler": "drna"}, UnknownNameError, "unknown sampler 'drna'; known: darts, drnas"),
        (
            {"strategy": "gradient", "scheme": "joint", "sampler": "uniform", "progressive": True},
            HwnasError,
            "--sampler uniform trains no probabilities",
        ),
        (
            {"strategy": "gradient", "scheme": "joint", "penalty": "none", "penalty_weight": 2.0},
            HwnasError,
            "--penalty none has no weight",
        ),
        (
            {"strategy": "gradient", "scheme": "joint", "sampler": "gdas", "regulariser": "kl"},
            HwnasError,
            "--regulariser kl only applies to --sampler drnas, not to gdas",
        ),
        *(
            ({"strategy": "gradient", name: value}, HwnasError, f"--{flag} only applies to --scheme joint")
            for name, flag, value in [
                ("warmup_epochs", "warmup-epochs", 3),
                ("progressive", "progressive", True),
                ("partial_channels", "partial-channels", 4),
                ("unrolled", "unrolled", True),
                ("mixed_precision", "mixed-precision", True),
                ("penalty", "penalty budget", "budget"),
                ("penalty_weight", "penalty-weight", 2.0),
            ]
        ),
        (
            {"strategy": "gradient", "scheme": "joint", "steps": 50},
            HwnasError,
            "--steps only applies to --scheme frozen; add --scheme frozen, or leave it out",
        ),
        (
            {"strategy": "gradient", "sampler": "uniform", "steps": 50},
            HwnasError,
            "--sampler uniform trains no probabilities",
        ),
        (
            {"strategy": "gradient", "scheme": "joint", "recipe": "bignas"},
            HwnasError,
            "--recipe bignas is for a supernet that networks share, and --strategy gradient trains weights of its own",
        ),
        ({"strategy": "gradient", "scheme": "thawed"}, HwnasError, "--scheme must be 'frozen' or 'joint'"),
    ],
)
def test_a_request_that_cannot_be_run_is_refused(wrong: dict[str, Any], error: type[HwnasError], message: str) -> None:
    with pytest.raises(error, match=message):
        search_request(wrong)


def test_a_gradient_search_of_an_earlier_version_has_joint_weights() -> None:
    described = json.loads(json.dumps(search_request({"strategy": "gradient", "scheme": "joint"}).describe()))
    for name in ("scheme", "steps"):
        del described["strategy"]["options"][name]
    described["strategy"]["options"] |= {"sampler": "drnas", "penalty": "budget", "warmup_epochs": 3}
    strategy = stored_request({"request": described}, Path("run.json")).strategy
    assert strategy.trains_weights and strategy.warmup_epochs == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["no request", "unknown option", "older"])
def test_a_request_of_another_version_is_refused_in_one_line(damage: str) -> None:
    stored = {"request": json.loads(json.dumps(search_request({}).describe()))}
    if damage == "no request":
        stored = {}
    elif damage == "unknown option":
        stored["request"]["data"]["colour"] = "red"
    else:
        del stored["request"]["strategy"]
    with pytest.raises(RunError, match="start again under another --out") as refusal:
        stored_request(stored, Path("run.json"))
    assert "\n" not in str(refusal.value)


def test_every_option_says_what_it_does() -> None:
    for request in (*PARTS.values(), *map(load_strategy_class, STRATEGIES)):
        for name, field in request.__pydantic_fields__.items():
            assert field.description, flag(name)


def test_the_defaults_are_a_search_that_can_be_run() -> None:
    request = search_request({})
    assert request.goal.latency_budget is None and request.goal.budget_on == "median"
    assert asdict(request.final)["final"] == "finetune" and request.final.final_epochs == 30
    assert request.training.recipe == "single-path"
    assert asdict(search_request({"strategy": "gradient"}).strategy)["scheme"] == "frozen"


@pytest.mark.parametrize(
    ("began_with", "goes_on_with"), [("shift+flip", "shift+flip"), ("shift", "auto"), ("none", "auto")]
)
def test_a_run_from_before_the_option_goes_on_with_its_augmentation(began_with: str, goes_on_with: str) -> None:
    stored = {"request": json.loads(json.dumps(search_request({}).describe())), "data": {"augmentation": began_with}}
    for name in ("augmentation", "background", "skip_damaged"):
        del stored["request"]["data"][name]
    assert stored_request(stored, Path("run.json")).data.augmentation == goes_on_with


@pytest.mark.parametrize("optimizer", ["auto", "adamw"])
def test_a_run_from_before_the_optimizer_had_a_flag_goes_on_with_it(optimizer: str) -> None:
    request = search_request({"optimizer": optimizer, "recipe": "sandwich", "epochs": 3})
    stored = {"request": json.loads(json.dumps(request.describe()))}
    training = stored["request"]["training"]
    training["recipe"] = training.pop("optimizer")
    for name in ("ema", "teacher"):
        del training[name]
    assert stored_request(stored, Path("run.json")) == request


def test_a_gradient_search_from_before_frozen_weights_goes_on_with_joint_ones() -> None:
    request = search_request({"strategy": "gradient", "scheme": "joint", "epochs": 3})
    stored = {"request": json.loads(json.dumps(request.describe()))}
    training, options = stored["request"]["training"], stored["request"]["strategy"]["options"]
    training["recipe"] = training.pop("optimizer")
    for name in ("ema", "teacher"):
        del training[name]
    for name in ("scheme", "steps", "regulariser"):
        del options[name]
    assert stored_request(stored, Path("run.json")) == request


@pytest.mark.parametrize("untrained", [{"epochs": 0}, {"supernet": "S"}])
def test_a_teacher_without_effect_is_no_longer_part_of_a_stored_request(untrained: dict[str, Any]) -> None:
    stored = {"request": json.loads(json.dumps(search_request(untrained).describe()))}
    stored["request"]["training"]["teacher"] = "largest"
    assert stored_request(stored, Path("run.json")) == search_request(untrained)
    taught = search_request(untrained | {"teacher": "largest", "final_teacher": "external"})
    assert stored_request({"request": json.loads(json.dumps(taught.describe()))}, Path("run.json")) == taught


def test_a_stored_augmentation_is_kept() -> None:
    request = search_request({"augmentation": "none", "background": "black", "skip_damaged": True})
    stored = {"request": json.loads(json.dumps(request.describe())), "data": {"augmentation": "shift+flip"}}
    assert stored_request(stored, Path("run.json")) == request
