"""The examples, and the promises the documentation makes of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

import hwnas

ROOT = Path(__file__).parents[2]
OWN_SPACE = f"{ROOT / 'scripts/examples/own_space.py'}:build"


def test_a_user_operator_shares_weights_without_code_for_it() -> None:
    space = hwnas.space(OWN_SPACE, resolution=16)
    supernet = hwnas.Supernet(space).double()
    for tensor in [*supernet.parameters(), *supernet.buffers()]:
        torch.nn.init.uniform_(tensor, 0.5, 1.5)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    small, large = ({f"block{i}.kernel": kernel for i in (1, 2, 3)} for kernel in (3, 7))
    before = supernet.eval()(x, space.arch(large))
    supernet.train()(x, space.arch(small)).sum().backward()
    kernel = next(p for name, p in supernet.named_parameters() if "block1" in name and "depthwise" in name)
    assert kernel.shape[-2:] == (7, 7)
    inside = kernel.grad[:, :, 2:5, 2:5]
    assert inside.abs().max() > 0
    assert kernel.grad.abs().sum() == pytest.approx(inside.abs().sum())
    assert before.shape == (2, 10)


def test_a_user_space_may_leave_layers_out() -> None:
    space = hwnas.space(OWN_SPACE)
    nothing = space.arch({f"block{i}.kernel": 0 for i in (1, 2, 3)})
    assert space.smallest() == nothing
    assert space.size == 4**3
    assert len(list(hwnas.Supernet(space).uncalibrated(nothing).children())) == 2


def test_a_space_made_in_python_is_searched_without_a_file(tmp_path: Path) -> None:
    from dataclasses import replace

    space = replace(hwnas.space(OWN_SPACE, resolution=16, blocks=2), reference="", options={})
    options = {"epochs": 1, "evaluations": 10, "networks": 8, "limit_images": 100, "final_epochs": 1}
    result = hwnas.search(space, "digits", latency_budget_ms=1000.0, out=tmp_path / "run", **options)
    assert result.latency_budget_ms == 1000.0
    assert all(np.isfinite(row.loss_val) and (tmp_path / "run" / row.onnx).exists() for row in result.front)


def test_a_broken_space_file_is_told_by_file_and_line(tmp_path: Path) -> None:
    from hwnas.errors import SpaceError

    (tmp_path / "broken.py").write_text("def build(size=3):\n    return 1 / (size - size)\n")
    with pytest.raises(SpaceError, match=r"ZeroDivisionError: division by zero \(broken.py, line 2\)"):
        hwnas.space(f"{tmp_path / 'broken.py'}:build")
