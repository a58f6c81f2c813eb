from __future__ import annotations

import numpy as np

from repligan.core.randomness import BLOCK, Draws, rng


def test_a_draw_is_a_function_of_seed_stream_and_index() -> None:
    draws = {(s, t, i): rng(s, t, i).random() for s in (0, 1) for t in ("z", "real") for i in (0, 1)}
    assert len(set(draws.values())) == len(draws)
    assert rng(1, "z", 1).random() == draws[1, "z", 1]


def test_the_numbers_are_these() -> None:
    """Golden values: a change here changes every result of the suite."""
    assert rng(17, "z", 3).integers(1000, size=4).tolist() == [806, 486, 584, 909]


def test_draws_do_not_depend_on_company_or_history() -> None:
    def draw(g: np.random.Generator, n: int) -> np.ndarray:
        return g.random((n, 2))

    many, alone = Draws(range(20), "z", draw), Draws([17], "z", draw)
    late = 3 * BLOCK + 5
    forwards = [many[step][17] for step in (0, BLOCK - 1, BLOCK, late)]
    backwards = [alone[step][0] for step in (late, BLOCK, BLOCK - 1, 0)]
    assert np.array_equal(forwards, backwards[::-1])
    assert not np.array_equal(many[0][16], many[0][17])
