"""Imitations of a teacher by a student: of the outputs, or of the relations between the tokens of the last attention.

Shapes: N examples, H heads, T tokens, D numbers of a head, X = H x D, R heads that relations are split into.
"""

from collections.abc import Callable
from math import gcd, sqrt
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hwnas.core.references import imported
from hwnas.errors import TrainingError
from hwnas.tasks.task import Task
from hwnas.train.recipes import IMITATIONS, SupernetRecipe

ATTENTION_FUNCTION = "scaled_dot_product_attention"


class Imitation(Protocol):
    """A part of the teacher's computation that students imitate, and the loss of a student against it."""

    def run(self, network: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Returns the outputs of a network for inputs, and what a student imitates of it. Raises TrainingError."""
        ...

    def distance(self, task: Task, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
        """Returns the loss of what a student shows against what its teacher shows, a differentiable scalar."""
        ...


def imitation_of(recipe: SupernetRecipe) -> Imitation:
    """Returns what the students of a recipe imitate."""
    made: Imitation = imported(IMITATIONS[recipe.imitation])()
    return made


@final
class Outputs:
    """The outputs, by the task's own loss of imitation."""

    def run(self, network: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        y = network(x)
        return y, (y,)

    def distance(self, task: Task, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
        return task.imitation(*student, *teacher)


@final
class Relations:
    """Relations between tokens in the last attention: among queries, among keys and among values.

    The sum of three divergences (MiniLMv2, Wang et al. 2021, section 3.1; AutoDistil, Xu et al. 2022, section 3.2). A student of
    any width and number of heads can imitate a teacher of others; no labels are needed.
    """

    def run(self, network: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with _LastAttention() as last:
            y = network(x)
        if last.inputs is None:
            raise TrainingError(
                f"relations are those of the last attention, and a network calls no {ATTENTION_FUNCTION} of torch (models "
                "of ONNX and nn.MultiheadAttention show none); give a transformer, or a --recipe that imitates outputs"
            )
        return y, last.inputs

    def distance(self, task: Task, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
        return torch.stack([divergence(*pair) for pair in zip(student, teacher, strict=True)]).sum()


def divergence(student_NHTD: Tensor, teacher_NHTD: Tensor) -> Tensor:
    """Returns the mean over tokens of KL(teacher's relations || student's relations), in nats.

    Both are split anew into R = gcd(student's X, teacher's H) heads, which is the teacher's number where it divides the student's
    width. The relations of a head are softmax(x x^T / sqrt(X / R)). Raises TrainingError where the numbers of tokens differ.
    """
    if student_NHTD.shape[2] != teacher_NHTD.shape[2]:
        raise TrainingError(
            f"a student of {student_NHTD.shape[2]} tokens cannot imitate the relations of {teacher_NHTD.shape[2]}; give a space "
            "without choices of resolution, and a teacher of as many tokens"
        )
    heads = gcd(student_NHTD.shape[1] * student_NHTD.shape[3], teacher_NHTD.shape[1])
    student, teacher = (_relations(one, heads).log_softmax(-1) for one in (student_NHTD, teacher_NHTD))
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1).mean()


def _relations(x_NHTD: Tensor, heads: int) -> Tensor:
    """Returns x x^T / sqrt(size of a head) after a split into other heads, (N, R, T, T)."""
    count, _, tokens, _ = x_NHTD.shape
    x_NRTD = x_NHTD.transpose(1, 2).reshape(count, tokens, heads, -1).transpose(1, 2)
    return torch.matmul(x_NRTD, x_NRTD.transpose(2, 3)) / sqrt(x_NRTD.shape[3])


class _LastAttention(TorchFunctionMode):
    """Keeps queries, keys and values of the last attention that runs, (N, H, T, D) each."""

    inputs: tuple[Tensor, ...] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "").split(".")[0] == ATTENTION_FUNCTION:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            self.inputs = (named["query"], named["key"], named["value"])
        return func(*args, **(kwargs or {}))
