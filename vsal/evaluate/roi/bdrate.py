"""Bjontegaard's mean difference of rate at equal quality, or the reason why there is none.

G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33 (2001), with log rate
interpolated over quality by Akima's splines, as JVET has done since 2020; PCHIP stands beside it, for where the two
part the points are too few or too uneven to believe either (Barman et al., "Bjontegaard Delta (BD): a tutorial",
2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

LEAST_POINTS = 4  # Bjontegaard's own number: below it a spline is a guess
LEAST_OVERLAP = 0.75  # of the span of quality of the shorter curve
PARTED = 0.01  # Akima and PCHIP apart by more than one per cent of rate

Curve = Sequence[tuple[float, float]]  # (bytes, quality), quality rising with its goodness


@dataclass(frozen=True, slots=True)
class BdRate:
    """A difference of rate, or why there is none.

    Attributes:
        akima: share by which the tested curve needs more rate at equal quality; negative is better. None if refused.
        pchip: the same by PCHIP.
        overlap: share of the shorter curve's span of quality that both cover.
        refused: why there is no figure; empty where there is one.
        warning: where the two interpolations part.
    """

    akima: float | None
    pchip: float | None
    overlap: float
    refused: str = ""
    warning: str = ""


def bd_rate(reference: Curve, tested: Curve, least_overlap: float = LEAST_OVERLAP) -> BdRate:
    """Mean difference of rate at equal quality.

    Args:
        reference: what is compared with.
        tested: what is compared.
        least_overlap: share of the shorter curve's span of quality that both must cover.
    """
    for name, curve in (("the reference", reference), ("it", tested)):
        fault = fault_of(curve)
        if fault:
            return BdRate(None, None, 0.0, f"{name} {fault}")
    one, other = (sorted((quality, float(np.log(size))) for size, quality in curve) for curve in (reference, tested))
    low, high = max(one[0][0], other[0][0]), min(one[-1][0], other[-1][0])
    span = min(curve[-1][0] - curve[0][0] for curve in (one, other))
    overlap = max(0.0, high - low) / span
    if overlap < least_overlap:
        told = f"the curves overlap by {overlap:.0%} of the shorter one's span, and {least_overlap:.0%} are asked for"
        return BdRate(None, None, overlap, f"{told}: choose rates that bring them to the same qualities")
    akima, pchip = (_difference(kind, one, other, low, high) for kind in (Akima1DInterpolator, PchipInterpolator))
    warning = ""
    if abs(akima - pchip) > PARTED:
        warning = f"Akima says {akima:+.1%} and PCHIP {pchip:+.1%}: the points are too few or too uneven"
    return BdRate(akima, pchip, overlap, warning=warning)


def fault_of(curve: Curve) -> str:
    """What keeps points from being a curve of rate over quality, as the end of a sentence; empty for a sound one."""
    if len(curve) < LEAST_POINTS:
        return f"has {len(curve)} points, and a curve needs {LEAST_POINTS}"
    if not all(np.isfinite(quality) and size > 0 for size, quality in curve):
        return "has a point without a figure (lossless, or nothing has weight)"
    for (size, quality), (more, better) in pairwise(sorted(curve)):
        if more <= size or better <= quality:
            return f"does not rise: {size:.0f} bytes give {quality:.3f}, {more:.0f} bytes {better:.3f}"
    return ""


def _difference(
    kind: type, one: list[tuple[float, float]], other: list[tuple[float, float]], low: float, high: float
) -> float:
    areas = []
    for points in (one, other):
        at, log_rate = zip(*points, strict=True)
        areas.append(float(kind(at, log_rate).integrate(low, high)))
    return float(np.expm1((areas[1] - areas[0]) / (high - low)))
