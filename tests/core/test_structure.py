"""The structure of architectures: live layers, paths, depth."""

from dataclasses import replace

import numpy as np

from hwnas.core.choices import Choices
from hwnas.core.space import SearchSpace
from hwnas.core.structure import UNUSED, structure, unread
from hwnas.spaces import load_space
from hwnas.spaces.nasbench201 import from_string, nasbench201
from hwnas.testing.problems import choices_of


def every_cell_as_written() -> tuple[SearchSpace, np.ndarray]:
    """Returns NAS-Bench-201 with one cell per stage and nothing switched off, and all of its 15,625 rows."""
    space = nasbench201(cells=1)
    raw = replace(space, choices=Choices(replace(choice, when=()) for choice in space.choices), requires=())
    return raw, np.indices([5] * 6).reshape(6, -1).T


def test_equal_cells_have_equal_used_rows_and_different_ones_do_not() -> None:
    raw, rows_NC = every_cell_as_written()
    space = nasbench201(cells=1)
    built = structure(raw, rows_NC)
    normalised_NC, used_NC = space.normalise(rows_NC), built.used_rows(raw, rows_NC)
    alive_N = built.paths_N > 0
    assert np.array_equal(alive_N, space.meets_requirements(normalised_NC))
    pairs = {
        (first.tobytes(), second.tobytes())
        for first, second in zip(normalised_NC[alive_N], used_NC[alive_N], strict=True)
    }
    networks = space.size - 1  # the cell without any path is counted, and never drawn
    assert len(pairs) == networks == len({first for first, _ in pairs}) == len({second for _, second in pairs})


def test_paths_shares_and_depth_of_a_cell_by_hand() -> None:
    raw, _ = every_cell_as_written()
    # Paths of a cell: 0>3 by a convolution, and 0>1>3 by a pooling and a skip; 0>2 leads nowhere.
    cell = from_string("|avg_pool_3x3~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|skip_connect~1|none~2|")
    built = structure(raw, raw.encode([cell]))
    share = dict(zip((layer.name for layer in raw.layers), built.share_NL[0], strict=True))
    assert built.paths_N[0] == 2**3
    assert share["stage1.cell1.edge3"] == share["stage2.cell1.edge0"] == 0.5
    assert share["stage1.cell1.edge1"] == 0 and share["stem"] == share["head"] == 1
    names = [choice.name for choice in raw.choices]
    assert built.used_rows(raw, raw.encode([cell]))[0, names.index("edge1")] == UNUSED
    # The deepest path of a cell of convolutions has three of them, here one.
    assert built.depth_N[0] == structure(raw, raw.encode([dict.fromkeys(names, "nor_conv_3x3")])).depth_N[0] - 3 * 2


def test_in_a_chain_data_passes_every_layer_that_is_there() -> None:
    space = load_space("mobilenet")
    rows_NC = space.sample_rows(np.random.default_rng(0), 20)
    built = structure(space, rows_NC)
    there_NL = [[layer.operator(arch) is not None for layer in space.layers] for arch in map(space.decode, rows_NC)]
    assert np.array_equal(built.share_NL, np.array(there_NL, dtype=float)) and (built.paths_N == 1).all()


def test_choices_that_no_layer_reads_are_used() -> None:
    space = choices_of([2, 3])
    rows_NC = space.sample_rows(np.random.default_rng(0), 5)
    assert unread(space) == ["c0", "c1"]
    assert np.array_equal(structure(space, rows_NC).used_rows(space, rows_NC), rows_NC)
