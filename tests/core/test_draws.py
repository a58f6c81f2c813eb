from __future__ import annotations

import numpy as np
import pytest
import torch

from repligan.core.draws import BLOCK, BitDraws, Draws, packed, unpacked


def test_draws_do_not_depend_on_company_or_history() -> None:
    def draw(g: np.random.Generator, n: int) -> np.ndarray:
        return g.random((n, 2))

    many, alone = Draws(range(20), "z", draw), Draws([17], "z", draw)
    late = 3 * BLOCK + 5
    forwards = [many[step][17] for step in (0, BLOCK - 1, BLOCK, late)]
    backwards = [alone[step][0] for step in (late, BLOCK, BLOCK - 1, 0)]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards[::-1], strict=True))
    assert not torch.equal(many[0][16], many[0][17])


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 20])
def test_bits_come_out_as_they_were_packed(dim: int) -> None:
    bits = np.random.default_rng(dim).integers(2, size=(BLOCK, 3, dim))
    assert np.array_equal(unpacked(packed(bits), dim), bits)
    drawn = BitDraws([0, 1], "z", lambda g, n: packed(bits), dim)[4]
    assert (drawn.dtype, drawn.shape) == (torch.uint8, (2, 3, dim))
    assert np.array_equal(drawn.numpy(), np.stack([bits[4], bits[4]]))
