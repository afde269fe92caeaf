"""Means of what a picture measures, under weights that move from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Weights = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Pooled:
    """A weighted sum and its weight: a monoid over frames, so a clip is the sum of its frames, in any grouping.

    Pooling sums before it divides. A frame counts by its weight: one in which twice as many people look somewhere
    counts twice, and one without weight not at all.
    """

    total: float = 0.0
    weight: float = 0.0

    def __add__(self, other: Pooled) -> Pooled:
        return Pooled(self.total + other.total, self.weight + other.weight)

    @property
    def mean(self) -> float:
        """Total over weight; not a number where nothing has weight."""
        return self.total / self.weight if self.weight > 0 else float("nan")


def pooled(values: Pixels, weights: Weights | None = None, cell: int | None = None) -> Pooled:
    """One frame's values under one frame's weights.

    Args:
        values: float32 [height, width], one for each pixel.
        weights: at least 0; [rows, cols] of cells, or [h, w] of a density; None weighs every pixel 1.
        cell: side in pixels of the square cells that `weights` is for; those at the edge count by the pixels that
            exist. None for a density: of the picture's size it is taken pixel by pixel, of another it is stretched over
            the picture (bilinear).

    Raises:
        ValueError: weights are negative or not numbers, or are not those of a picture of this size.
    """
    height, width = values.shape
    if weights is None:
        return Pooled(float(values.sum(dtype=np.float64)), float(height * width))
    if weights.ndim != 2 or weights.size == 0 or not float(weights.min()) >= 0.0:  # written so that NaN fails too
        raise ValueError(f"weights are [rows, cols], at least 0 each, not {list(weights.shape)} from {_least(weights)}")
    if cell is None:
        dense = density(weights, width, height)
        return Pooled(float((values * dense).sum(dtype=np.float64)), float(dense.sum(dtype=np.float64)))
    pixels = cell_pixels(width, height, cell)
    if weights.shape != pixels.shape:
        raise ValueError(
            f"{width}x{height} pixels have {pixels.shape[0]}x{pixels.shape[1]} cells of {cell} (rows, columns), and "
            f"the weights are {weights.shape[0]}x{weights.shape[1]}: they are of another picture or cell"
        )
    return Pooled(float((cell_sums(values, cell) * weights).sum()), float((pixels * weights).sum()))


def density(weights: Weights, width: int, height: int) -> Pixels:
    """Weights of any size, stretched over a picture: float32 [height, width], within their range."""
    exact: Pixels = weights.astype(np.float32, copy=False)
    if exact.shape == (height, width):
        return exact
    return np.asarray(cv2.resize(exact, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def cell_sums(values: Pixels, cell: int) -> Floats:
    """Sums over square cells, over the pixels that exist: float64 [ceil(height / cell), ceil(width / cell)]."""
    height, width = values.shape
    down = np.add.reduceat(values, np.arange(0, height, cell), axis=0, dtype=np.float64)
    sums: Floats = np.add.reduceat(down, np.arange(0, width, cell), axis=1)
    return sums


def cell_pixels(width: int, height: int, cell: int) -> Floats:
    """Pixels of each square cell that lie in the picture, shaped as `cell_sums`."""
    down = np.minimum(cell, height - np.arange(0, height, cell))
    across = np.minimum(cell, width - np.arange(0, width, cell))
    return np.outer(down, across).astype(np.float64)


def cell_means(values: Pixels, cell: int) -> Floats:
    """Means over square cells, over the pixels that exist, shaped as `cell_sums`."""
    means: Floats = cell_sums(values, cell) / cell_pixels(values.shape[1], values.shape[0], cell)
    return means


def _least(weights: Weights) -> str:
    return f"{float(weights.min()):g}" if weights.size else "nothing"
