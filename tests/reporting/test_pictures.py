from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from repligan.reporting.pictures import CELL, address, picture, spread


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


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_an_address_holds_every_pixel_in_32_levels_of_colour(shape: tuple[int, ...]) -> None:
    img = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    head, content = address(img).split(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as shown:
        found = np.asarray(shown.convert("RGB" if len(shape) == 3 else "L")).astype(int)
    if len(shape) == 2:
        assert found.tolist() == img.tolist()
    else:
        assert abs(found - img).max() <= 8
        assert len(np.unique(found)) <= 32
        assert {0, 255} <= set(found.ravel())
