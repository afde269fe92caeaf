"""Every figure of a pair of source and encode, frame by frame, from one decode of each.

Squared errors and SSIM are summed in the blocks of the manifest and weighed there. With w the weights of the account,
its second column, 0.1 + 0.9 w, needs no sums of its own: they are linear in w.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vsal.evaluate.roi.full import FullMetrics
from vsal.evaluate.saliency.foretold import EVEN_SHARE
from vsal.quality.psnr import psnr_db, squared_error
from vsal.quality.ssim import ssim_map
from vsal.quality.weights import Pixels, Pooled, cell_pixels, cell_sums
from vsal.roi.grid import MACROBLOCK

FIRST_S = 1.0  # first looks go to the middle, whatever is there
WORST = 0.01  # of the frames
Floats = npt.NDArray[np.float64]
BlockWeights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Sums of n frames of one encode.

    Attributes:
        time_s: float64 [n], on the title's clock.
        pixels: of a frame.
        error: float64 [n], squared luma error in 8-bit units, summed over the pixels.
        ssim: float64 [n], likewise.
        weight: float64 [n], of the account, summed over the pixels; None where there is no account.
        weighted_error: float64 [n], squared error times weight; None likewise.
        weighted_ssim: float64 [n]; None likewise.
        more: further figures, float64 [n] each, NaN at frames that were passed over.
    """

    time_s: Floats
    pixels: int
    error: Floats
    ssim: Floats
    weight: Floats | None
    weighted_error: Floats | None
    weighted_ssim: Floats | None
    more: dict[str, Floats] = field(default_factory=dict)


class Measuring:
    """Takes pairs of luma one after another.

    Args:
        width: luma samples a row.
        height: luma rows.
        weighted: whether frames come with weights; without them the account is nobody's.
        full: metrics of an ffmpeg besides; None for none.
    """

    def __init__(self, width: int, height: int, weighted: bool, full: FullMetrics | None = None) -> None:
        self._pixels = cell_pixels(width, height, MACROBLOCK)
        self._weighted, self._full = weighted, full
        self._times: list[float] = []
        self._sums: list[tuple[float, float, float, float, float]] = []

    def add(self, time_s: float, source: Pixels, encoded: Pixels, weights: BlockWeights | None = None) -> Floats:
        """One frame; returns the squared error of its blocks, float64 [rows, cols], summed over their pixels.

        Args:
            time_s: on the title's clock.
            source: luma in 8-bit units, [height, width].
            encoded: likewise.
            weights: float32 [rows, cols] of its blocks, 0..1, where frames have weights.

        Raises:
            ValueError: the pictures differ in size, or weights are missing.
        """
        if self._weighted != (weights is not None):
            raise ValueError(f"frames {'need' if self._weighted else 'have no'} weights here")
        error = cell_sums(squared_error(source, encoded), MACROBLOCK)
        ssim = cell_sums(ssim_map(source, encoded), MACROBLOCK)
        weight = weighted = weighted_ssim = 0.0
        if weights is not None:
            now = weights.astype(np.float64)
            weight, weighted = float((now * self._pixels).sum()), float((now * error).sum())
            weighted_ssim = float((now * ssim).sum())
        self._times.append(time_s)
        self._sums.append((float(error.sum()), float(ssim.sum()), weight, weighted, weighted_ssim))
        if self._full is not None:
            self._full.add(source, encoded, weights)
        return error

    def done(self) -> Measured:
        """The figures of all frames.

        Raises:
            TitleFailed: there were none, or an ffmpeg failed.
        """
        sums = np.array(self._sums, np.float64).reshape(-1, 5)
        error, ssim, *weighted = sums.T
        more = {} if self._full is None else self._full.frames()
        times, pixels = np.array(self._times), int(self._pixels.sum())
        if not self._weighted:
            return Measured(times, pixels, error, ssim, None, None, None, more)
        return Measured(times, pixels, error, ssim, weighted[0], weighted[1], weighted[2], more)


def pooled(measured: Iterable[Measured], since_s: float = 0.0) -> dict[str, float]:
    """Figures of a clip, its stretches together.

    Args:
        measured: of each stretch.
        since_s: frames before do not count.

    Returns:
        `psnr` and `ssim` plain; `*_alone` under the account's weights, `*_even` with a tenth of the weight spread
        evenly; `psnr_worst` of the worst hundredth of the frames; then those of `FullMetrics`. Errors are summed
        before the logarithm.
    """
    parts = [(m, m.time_s >= since_s - 1e-9) for m in measured]
    parts = [(m, kept) for m, kept in parts if kept.any()]
    if not parts:
        return {}
    pixels = float(sum(m.pixels * kept.sum() for m, kept in parts))
    error, ssim = (float(sum(getattr(m, name)[kept].sum() for m, kept in parts)) for name in ("error", "ssim"))
    found = {"psnr": psnr_db(Pooled(error, pixels)), "ssim": ssim / pixels}
    if all(m.weight is not None for m, _ in parts):
        weight, weighted, weighted_ssim = (
            float(sum(getattr(m, name)[kept].sum() for m, kept in parts))
            for name in ("weight", "weighted_error", "weighted_ssim")
        )
        whole = EVEN_SHARE * pixels + (1 - EVEN_SHARE) * weight
        found |= {
            "psnr_alone": psnr_db(Pooled(weighted, weight)),
            "psnr_even": psnr_db(Pooled(EVEN_SHARE * error + (1 - EVEN_SHARE) * weighted, whole)),
            "ssim_alone": Pooled(weighted_ssim, weight).mean,
            "ssim_even": (EVEN_SHARE * ssim + (1 - EVEN_SHARE) * weighted_ssim) / whole,
        }
    of_frames = np.concatenate([m.error[kept] / m.pixels for m, kept in parts])
    worst = np.sort(of_frames)[::-1][: max(1, round(WORST * len(of_frames)))]
    found["psnr_worst"] = psnr_db(Pooled(float(worst.mean()), 1.0))
    for name in parts[0][0].more:
        values = np.concatenate([m.more[name][kept] for m, kept in parts])
        found |= _of_frames(name, values[~np.isnan(values)])
    return found


def _of_frames(name: str, values: Floats) -> dict[str, float]:
    """Mean of a figure; of VMAF the harmonic mean too, as libvmaf pools, and what a twentieth of frames is below."""
    if not len(values):
        return {}
    found = {name: float(values.mean())}
    if name.startswith("vmaf"):
        found[f"{name}_harmonic"] = float(len(values) / np.sum(1.0 / (values + 1.0)) - 1.0)
        found[f"{name}_5"] = float(np.percentile(values, 5))
    return found
