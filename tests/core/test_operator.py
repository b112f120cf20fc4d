"""Laws of operators as values: keys say everything."""

from dataclasses import fields, replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.operator import Operator
from hwnas.errors import SpaceError
from hwnas.operators.conv import ConvBlock, MBConv, PoolClassifier

SHAPES = st.tuples(st.integers(1, 64), st.integers(1, 32), st.integers(1, 32))
OPERATORS = st.one_of(
    st.builds(
        ConvBlock,
        input_shape=SHAPES,
        channels=st.integers(1, 64),
        kernel=st.sampled_from([1, 3, 5]),
        stride=st.sampled_from([1, 2]),
    ),
    st.builds(
        MBConv,
        input_shape=SHAPES,
        channels=st.integers(1, 64),
        kernel=st.sampled_from([3, 5, 7]),
        expansion=st.integers(1, 6),
        stride=st.sampled_from([1, 2]),
        squeeze_excite=st.booleans(),
        shortcut=st.just(False),
    ),
    st.builds(PoolClassifier, input_shape=SHAPES, features=st.integers(1, 64), classes=st.integers(2, 20)),
)


@given(OPERATORS, st.data())
def test_every_hyper_parameter_is_in_the_key(operator: Operator, data) -> None:
    # A shortcut and groups must fit the channels, which are drawn freely; kernels are odd.
    names = [field for field in fields(operator) if field.name not in ("shortcut", "groups")]
    field = data.draw(st.sampled_from(names))
    value = getattr(operator, field.name)
    other = (
        (value[0] + 1, *value[1:]) if isinstance(value, tuple) else not value if isinstance(value, bool) else value + 2
    )
    assert replace(operator, **{field.name: other}).key != operator.key
    assert f"{field.name}=" in operator.key


@given(OPERATORS, OPERATORS)
def test_keys_are_equal_exactly_where_operators_are(one: Operator, other: Operator) -> None:
    assert (one.key == other.key) == (one == other)


def test_keys_are_readable_and_stable_across_versions() -> None:
    block = MBConv(input_shape=(16, 8, 8), channels=24, kernel=5, expansion=6, stride=2)
    assert block.key == (
        "mbconv(input_shape=16x8x8, channels=24, kernel=5, expansion=6, stride=2, squeeze_excite=False, shortcut=False, "
        "groups=1, always_expand=False)"
    )


def test_an_operator_of_no_family_is_a_family_of_its_own(tiny_space) -> None:
    for operator in tiny_space.operators().values():
        assert Operator.family.fget(operator) == operator.key


@pytest.mark.parametrize(("attributes", "missing"), [({}, "kind"), ({"kind": "ghost"}, "module")])
def test_an_operator_class_without_a_kind_or_module_is_refused_where_it_is_defined(
    attributes: dict[str, str], missing: str
) -> None:
    with pytest.raises(SpaceError, match=f"operator Ghost has no {missing}; write: {missing}: "):
        type("Ghost", (Operator,), attributes)


def test_a_field_that_hides_a_property_of_operators_is_refused_where_the_class_is_defined() -> None:
    with pytest.raises(SpaceError, match="operator Embedding has a field 'vocabulary', which hides the property"):

        class Embedding(Operator):
            kind = "embedding"
            module = "mine.py:Embedding"
            vocabulary: int


def test_a_class_attribute_may_take_the_place_of_a_property() -> None:
    class Mixer(Operator):
        kind = "mixer"
        module = "mine.py:Mixer"
        family: ClassVar[str] = "mixer"

    assert Mixer.family == "mixer"
