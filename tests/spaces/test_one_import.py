"""`hwnas.spaces` is the one import that the author of a space needs."""

import subprocess
import sys

import pytest

import hwnas.spaces
from hwnas.core.operator import Operator
from hwnas.operators import cells, conv, transformer

BUILT_IN = ("mobilenet", "fbnet", "proxyless", "ofa", "nasbench201", "conv_macro", "vit", "gpt")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", [cells, conv, transformer], ids=lambda module: module.__name__)
def test_every_built_in_operator_is_there(module) -> None:
    operators = {
        name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Operator)
    }
    assert operators <= set(hwnas.spaces.__all__)


def test_names_of_parts_layers_costs_and_loading_are_there() -> None:
    parts = {"compose", "place", "pick", "stage", "cell", "Place", "Blocks", "Cell"}
    layers = {"SearchSpace", "Choice", "Choices", "only_if", "Layer", "Chain", "Stage", "Graph", "Edge"}
    costs = {"Operator", "OperatorCost", "Shape", "conv_cost", "linear_cost", "batch_norm_cost"}
    assert parts | layers | costs | {"SPACES", "load_space", "reload_space"} <= set(hwnas.spaces.__all__)
    assert all(hasattr(hwnas.spaces, name) for name in hwnas.spaces.__all__)


def test_the_import_loads_neither_torch_nor_a_solver() -> None:
    code = "import sys, hwnas.spaces; print(sorted({'torch', 'scipy', 'onnxruntime', 'pymoo'} & set(sys.modules)))"
    assert run(code) == "[]"


@pytest.mark.parametrize("name", ["compose", "loading", *BUILT_IN])
def test_any_file_of_the_package_can_be_imported_first(name: str) -> None:
    # Not `import ... as`: the package's `compose` is the function.
    assert run(f"import sys, hwnas.spaces.{name}; print('hwnas.spaces.{name}' in sys.modules)") == "True"
