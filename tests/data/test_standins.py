from __future__ import annotations

import hashlib

import numpy as np
import pytest

from repligan.core.randomness import rng
from repligan.data.standins import BACKGROUNDS, FACTORS, draw, draw_all, paint

SUBJECTS = sorted(FACTORS)
COUNT = 600
# sha256 of the first 24 pictures and their factors at 32 x 32: other bytes are other data, and need other results.
GOLDEN = {
    "anime": "c69398eb431e81d2f6af82085c81b554fc3066e46dd754a93c983839e971a379",
    "digits": "8733c05e8c28bba54ae9c11962c029b8dcab99db8fab67030f6590586959f3df",
    "faces": "d1d719fb7bfd017c3987bd418901d424b8a9e2264af51b45043406f32c941fe4",
}


@pytest.fixture(scope="module", params=SUBJECTS)
def drawn(request: pytest.FixtureRequest) -> tuple[str, np.ndarray, np.ndarray]:
    return request.param, *draw_all(request.param, COUNT, 32)


def columns() -> list[tuple[str, str]]:
    return [(subject, factor) for subject in SUBJECTS for factor in FACTORS[subject]]


def variants(subject: str, factor: str, index: int) -> np.ndarray:
    """One picture with each value of one factor in turn and all else equal, int64 [values, 32, 32, 3]."""
    place = list(FACTORS[subject]).index(factor)
    values = [index % len(names) for names in FACTORS[subject].values()]
    out = []
    for value in range(len(FACTORS[subject][factor])):
        values[place] = value
        out.append(np.asarray(paint(subject, 32, values, rng(1, "test", index)), np.int64))
    return np.stack(out)


def test_bytes_are_golden(drawn: tuple[str, np.ndarray, np.ndarray]) -> None:
    subject, img, values = drawn
    found = hashlib.sha256(img[:24].tobytes() + values[:24].astype("<i8").tobytes()).hexdigest()
    assert found == GOLDEN[subject]


def test_shapes_and_types(drawn: tuple[str, np.ndarray, np.ndarray]) -> None:
    subject, img, values = drawn
    assert img.shape == (COUNT, 32, 32, 3)
    assert img.dtype == np.uint8
    assert values.shape == (COUNT, len(FACTORS[subject]))
    assert values.dtype == np.int64


def test_a_picture_depends_on_its_index_alone(drawn: tuple[str, np.ndarray, np.ndarray]) -> None:
    subject, img, values = drawn
    few, their_values = draw_all(subject, 5, 32)
    assert np.array_equal(few, img[:5])
    assert np.array_equal(their_values, values[:5])
    picture, factors = draw(subject, 32, 400)
    assert np.array_equal(np.asarray(picture), img[400])
    assert factors == values[400].tolist()


def test_no_picture_comes_twice(drawn: tuple[str, np.ndarray, np.ndarray]) -> None:
    _, img, _ = drawn
    assert len({picture.tobytes() for picture in img}) == COUNT


def test_every_value_comes_about_equally_often(drawn: tuple[str, np.ndarray, np.ndarray]) -> None:
    subject, _, values = drawn
    for column, names in zip(values.T, FACTORS[subject].values(), strict=True):
        assert 2 <= len(names) <= 10
        counts = np.bincount(column, minlength=len(names))
        assert len(counts) == len(names)
        expected = COUNT / len(names)
        assert (abs(counts - expected) < 4 * expected**0.5).all(), counts


@pytest.mark.parametrize("subject", SUBJECTS)
def test_both_sizes_show_the_same_picture(subject: str) -> None:
    small, large = draw(subject, 32, 3), draw(subject, 64, 3)
    assert large[0].size == (64, 64)
    assert large[0].mode == "RGB"
    assert small[1] == large[1]
    halved = np.asarray(large[0].reduce(2), np.float64)
    other = np.asarray(draw(subject, 32, 4)[0], np.float64)
    seen = np.asarray(small[0], np.float64)
    assert abs(seen - halved).mean() < 0.4 * abs(other - halved).mean()


@pytest.mark.parametrize(("subject", "factor"), columns())
def test_every_factor_is_visible(subject: str, factor: str) -> None:
    """Any two values of a factor differ clearly in some pixels, and one value twice in none."""
    for index in range(3):
        first, second = variants(subject, factor, index), variants(subject, factor, index)
        assert np.array_equal(first, second)
        for i, one in enumerate(first):
            for other in first[:i]:
                changed = abs(one - other).max(-1) > 24
                assert changed.sum() >= 4, (index, i)


def test_labels_belong_to_their_pictures() -> None:
    """The upper corners of a portrait have the hue of the background it is labelled with."""
    img, values = draw_all("faces", 200, 32)
    hues = np.array(list(BACKGROUNDS.values()), np.float64)
    corners = img[:, 0, [0, -1]].astype(np.float64).mean(1)
    near = (
        abs(corners[:, None] / corners.sum(-1)[:, None, None] - hues / hues.sum(-1, keepdims=True)).sum(-1).argmin(-1)
    )
    place = list(FACTORS["faces"]).index("background")
    assert (near == values[:, place]).mean() > 0.95
    assert (near == np.roll(values[:, place], 1)).mean() < 0.5


def test_digits_stand_out_from_their_background() -> None:
    img, _ = draw_all("digits", 300, 32)
    grey = img[:, 6:26, 8:24].astype(np.float64) @ [0.299, 0.587, 0.114]
    low, high = np.percentile(grey.reshape(len(img), -1), [8, 92], axis=1)
    assert (high - low).min() > 60
