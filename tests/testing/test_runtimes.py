"""The suite of runtimes refuses wrong ones, each with the law it breaks, the place, and both values."""

from pathlib import Path

import pytest

from hwnas.errors import ConformanceError
from hwnas.testing.laws import NotApplicableError
from hwnas.testing.runtime_laws import RUNTIME_LAWS, RuntimeSubject
from hwnas.testing.runtimes import RuntimeSuite

WRONG = Path(__file__).with_name("wrong_runtime.py")
STATES, OUTPUTS, TIMES, REFUSES, FACTS = RUNTIME_LAWS


class TestRight(RuntimeSuite):
    """What is not wrong passes, so that the refusals below are for the fault alone."""

    runtime = f"{WRONG}:RIGHT"


@pytest.mark.parametrize(
    ("name", "law", "message"),
    [
        ("SHIFTED", OUTPUTS, r"on cpu in fp32, images: .*output differs from torch's by .*\(allowed"),
        ("STUCK", OUTPUTS, r"on cpu in fp32, images: .*output differs from torch's by .*\(allowed"),
        ("FROZEN", TIMES, r"on cpu in fp32, images: times_ns\(4\) gives 0.0 ns; times are above 0"),
        ("LAZY", TIMES, r"on cpu in fp32, images: repeat\(64\) takes .* ns and repeat\(4\) .*4 times as long at least"),
        ("MILLISECONDS", TIMES, r"on cpu in fp32, images: times_ns gives .* ns a call, and repeat\(64\) takes .* ns"),
        ("LENIENT", REFUSES, r"on cpu: option 'no-such-thing': it is accepted; refuse it by UnknownNameError"),
        ("SIZE", FACTS, r"on cpu: load\(\) gives a size of 0 bytes"),
        ("FACTS", FACTS, r"on cpu: a model's facts are \{'threads': 1\}; they are texts by name"),
        ("VERSION", FACTS, r"version\(\) gives ''; give one word"),
        ("PROVIDER", STATES, r"on cpu: providers\(\) gives ''; name what runs networks there"),
        ("OPTIONS", STATES, r"on cpu: option 'memory_format' has values \('contiguous',\); give two different ones"),
        ("PRECISIONS", STATES, r"on cpu: precisions\(\) gives \('bf16',\), without 'fp32'"),
    ],
    ids=lambda value: value if value.isupper() else "",
)
def test_a_wrong_runtime_is_refused_with_its_fault(name: str, law: str, message: str) -> None:
    with pytest.raises(ConformanceError, match=rf"runtime .*wrong_runtime.py:{name}:? {message}"):
        RUNTIME_LAWS[law](RuntimeSubject(f"{WRONG}:{name}"))


def test_a_runtime_without_a_usable_device_is_not_checked_on_one() -> None:
    with pytest.raises(NotApplicableError, match="has no device that is usable here"):
        RUNTIME_LAWS[OUTPUTS](RuntimeSubject(f"{WRONG}:ABSENT"))
