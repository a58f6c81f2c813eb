from __future__ import annotations

import numpy as np

from repligan.reporting.pictures import CELL, picture, spread


def test_even_numbers_are_bright_columns() -> None:
    counts = np.zeros(128, np.int64)
    counts[::2] = 5
    img = picture(counts)
    assert img.shape == (13 * CELL, 10 * CELL)
    assert (img[0, 0], img[0, CELL], img[0, 2 * CELL]) == (255, 0, 255)


def test_a_pattern_is_columns_too() -> None:
    img = picture(np.tile(np.array([1, 0, 1, 0], np.float32), (3, 1)))
    assert img[0, :: 2 * CELL].tolist() == [255, 0, 255, 0]


def test_images_become_a_square_grid() -> None:
    grey = np.arange(4, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3)
    assert picture(grey).tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2
    assert picture(grey.repeat(3, 1)).shape == (4, 4, 3)


def test_spread_keeps_both_ends() -> None:
    assert spread(list(range(0, 101, 10)), 5) == [0, 20, 50, 80, 100]
    assert spread([0, 7], 5) == [0, 7]
    assert spread([3], 5) == [3]
