"""A controller: reinforcement learning over choices (MnasNet, ENAS). Loads torch when a search begins."""

from typing import Annotated, ClassVar, Literal, final

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.strategies.options import STRICT, Evaluations
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Workshop


@final
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Controller:
    """Draws architectures from a policy that learns from their rewards (Zoph and Le 2017).

    The policies are MnasNet's (Tan et al. 2019) in a factorised form, and ENAS's (Pham et al. 2018);
    `hwnas/strategies/reinforcement/rewards.py` has the formula of the reward. MnasNet has one target T of latency. Here the
    bound of a limit on an objective is its T. Without a limit the policy is given three aims in turn, so that a front
    comes out: three targets of the hard reward, or three exponents of the soft one.

    The run's supernet scores the networks, so a search is ENAS with weights that are trained beforehand. Li and Talwalkar
    (2019), and Adam and Lorraine (2019), found such controllers hardly better than random search. So the first networks
    are drawn uniformly, and the end of a search notes their rewards beside those of the policy's last ones.

    Infeasible draws are never evaluated: their reward is below the mean of the uniform draws by one standard deviation and
    the violation of the limits. A network that is drawn again gives its reward again. Rewards are standardised by the
    uniform draws, because metrics have any unit.
    """

    name: ClassVar[str] = "controller"
    trains_weights: ClassVar[bool] = False

    evaluations: Evaluations = 200
    policy: Annotated[
        Literal["factorised", "recurrent"],
        Field(description="factorised: independent logits per choice (MnasNet's space); recurrent: the LSTM of ENAS."),
    ] = "factorised"
    algorithm: Annotated[
        Literal["reinforce", "ppo"],
        Field(description="reinforce: one step per batch (ENAS); ppo: four steps on a clipped objective (MnasNet)."),
    ] = "reinforce"
    reward: Annotated[
        Literal["soft", "hard"],
        Field(description="soft: every cost counts, by the power -0.07; hard: only what exceeds its target (MnasNet)."),
    ] = "soft"
    samples: Annotated[
        int, Field(ge=1, description="Architectures drawn by the policy before each of its updates.")
    ] = 6
    policy_rate: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="Adam's rate; default: 0.2 of factorised with reinforce, 0.1 with ppo, 0.01 of recurrent.",
        ),
    ] = None
    entropy: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="Weight of the policy's entropy in its objective.")
    ] = 0.01
    buffer: Annotated[
        int,
        Field(
            ge=0,
            description="Best networks of each aim whose log-likelihood is added to the policy's objective; 0: none.",
        ),
    ] = 0

    def search(self, problem: Problem, workshop: Workshop) -> None:
        """Evaluates `evaluations` different architectures, or all where there are fewer.

        More evaluations begin with the same architectures.
        """
        from hwnas.strategies.reinforcement.search import control

        control(problem, self, workshop)
