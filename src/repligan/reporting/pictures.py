"""What a G makes, as one uint8 image [H, W] or [H, W, 3] that can be looked at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

SEEDS = 100  # rows of the picture of a pattern: one a seed
GAP = 2  # pixels between the images of a sheet
CELL = 8  # pixels a side of one number or bit
LEVELS = 32  # of each colour on the page: a third smaller than with all 256, and no eye tells them apart


def picture(made: np.ndarray) -> np.ndarray:
    """The image of what `evaluate` kept at a snapshot.

    int64 [N]: how often each integer was made, ten a row, white is the most frequent one;
    float32 [S, width]: one row a seed, black 0 to white 1; uint8 [N, C, H, W]: a square grid.
    """
    if made.ndim == 1:
        return _integers(made)
    if made.ndim == 2:
        return _enlarge((made[:SEEDS] * 255).round().astype(np.uint8), CELL // 4, 2 * CELL)
    return _grid(made)


def spread(steps: Sequence[int], most: int) -> list[int]:
    """Up to `most` of the steps, evenly spread, the first and the last among them."""
    count = min(most, len(steps))
    return [steps[round(i * (len(steps) - 1) / max(1, count - 1))] for i in range(count)]


def _integers(counts: np.ndarray) -> np.ndarray:
    cells = np.zeros(-(-len(counts) // 10) * 10)
    cells[: len(counts)] = counts / max(1, counts.max())
    return _enlarge((cells.reshape(-1, 10) * 255).round().astype(np.uint8), CELL, CELL)


def _enlarge(img: np.ndarray, down: int, across: int) -> np.ndarray:
    return img.repeat(down, axis=0).repeat(across, axis=1)


def _grid(img: np.ndarray) -> np.ndarray:
    side = int(len(img) ** 0.5)
    return sheet(img[: side * side].reshape(side, side, *img.shape[1:]), 0)


def sheet(img: np.ndarray, gap: int = GAP) -> np.ndarray:
    """uint8 [rows, columns, C, H, W] -> one image [H', W'] or [H', W', 3], with white gaps."""
    padded = np.pad(img, ((0, 0), (0, 0), (0, 0), (0, gap), (0, gap)), constant_values=255)
    rows, columns, channels, height, width = padded.shape
    whole = padded.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    return whole[..., 0] if channels == 1 else whole


def address(img: np.ndarray) -> str:
    """An image as the address that an <img> takes, pixel by pixel; colours rounded to LEVELS levels."""
    if img.ndim == 3:
        img = (img // (256 // LEVELS) * np.uint16(255) // (LEVELS - 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(img).save(buffer, "WEBP", lossless=True, quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
