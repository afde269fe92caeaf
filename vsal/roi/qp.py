"""From the saliency of blocks to their QP offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

QP_LIMIT_MAX = 12  # beyond it the picture breaks into patches before it saves bits

Saliency = npt.NDArray[np.float32]
QpGrid = npt.NDArray[np.int8]
Offsets = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class QpMapping:
    """How saliency becomes QP offsets.

    Attributes:
        kind: `rd` from rate-distortion theory, or `linear`, the published baseline.
        floor: weight of a block nobody looks at, in (0, 1]; 1 turns `rd` off.
        limit: largest |offset|, in QP, at most 12.
        offset: |offset| of the `linear` mapping at saliency 0 and 1, in QP.

    Raises:
        ValueError: a value is out of its range.
    """

    kind: Literal["rd", "linear"] = "rd"
    floor: float = 0.08  # 1.7 times the mean of a map of looks (1 / 20): provisional, until it is tuned on encodes
    limit: int = 8
    offset: int = 6

    def __post_init__(self) -> None:
        if self.kind not in ("rd", "linear"):
            raise ValueError(f"QP mapping is 'rd' or 'linear', not {self.kind!r}")
        if not 0.0 < self.floor <= 1.0:
            raise ValueError(f"floor is the weight of a block nobody looks at, in (0, 1], not {self.floor:g}")
        if not 0 <= self.limit <= QP_LIMIT_MAX or not 0 <= self.offset <= QP_LIMIT_MAX:
            raise ValueError(f"QP offsets reach 0 to {QP_LIMIT_MAX}, not limit {self.limit} and offset {self.offset}")

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> QpMapping:
        """The mapping that settings of `prepare` or a manifest's footer name; the default where they name none."""
        named = {"kind": "qp_mapping", "floor": "qp_floor", "limit": "qp_limit", "offset": "qp_offset"}
        return cls(**{field: settings[name] for field, name in named.items() if name in settings})


def exact_offsets(
    saliency: npt.NDArray[np.floating[Any]],
    mapping: QpMapping,
    gain: float | None = None,
    weights: Offsets | None = None,
) -> Offsets:
    """QP offset of each block before rounding; negative where people look.

    `rd`: weighted distortion at equal rate is least where lambda_i = lambda / w_i. For H.264 and HEVC lambda doubles
    every 3 QP (Sullivan and Wiegand, "Rate-distortion optimization for video compression", 1998), hence
    -3 log2(w_i / geometric mean of w), with w = floor + (1 - floor) * saliency: before rounding and clipping the
    offsets of a map sum to 0, so bits move and the title's level stays.

    `linear`: -(2 * saliency - 1) * offset; it is not balanced.

    Args:
        saliency: [rows, cols] in 0..1.
        mapping: kind and limits.
        gain: multiplies the offsets, which then may reach `QP_LIMIT_MAX`; None leaves them as they are, within the
            mapping's own limit.
        weights: [rows, cols], share of each block that lies in the picture; 1 everywhere if None.

    Returns:
        float64 [rows, cols], in QP; positive means coarser.
    """
    exact = saliency.astype(np.float64, copy=False)
    if mapping.kind == "rd":
        log2 = np.log2(mapping.floor + (1.0 - mapping.floor) * exact)
        offsets = -3.0 * (log2 - np.average(log2, weights=weights))
    else:
        offsets = -(2.0 * exact - 1.0) * mapping.offset
    limit = mapping.limit if gain is None else QP_LIMIT_MAX
    clipped: Offsets = np.clip(offsets if gain is None else offsets * gain, -limit, limit)
    return clipped


def qp_offsets(saliency: Saliency, mapping: QpMapping | None = None) -> QpGrid:
    """QP offset of each block in whole steps, by the rule of `exact_offsets`.

    Args:
        saliency: float32 [rows, cols] in 0..1.
        mapping: kind and limits; None for the defaults.

    Returns:
        int8 [rows, cols], in QP; positive means coarser.

    Raises:
        ValueError: saliency is not 2-D, is empty or leaves 0..1.
    """
    if saliency.ndim != 2 or saliency.size == 0:
        raise ValueError(f"saliency is [rows, cols] and not empty, not {list(saliency.shape)}")
    low, high = float(saliency.min()), float(saliency.max())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN fails too
        raise ValueError(f"saliency lies in 0..1, not {low:g}..{high:g}")
    whole: QpGrid = np.rint(exact_offsets(saliency, mapping or QpMapping())).astype(np.int8)
    return whole
