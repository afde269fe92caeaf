"""Maps and frames made for the tests of this folder."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from vsal.manifest import MapRow


def blob(rows: int, cols: int, row: float, col: float, radius: float = 5.0) -> np.ndarray:
    """Saliency float32 [rows, cols]: a subject at a place."""
    y, x = np.mgrid[0:rows, 0:cols]
    return np.exp(-((y - row) ** 2 + (x - col) ** 2) / (2 * radius**2)).astype(np.float32)


def steps(saliency: np.ndarray, strength: int = 6) -> np.ndarray:
    """QP offsets int8 in steps of 2: x264 codes a step of 1 as none."""
    return (np.rint((0.5 - saliency) * strength) * 2).clip(-12, 12).astype(np.int8)


def rows_of(
    grids: list[np.ndarray], width: int, height: int, frames_each: int = 8, time_base: Fraction = Fraction(1, 24),
    step: int = 1, shots: list[int] | None = None, start_pts: int = 0,
) -> list[MapRow]:  # fmt: skip
    """One map after another; `grids` are QP offsets."""
    found = []
    for number, grid in enumerate(grids):
        start, end = number * frames_each, (number + 1) * frames_each
        saliency = ((6 - grid.astype(np.float32)) / 12 * 255).clip(0, 255).astype(np.uint8)
        shot = 0 if shots is None else shots[number]
        pts = start_pts + start * step, start_pts + end * step
        found.append(MapRow("title", shot, number, start, end, *pts, time_base, width, height, 1, 0.0, saliency, grid))
    return found
