"""The conformance suites of evaluators and of networks, which are sources of weights followed by stages.

    class TestMine(EvaluatorSuite):
        metrics = ("loss", "accuracy", "balanced_accuracy")

        def evaluator(self) -> Evaluator:
            return NetworkEvaluator(StagedNetworks(MySource(), (Recalibrate(data, device),)), SplitScore(data, task, device))

        def archs(self) -> Sequence[Arch]:
            return [space.smallest(), space.largest()]

pytest then runs every law on the evaluator.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwnas.core.arch import Arch
from hwnas.core.space import SearchSpace
from hwnas.evaluate.evaluator import Evaluator, Networks
from hwnas.modules.assemble import network


class EvaluatorSuite:
    """Laws of every evaluator. A subclass gives the evaluator, its metrics' names, and architectures that score differently.

    `evaluator` makes a new evaluator at every call, always of the same weights.
    """

    metrics: tuple[str, ...]

    def evaluator(self) -> Evaluator:
        """Returns a new evaluator."""
        raise NotImplementedError

    def archs(self) -> Sequence[Arch]:
        """Returns two different architectures or more."""
        raise NotImplementedError

    def test_every_architecture_has_exactly_the_metrics(self) -> None:
        results = list(self.evaluator().evaluate(self.archs()))
        assert len(results) == len(self.archs()), f"{len(self.archs())} architectures have {len(results)} results"
        for result in results:
            assert set(result) == set(self.metrics), f"the metrics are {sorted(result)}, not {sorted(self.metrics)}"
            assert all(math.isfinite(value) for value in result.values()), f"metrics are finite: {result}"

    def test_no_architecture_has_no_result(self) -> None:
        assert list(self.evaluator().evaluate([])) == []

    def test_results_follow_the_order_of_the_architectures(self) -> None:
        archs = list(self.archs())
        forward, backward = list(self.evaluator().evaluate(archs)), list(self.evaluator().evaluate(archs[::-1]))
        assert [dict(result) for result in forward] == [dict(result) for result in backward[::-1]]

    def test_different_architectures_score_differently(self) -> None:
        results = list(self.evaluator().evaluate(self.archs()))
        assert len({tuple(sorted(result.items())) for result in results}) > 1, (
            f"all have the same metrics: {results[0]}"
        )

    def test_an_architecture_scores_the_same_alone_and_among_others_and_again(self) -> None:
        archs, evaluator = list(self.archs()), self.evaluator()
        together = [dict(result) for result in evaluator.evaluate([*archs, archs[0]])]
        assert together[0] == together[-1], f"the same architecture scored {together[0]}, then {together[-1]}"
        for arch, result in zip(archs, together, strict=False):
            (alone,) = evaluator.evaluate([arch])
            assert dict(alone) == result, f"{arch.key} scored {result} among others, and {dict(alone)} alone"

    def test_neither_the_evaluator_nor_a_random_state_makes_a_difference(self) -> None:
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            results.append([dict(result) for result in self.evaluator().evaluate(self.archs())])
        assert results[0] == results[1], f"the same architectures scored {results[0]}, then {results[1]}"

    def test_evaluations_are_stored_under_the_names_of_stages(self) -> None:
        _require_names(self.evaluator().stages)


class NetworksSuite:
    """Laws of all networks with weights. A subclass gives the networks, their space, and different architectures."""

    def networks(self) -> Networks:
        """Returns the networks; at every call those of the same weights."""
        raise NotImplementedError

    def space(self) -> SearchSpace:
        """Returns the space of the architectures."""
        raise NotImplementedError

    def archs(self) -> Sequence[Arch]:
        """Returns two different architectures or more."""
        raise NotImplementedError

    def test_a_network_is_the_plain_network_of_its_architecture(self) -> None:
        for arch in self.archs():
            shapes, expected = (
                {name: tensor.shape for name, tensor in module.state_dict().items()}
                for module in (self.networks().network(arch), network(self.space(), arch))
            )
            assert shapes == expected, f"the network of {arch.key} has tensors of other names or shapes"

    def test_a_network_is_in_eval_mode(self) -> None:
        for arch in self.archs():
            training = [name for name, module in self.networks().network(arch).named_modules() if module.training]
            assert not training, f"{arch.key} is in train mode: {training}"

    def test_the_same_architecture_always_has_the_same_network(self) -> None:
        networks, archs = self.networks(), list(self.archs())
        torch.manual_seed(1)
        first = [_state(networks.network(arch)) for arch in archs]
        torch.manual_seed(2)
        for again in (networks, self.networks()):
            for arch, state in reversed(list(zip(archs, first, strict=True))):
                _require_equal_states(_state(again.network(arch)), state, arch)

    def test_a_caller_may_change_a_network(self) -> None:
        networks = self.networks()
        for arch in self.archs():
            module = networks.network(arch)
            state = _state(module)
            with torch.no_grad():
                for tensor in module.state_dict().values():
                    tensor.zero_()
            _require_equal_states(_state(networks.network(arch)), state, arch)

    def test_the_source_and_every_stage_have_a_name(self) -> None:
        _require_names(self.networks().stages)


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def _require_equal_states(state: dict[str, Tensor], expected: dict[str, Tensor], arch: Arch) -> None:
    different = [name for name, tensor in expected.items() if not torch.equal(tensor, state[name])]
    assert not different, f"the network of {arch.key} changed in {different}"


def _require_names(stages: object) -> None:
    assert isinstance(stages, tuple) and stages, f"stages are a tuple of names, not {stages!r}"
    assert all(isinstance(name, str) and name for name in stages), f"every stage has a name: {stages}"
