"""The network that a strategy's selector derives from a trained supernet and its relaxation.

Shapes: N architectures, C choices.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch

from hwnas.core.arch import Arch
from hwnas.core.arrays import FloatArray, IntArray
from hwnas.evaluate.split import SplitScore
from hwnas.strategies.gradient.relaxation import Relaxation
from hwnas.strategies.gradient.selection import Selection
from hwnas.strategies.gradient.strategy import GradientSearchStrategy
from hwnas.strategies.gradient.tuning import tuned, validation_loss
from hwnas.strategies.problem import Problem
from hwnas.strategies.workshop import Training
from hwnas.supernet.network import Supernet

# Selectors that run the supernet as a mixture.
MIXING: Final = ("perturbation", "perturbation-tuned", "zero-shot")


def selected(
    options: GradientSearchStrategy,
    problem: Problem,
    training: Training,
    validation: SplitScore,
    supernet: Supernet,
    relaxation: Relaxation,
    seed: int,
    *,
    judge: Callable[[IntArray], FloatArray] | None = None,
    ranked: bool = True,
) -> Arch:
    """Returns the selector's network within the problem's limits; `judge` goes to `Selection`, `ranked` to `parts` of the
    strategy.

    Raises BudgetError where no architecture is within the limits, TrainingError.
    """
    *_, select = options.parts(ranked=ranked)
    # A selector that runs the mixture needs the probabilities that the weights were trained under.
    mixed = options.selector in MIXING
    tensors = relaxation.probabilities() if mixed else relaxation.preferences()
    probabilities = {name: p_K.detach().cpu().double().numpy() for name, p_K in tensors.items()}
    indices = training.data.calibration_order()[: min(training.recipe.batch_size, len(training.data.train))]
    x = training.data.inputs(training.data.train.raw[indices])
    labels = torch.from_numpy(training.data.train.labels[indices])
    return select(
        Selection(
            space=problem.space,
            task=training.task,
            probabilities=probabilities,
            limits=[program for limit in problem.limits if (program := limit.program()) is not None],
            supernet=supernet,
            validation=partial(validation_loss, supernet, validation),
            tune=partial(tuned, supernet, training.data, training.task, training.recipe, seed=seed),
            batch=(x.to(training.device), labels.to(training.device)),
            seed=seed,
            evaluations=options.evaluations,
            judge=judge,
            earlier_NC=problem.earlier_NC if judge is not None else None,
        )
    )
