"""Laws of the variance between sessions: it is found where there are many, and believed a little where there is one."""

import numpy as np
import pytest

from hwnas.predict.measurements import SESSION_NOISE
from hwnas.predict.sessions import session_noise


def repeated(rng: np.random.Generator, sessions: int, networks: int, between: float, noise: float) -> list:
    """Networks of one session, measured once more in one of several others, which differ from it and have noise."""
    drifts = rng.normal(0, between, sessions)
    result = []
    for number in range(sessions * networks):
        session, cost = number % sessions, rng.uniform(1, 2)
        before, after = cost * np.exp(rng.normal(0, noise)), cost * np.exp(drifts[session] + rng.normal(0, noise))
        result.append([(1.0, float(before)), (2.0 + session, float(after))])
    return result


@pytest.mark.parametrize("between", [0.005, 0.02, 0.05])
def test_of_many_sessions_their_deviation_is_found(between) -> None:
    rng = np.random.default_rng(0)
    assert session_noise(repeated(rng, 200, 10, between, 0.01)) == pytest.approx(between, rel=0.15)


def test_the_noise_of_networks_is_not_taken_for_a_difference_between_sessions() -> None:
    rng = np.random.default_rng(1)
    assert session_noise(repeated(rng, 200, 10, 0.0, 0.05)) < 0.006


def test_one_difference_moves_the_estimate_only_a_part_of_the_way() -> None:
    drifted = [[(1.0, cost), (2.0, 1.06 * cost)] for cost in np.linspace(1, 2, 10)]
    found = session_noise(drifted)
    assert SESSION_NOISE < found < np.log(1.06)
    assert found == pytest.approx(np.sqrt((2 * SESSION_NOISE**2 + np.log(1.06) ** 2) / 3))
    steady = [[(1.0, cost), (2.0, cost)] for cost in np.linspace(1, 2, 10)]
    assert session_noise(steady) == pytest.approx(SESSION_NOISE * np.sqrt(2 / 3))


@pytest.mark.parametrize("networks", [[], [[(1.0, 2.0)]], [[(1.0, 2.0), (1.0, 3.0)]]])
def test_a_table_of_one_session_has_the_usual_deviation(networks) -> None:
    assert session_noise(networks) == SESSION_NOISE


def test_the_order_of_two_sessions_makes_no_difference() -> None:
    rng = np.random.default_rng(2)
    networks = repeated(rng, 3, 4, 0.02, 0.01)
    turned = [measured[::-1] if number % 2 else measured for number, measured in enumerate(networks)]
    assert session_noise(turned) == pytest.approx(session_noise(networks))
