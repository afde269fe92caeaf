"""Maps in cells that are coarser than a macroblock: those of SVT-AV1, kvazaar and CTU-based hardware."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsal.manifest import MapRow
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping, exact_offsets

Floats = NDArray[np.float64]


def cell_saliency(row: MapRow, cell: int = 64) -> tuple[Floats, Floats]:
    """Saliency of square cells of `cell` luma samples, as the mean over the pixels that exist, and each one's share.

    Returns:
        Two float64 [ceil(height / cell), ceil(width / cell)]: saliency 0..1, and pixels of the picture over cell area.
    """
    blocks = cell // MACROBLOCK
    down = _pixels(row.height)
    across = _pixels(row.width)
    area = np.outer(down, across)
    shape = -(-row.height // cell), -(-row.width // cell)
    total, weight = np.zeros(shape), np.zeros(shape)
    at = np.ix_(np.arange(len(down)) // blocks, np.arange(len(across)) // blocks)
    np.add.at(total, at, area * row.saliency / 255.0)
    np.add.at(weight, at, area)
    return total / weight, weight / cell**2


def _pixels(size: int) -> Floats:
    """Luma samples of each block along one side that lie in the picture."""
    blocks = -(-size // MACROBLOCK)
    pixels = np.full(blocks, float(MACROBLOCK))
    pixels[-1] = size - (blocks - 1) * MACROBLOCK
    return pixels


def cell_offsets(row: MapRow, mapping: QpMapping, gain: float | None = None, cell: int = 64) -> tuple[Floats, Floats]:
    """QP offsets of cells before rounding, from their saliency, and each cell's share of the picture."""
    saliency, share = cell_saliency(row, cell)
    return exact_offsets(saliency, mapping, gain, share), share


def with_gain(row: MapRow, mapping: QpMapping, gain: float | None) -> NDArray[np.int8]:
    """A map's block offsets at another strength."""
    if gain is None:
        return row.qp_offset
    return np.rint(exact_offsets(row.saliency / 255.0, mapping, gain)).astype(np.int8)
