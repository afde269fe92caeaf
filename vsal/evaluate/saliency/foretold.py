"""What QP offsets will give in rate, without encoding: two figures that need the looks alone.

`qp_gain`: by how many QP blocks are finer where people look than on the average: the plain mean of the offsets less
their mean weighted by the density of looks.

`rate`: what that would be in BD-rate if every block took the same bits and followed the high-rate model of H.264 and
HEVC: 6 QP halve the bits, 3 QP double the squared error. With offsets d and weights w of mean 1, bits change by
mean(2^(-d/6)) and weighted error by mean(w 2^(d/3)); bringing the error back to what it was by the same QP everywhere
costs its square root in bits, so the rate at equal weighted error is mean(2^(-d/6)) sqrt(mean(w 2^(d/3))) - 1. It is no
promise: real blocks take unequal bits. It is there to order maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EVEN_SHARE = 0.1  # of the weight that is spread evenly, in the second account


@dataclass(frozen=True, slots=True)
class Foretold:
    """Means over the judged frames.

    Attributes:
        qp_gain: QP by which blocks are finer under looks than on the average; more is better.
        rate: foretold change of rate at equal error weighted by the density of looks alone; negative is better.
        rate_even: the same with a tenth of the weight spread evenly.
    """

    qp_gain: float
    rate: float
    rate_even: float


def foretell(offsets: Sequence[npt.NDArray[np.integer]], density: npt.NDArray[np.floating]) -> Foretold:
    """What offsets foretell.

    Args:
        offsets: n grids int [rows, cols], in QP, in force at each judged frame.
        density: [n, rows, cols], of looks, of any scale; each frame's is brought to a maximum of 1, as the account of
            encodes has it. Frames without a look do not count.
    """
    d = np.stack(offsets).astype(np.float64)
    top = density.max(axis=(1, 2))
    d, w = d[top > 0], density[top > 0].astype(np.float64) / top[top > 0, None, None]
    if not len(d):
        return Foretold(np.nan, np.nan, np.nan)
    gain = d.mean(axis=(1, 2)) - (d * w).sum(axis=(1, 2)) / w.sum(axis=(1, 2))
    return Foretold(float(gain.mean()), _rate(d, w), _rate(d, EVEN_SHARE + (1 - EVEN_SHARE) * w))


def _rate(d: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> float:
    """Bits of all frames, errors pooled over them."""
    bits = np.exp2(-d / 6).mean()
    error = (weight * np.exp2(d / 3)).sum() / weight.sum()
    return float(bits * np.sqrt(error) - 1)
