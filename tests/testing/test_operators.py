"""The suite of operators refuses wrong ones, each with the law it breaks, the place, the operator, and both values."""

from pathlib import Path
from typing import Any

import pytest

from hwnas.core.operator import Operator
from hwnas.core.references import resolve
from hwnas.errors import ConformanceError, SpaceError
from hwnas.operators.conv import ConvBlock
from hwnas.testing.operator_laws import OPERATOR_LAWS
from hwnas.testing.operators import OperatorSuite
from hwnas.testing.subject import OperatorSubject, Place, places_of_list

WRONG = Path(__file__).with_name("wrong.py")
SHAPE, COSTS, PEAK, SLICES, MIXTURE, ONNX = OPERATOR_LAWS


def wrong(name: str, **parameters: Any) -> Operator:
    """An operator of the file, as a user's file has it."""
    made: Operator = resolve("operator", f"{WRONG}:{name}", {}, SpaceError)(input_shape=(6, 8, 8), **parameters)
    return made


class TestRight(OperatorSuite):
    """What is not wrong passes, so that the refusals below are for the fault alone."""

    operators = (wrong("Conv"), wrong("Conv", kernel=5), ConvBlock(input_shape=(3, 8, 8), channels=4))


class TestOfASpace(OperatorSuite):
    """A suite takes the operators of a space, too."""

    space = f"{WRONG}:right"


@pytest.mark.parametrize(
    ("law", "operators", "message"),
    [
        (
            SHAPE,
            [wrong("OneRowMore")],
            r"one-row-more\(.*\): output_shape is \(6, 9, 8\), and its module gives \(6, 8, 8\)",
        ),
        (
            SHAPE,
            [wrong("PadsTooMuch")],
            r"pads-too-much\(.*: output_shape is \(6, 8, 8\), and its module gives \(6, 10, 10",
        ),
        (SHAPE, [wrong("Broken")], r"broken\(.*cannot be built and run: RuntimeError: out of paint"),
        (COSTS, [wrong("Free")], r"free\(.*: cost\(\).flops is 0, and its module has 41,472"),
        (COSTS, [wrong("Weightless")], r"weightless\(.*: cost\(\).statistics is 0, and its module has 12"),
        (
            PEAK,
            [wrong("HoldsMore")],
            r"holds-more\(.*: peak_bytes\(\) is 3,072, and its module holds 4,608 bytes at once",
        ),
        (
            SLICES,
            [wrong("Transposed", wide=False), wrong("Transposed", wide=True)],
            r"transposed\(.*has 'weight' of shape \(6, 4\), and transposed\(.*has \(4, 6\): neither is a slice",
        ),
        (
            SLICES,
            [wrong("Even", kernel=2), wrong("Even", kernel=3)],
            r"even\(.*kernel=2\) is no slice of even\(.*kernel=3\): conv is Conv2d\(.*\(2, 2\).* in one and Conv2d\(.*other fam",
        ),
        (
            MIXTURE,
            [wrong("Scales"), wrong("Scales", kernel=5)],
            r"scales\(.*kernel=3\): a mixture gives .* where the operator gives .*family 'scales': give it a family",
        ),
        (ONNX, [wrong("Broken")], r"broken\(.*cannot be exported to ONNX and loaded: RuntimeError: out of paint"),
    ],
    ids=lambda value: value[0].kind if isinstance(value, list) else "",
)
def test_a_wrong_operator_is_refused_with_place_operator_and_both_values(
    law: str, operators: list[Operator], message: str
) -> None:
    family = operators[0].family
    with pytest.raises(ConformanceError, match=rf"^operators of family {family}: {message}"):
        OPERATOR_LAWS[law](OperatorSubject(places_of_list(operators)))


def test_operators_that_do_not_nest_may_stand_where_nothing_is_shared() -> None:
    operators = (wrong("Scales"), wrong("Scales", kernel=5))
    OPERATOR_LAWS[MIXTURE](OperatorSubject((Place("body", operators, entangled=False),)))


def test_of_many_operators_every_kind_is_in_the_sample() -> None:
    many = [ConvBlock(input_shape=(3, 8, 8), channels=channels) for channels in range(4, 40)]
    subject = OperatorSubject(places_of_list([*many, wrong("Conv")]), most=5)
    assert len(subject.sample) == 5 and len(subject.every) == 37
    assert {operator.kind for _, operator in subject.sample} == {"conv", "right"}
