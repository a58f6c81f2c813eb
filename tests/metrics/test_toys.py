from __future__ import annotations

import numpy as np

from repligan.metrics import toys

EVEN = np.arange(0, 128, 2)
BOUNDS = np.array([[0.8, 0, 0.8, 0], [1, 0.2, 1, 0.2]], np.float32)


def test_a_perfect_a_collapsed_and_an_odd_G() -> None:
    perfect, collapsed, odd = np.repeat(EVEN, 2), np.full(128, 106), np.arange(128) | 1
    values = np.stack([perfect, collapsed, odd])
    stats = toys.even_statistics(values, values[:, ::8], EVEN)
    assert stats["even_rate"].tolist() == [1, 1, 0]
    assert stats["coverage"].tolist() == [1, 1 / 64, 0]
    np.testing.assert_allclose(stats["tv"], [0, 63 / 64, 1])
    assert stats["all_even"].tolist() == [True, True, False]
    assert stats["evens"].tolist() == [16, 16, 0]
    assert stats["distinct"].tolist() == [16, 1, 16]


def test_one_odd_sample_is_enough() -> None:
    values = np.zeros((1, 128), int)
    sampled = np.array([[0] * 9 + [1]])
    stats = toys.even_statistics(values, sampled, EVEN)
    assert (stats["all_even"][0], stats["evens"][0], stats["even_rate"][0]) == (False, 9, 1)


def test_as_many_samples_are_looked_at_as_the_articles_picture_has() -> None:
    floor = toys.even_floor(EVEN, num=128, repeats=20)
    assert floor["evens"].tolist() == [10] * 20
    assert floor["distinct"].max() <= 10


def test_decode_is_the_inverse_of_the_bits() -> None:
    assert toys.decode(np.array([[0, 1, 1, 1, 0, 0, 0], [0.5, 0.49, 0, 0, 0, 0, 1]])).tolist() == [56, 65]


def test_pattern_and_ranges() -> None:
    points = np.array([[[0.9, 0.1, 0.9, 0.1]], [[0.7, 0.3, 0.6, 0.4]], [[0.9, 0.6, 0.9, 0.1]]], np.float32)
    stats = toys.pattern_statistics(points, BOUNDS)
    assert stats["match"].tolist() == [True, True, False]
    assert stats["inside"].tolist() == [True, False, False]
    assert stats["inside_0"].tolist() == stats["inside_2"].tolist() == [True, False, True]
    assert stats["inside_1"].tolist() == [True, False, False]
    assert stats["inside_3"].tolist() == [True, False, True]
    np.testing.assert_allclose(stats["out_1"], [0.1, 0.3, 0.6], rtol=1e-6)


def test_many_points_a_seed_give_shares() -> None:
    points = np.tile(np.array([0.9, 0.1, 0.9, 0.1], np.float32), (2, 4, 1))
    points[1, 0] = 0.5
    stats = toys.pattern_statistics(points, BOUNDS)
    assert stats["match"].tolist() == [1, 0.75]


def test_the_floor_is_what_chance_allows() -> None:
    floor = toys.even_floor(EVEN, num=128, repeats=200)
    assert floor["even_rate"].min() == 1
    assert abs(floor["coverage"].mean() - (1 - (63 / 64) ** 128)) < 0.01
    floor = toys.pattern_floor(BOUNDS, num=128, repeats=200)
    assert floor["inside"].min() == floor["match"].min() == 1
