"""Maps in the coarser cells and other units of SVT-AV1, kvazaar and CTU-based hardware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsal.manifest import BLOCK_SIZE, MapRow
from vsal.roi.qp import QP_LIMIT_MAX, QpMapping

Floats = NDArray[np.float64]


def mapping_of(settings: Mapping[str, Any]) -> QpMapping:
    """The QP mapping that a manifest's settings name; the default where they name none."""
    usual = QpMapping()
    return QpMapping(
        kind=settings.get("qp_mapping", usual.kind),
        floor=float(settings.get("qp_floor", usual.floor)),
        limit=int(settings.get("qp_limit", usual.limit)),
        offset=int(settings.get("qp_offset", usual.offset)),
    )


def exact_offsets(
    saliency: Floats, mapping: QpMapping, gain: float | None = None, weights: Floats | None = None
) -> Floats:
    """QP offsets before rounding, by the rule of `vsal.roi.qp`.

    Args:
        saliency: [rows, cols] in 0..1.
        mapping: kind and limits.
        gain: multiplies the offsets, which then may reach the house's limit; None leaves them as they are, within
            the mapping's.
        weights: [rows, cols], share of each cell that lies in the picture; 1 everywhere if None.
    """
    if mapping.kind == "rd":
        log2 = np.log2(mapping.floor + (1.0 - mapping.floor) * saliency)
        offsets = -3.0 * (log2 - np.average(log2, weights=weights))
    else:
        offsets = -(2.0 * saliency - 1.0) * mapping.offset
    if gain is None:
        kept: Floats = np.clip(offsets, -mapping.limit, mapping.limit)
        return kept
    clipped: Floats = np.clip(offsets * gain, -QP_LIMIT_MAX, QP_LIMIT_MAX)
    return clipped


def cell_saliency(row: MapRow, cell: int = 64) -> tuple[Floats, Floats]:
    """Saliency of square cells of `cell` luma samples, as the mean over the pixels that exist, and each one's share.

    Returns:
        Two float64 [ceil(height / cell), ceil(width / cell)]: saliency 0..1, and pixels of the picture over cell area.
    """
    blocks = cell // BLOCK_SIZE
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
    blocks = -(-size // BLOCK_SIZE)
    pixels = np.full(blocks, float(BLOCK_SIZE))
    pixels[-1] = size - (blocks - 1) * BLOCK_SIZE
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


# AV1's 8-bit AC quantiser step by qindex, at knots between which its table is nearly geometric (within 1 %).
_QINDEX = np.array([0, 1, 20, 45, 94, 120, 137, 150, 160, 170, 189, 208, 227, 246, 255], dtype=np.float64)
_AC_STEP = np.array([4, 8, 27, 52, 101, 152, 203, 255, 305, 366, 520, 743, 1066, 1537, 1828], dtype=np.float64)


def qindex_of_crf(crf: float) -> float:
    """AV1's base qindex of a quantiser 0..63, as libaom and SVT-AV1 translate it."""
    # Steps of 4 up to 60 (qindex 240), then 244, 249, 255.
    return float(np.interp(crf, [0, 60, 61, 62, 63], [0, 240, 244, 249, 255]))


def qindex_offsets(qp_offsets: Floats, base_qindex: float) -> Floats:
    """Offsets of qindex that change the quantiser step as offsets of QP do in H.264: sixfold for a doubling.

    What one QP is in qindex depends on where on the table a title lies: 4.4 at qindex 40, 8.5 at 80, 6.2 at 200.
    """
    log_step = np.log2(_AC_STEP)
    base = np.interp(base_qindex, _QINDEX, log_step)
    wanted = np.interp(base + qp_offsets / 6.0, log_step, _QINDEX)
    found: Floats = wanted - base_qindex
    return found
