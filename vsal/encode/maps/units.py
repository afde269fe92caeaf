"""What a QP offset is in the units of other encoders than x264 and x265: qindex of AV1 and VP9, whose tables agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# AV1's 8-bit AC quantiser step by qindex, at knots between which its table is nearly geometric (within 1 %).
_QINDEX = np.array([0, 1, 20, 45, 94, 120, 137, 150, 160, 170, 189, 208, 227, 246, 255], dtype=np.float64)
_AC_STEP = np.array([4, 8, 27, 52, 101, 152, 203, 255, 305, 366, 520, 743, 1066, 1537, 1828], dtype=np.float64)


def qindex_of_crf(crf: float) -> float:
    """Base qindex of a quantiser 0..63, as libvpx, libaom and SVT-AV1 translate it."""
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
