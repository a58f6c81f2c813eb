from __future__ import annotations

import numpy as np

from repligan.core.randomness import rng, rngs


def test_a_draw_is_a_function_of_seed_stream_and_index() -> None:
    draws = {(s, t, i): rng(s, t, i).random() for s in (0, 1) for t in ("z", "real") for i in (0, 1)}
    assert len(set(draws.values())) == len(draws)
    assert rng(1, "z", 1).random() == draws[1, "z", 1]


def test_the_numbers_are_these() -> None:
    """Golden values: a change here changes every result of the suite."""
    assert rng(17, "z", 3).integers(1000, size=4).tolist() == [806, 486, 584, 909]


def test_one_after_another_they_are_the_same_generators() -> None:
    def numbers(g: np.random.Generator) -> list[float]:
        g.integers(5, dtype=np.int32)  # leaves half a word behind, which the next one must not see
        return g.random(3, np.float32).tolist()

    seeds = [5, 0, 2**40, 17]
    assert [numbers(g) for g in rngs(seeds, "z", 4)] == [numbers(rng(seed, "z", 4)) for seed in seeds]
