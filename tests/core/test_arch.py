"""Laws of architectures: values that are equal when the networks are."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.arch import Arch

OPTIONS = st.dictionaries(
    st.text(max_size=5), st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text(max_size=5))
)


@given(OPTIONS, st.randoms())
def test_equal_whatever_the_order_they_were_written_in(options, random) -> None:
    shuffled = list(options.items())
    random.shuffle(shuffled)
    one, other = Arch(options), Arch(dict(shuffled))
    assert one == other
    assert (hash(one), one.key, one.id) == (hash(other), other.key, other.id)


@given(OPTIONS, OPTIONS)
def test_keys_are_equal_exactly_where_options_and_their_types_are(one, other) -> None:
    def written(options):
        return {(name, type(option), str(option)) for name, option in options.items()}

    assert (Arch(one).key == Arch(other).key) == (written(one) == written(other))


@given(OPTIONS)
def test_a_copy_from_another_process_is_equal(options) -> None:
    arch = Arch(options)
    copy = pickle.loads(pickle.dumps(arch))
    assert copy == arch
    assert dict(copy) == options


def test_key_and_id_are_stable_across_versions() -> None:
    arch = Arch({"stage1.depth": 2, "kernel": 3, "gate": True, "rate": 0.5, "pool": "max"})
    assert arch.key == '{"gate":true,"kernel":3,"pool":"max","rate":0.5,"stage1.depth":2}'
    assert arch.id == "923803ebb7"


def test_an_architecture_cannot_be_changed() -> None:
    source = {"kernel": 3}
    arch = Arch(source)
    source["kernel"] = 5
    assert arch["kernel"] == 3
    with pytest.raises(TypeError):
        arch["kernel"] = 5  # type: ignore[index]


def test_an_architecture_is_not_its_dict() -> None:
    assert Arch({"kernel": 3}) != {"kernel": 3}
