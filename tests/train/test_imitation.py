"""Laws of what students imitate: the relations of tokens in the last attention."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hwnas
from hwnas.core.reporter import Silent
from hwnas.core.space import SearchSpace
from hwnas.data.dataset import load_data
from hwnas.data.text import TextData
from hwnas.errors import TrainingError, UnknownNameError
from hwnas.supernet.network import Supernet
from hwnas.tasks.registry import load_task
from hwnas.train.imitation import Relations, divergence
from hwnas.train.recipes import BY_OPTIMIZER, RECIPES, SupernetRecipe
from hwnas.train.supernet import supernet_losses, train_supernet

LANGUAGE = load_task("language")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return hwnas.space(
        "gpt", length=8, vocabulary=10, embeddings=(16, 24), layers=(1, 2), heads=(2, 3), ratios=(2,), head_size=4
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, space: SearchSpace) -> TextData:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text("abcdefg" * 1000)
    return load_data(f"text:{path}", space.input_shape, vocabulary=space.vocabulary, limit=128)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize(("heads", "size"), [(4, 6), (2, 6), (1, 6), (3, 5)])
def test_the_divergence_is_that_of_relations_written_out(heads: int, size: int) -> None:
    """The student's heads are split into the teacher's number of them, or the most that divide its width."""
    student, teacher = random(2, heads, 5, size), random(2, 4, 5, 8)
    count = next(number for number in (4, 2, 1) if heads * size % number == 0)
    total = 0.0
    for example in range(2):
        split = [x[example].permute(1, 0, 2).reshape(5, count, -1).unbind(1) for x in (student, teacher)]
        for mine, theirs in zip(*split, strict=True):
            for token in range(5):
                p, q = (torch.softmax(x @ x[token] / x.shape[1] ** 0.5, 0) for x in (theirs, mine))
                total += float((p * (p / q).log()).sum())
    torch.testing.assert_close(float(divergence(student, teacher)), total / (2 * count * 5), rtol=1e-9, atol=0)


def test_relations_to_oneself_are_no_distance_and_have_no_gradient() -> None:
    x = random(2, 3, 5, 4).requires_grad_()
    loss = divergence(x, x.detach())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12) and float(x.grad.abs().max()) < 1e-12


def test_relations_do_not_change_where_all_numbers_of_a_head_are_turned() -> None:
    """They are products of tokens: a student may have the teacher's relations in numbers of its own."""
    teacher, (turn, _) = random(2, 3, 5, 4), torch.linalg.qr(random(4, 4))
    assert float(divergence(teacher @ turn, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(divergence(2 * teacher, teacher)) > 1e-3


def test_numbers_of_tokens_that_differ_are_refused() -> None:
    with pytest.raises(TrainingError, match="a student of 4 tokens cannot imitate the relations of 5; give a space"):
        divergence(random(2, 3, 4, 4), random(2, 3, 5, 4))


def test_the_last_attention_of_a_slice_is_that_of_the_network(space: SearchSpace, text: TextData) -> None:
    supernet, x = Supernet(space), text.inputs(text.validation.raw[:4])
    for arch in (space.largest(), space.smallest()):
        seen = Relations().run(partial(supernet, arch=arch), x)
        torch.testing.assert_close(seen, Relations().run(supernet.uncalibrated(arch), x))
        assert seen[1][0].shape[1] == arch["heads"]


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(TrainingError, match="a network calls no scaled_dot_product_attention of torch"):
        Relations().run(nn.Linear(3, 3), torch.zeros(2, 3))


def test_students_of_relations_see_no_labels(space: SearchSpace, text: TextData) -> None:
    torch.manual_seed(0)
    supernet, teacher = Supernet(space), Supernet(space).uncalibrated(space.largest()).eval()
    x, labels = text.training_batch(np.arange(8), np.random.default_rng(0))
    recipe = replace(BY_OPTIMIZER["adamw"], supernet=RECIPES["autodistil"])
    archs = [space.largest(), space.smallest()]
    losses, others = (
        list(supernet_losses(supernet, (x, y), LANGUAGE, archs, recipe, largest=archs[0], teacher=teacher))
        for y in (labels, labels.roll(1, 0))
    )
    _, wanted = Relations().run(teacher, x)
    for arch, loss, other in zip(archs, losses, others, strict=True):
        _, seen = Relations().run(partial(supernet, arch=arch), x)
        torch.testing.assert_close(loss, sum(divergence(*pair) for pair in zip(seen, wanted, strict=True)))
        assert torch.equal(loss, other)


def test_training_by_relations_brings_students_nearer_and_resumes_exactly(
    space: SearchSpace, text: TextData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    start, teacher = Supernet(space), Supernet(space).uncalibrated(space.largest()).eval()
    x = text.inputs(text.validation.raw)
    recipe = replace(BY_OPTIMIZER["adamw"], epochs=3, learning_rate=1e-2, supernet=RECIPES["autodistil"])

    class StopError(Exception):
        pass

    class StopAfterOne(Silent):  # type: ignore[misc]
        def note(self, text: str) -> None:
            raise StopError

    def trained(name: str, reporter: Silent) -> Supernet:
        torch.manual_seed(1)
        supernet = Supernet(space)
        supernet.load_state_dict(start.state_dict())
        checkpoint = tmp_path / name
        train_supernet(
            supernet, text, LANGUAGE, recipe, seed=0, checkpoint=checkpoint, reporter=reporter, teacher=teacher
        )
        return supernet

    whole = trained("whole.pt", Silent())
    with pytest.raises(StopError):
        trained("stopped.pt", StopAfterOne())
    again = trained("stopped.pt", Silent())
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in whole.state_dict().items())

    @torch.no_grad()
    def distance(supernet: Supernet) -> float:
        wanted = Relations().run(teacher, x)[1]
        return float(
            Relations().distance(LANGUAGE, Relations().run(supernet.uncalibrated(space.smallest()), x)[1], wanted)
        )

    assert distance(whole) < 0.7 * distance(start)


def test_an_unknown_imitation_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown imitation 'hidden'; known: outputs, relations"):
        SupernetRecipe(imitation="hidden")
