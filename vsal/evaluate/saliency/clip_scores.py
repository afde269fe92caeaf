"""One clip's maps against the looks at it: the figures of a moment, and their means over the clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsal.evaluate.saliency import metrics
from vsal.evaluate.saliency.foretold import Foretold, foretell
from vsal.evaluate.saliency.observed import Counts, Floats, Looks
from vsal.manifest import MapRow
from vsal.roi.grid import block_grid_shape, block_means
from vsal.saliency.prior import FIXED_PRIOR
from vsal.video.orientation import UPRIGHT, Orientation

COLUMNS = ("nss", "cc", "sim", "kl", "auc_judd", "auc_shuffled", "gain_bits")


@dataclass(frozen=True, slots=True)
class Judged:
    """What a clip's maps are held against.

    Attributes:
        frames: int64 [n], the judged frames.
        looks: of those who score, at these frames.
        account: float32 [n, rows, cols], their density by blocks under the window that weighs an encode's errors.
        elsewhere: int32 [h, w], looks at the clips of other groups, all of them.
        orientation: how the coded picture is turned and mirrored to be upright.
    """

    frames: npt.NDArray[np.int64]
    looks: Looks
    account: Floats
    elsewhere: Counts
    orientation: Orientation = UPRIGHT

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the grid of looks."""
        height, width = self.looks.counts.shape[1:]
        return width, height


def score_maps(maps: Floats, judged: Judged) -> dict[str, float]:
    """Means over the moments at which somebody looked.

    Args:
        maps: float32 [n, h, w], not negative, in force at each judged frame.
        judged: what they are held against.
    """
    looked = judged.looks.counts.any(axis=(1, 2))
    shown, counts, density = maps[looked], judged.looks.counts[looked], judged.looks.density[looked]
    width, height = judged.size
    prior = FIXED_PRIOR.density(height, width)
    figures = {
        "nss": metrics.nss(shown, counts),
        "cc": metrics.cc(shown, density),
        "sim": metrics.sim(shown, density),
        "kl": metrics.kl(shown, density),
        "auc_judd": metrics.auc_judd(shown, counts),
        "auc_shuffled": metrics.shuffled_auc(shown, counts, judged.elsewhere),
        "gain_bits": metrics.information_gain(shown, prior, counts),
    }
    return {name: _mean(values) for name, values in figures.items()}


def score_rows(rows: Sequence[MapRow], judged: Judged) -> tuple[dict[str, float], Foretold]:
    """The figures of a manifest's rows, and the rate that their QP offsets foretell."""
    at = np.searchsorted([row.frame_end for row in rows], judged.frames, side="right")
    used, which = np.unique(at, return_inverse=True)
    maps = np.stack([on_grid(rows[i], judged.size, judged.orientation) for i in used])
    offsets = [rows[i].qp_offset for i in at]
    return score_maps(maps[which], judged), foretell(offsets, judged.account)


def on_grid(row: MapRow, size: tuple[int, int], orientation: Orientation) -> Floats:
    """The saliency of a row on the grid of looks: float32 [h, w] in 0..1, upright, bilinear between block centres."""
    width, height = size[::-1] if orientation.swaps_sides else size
    down = _between(row.height, row.block_size, row.saliency.shape[0], height)
    across = _between(row.width, row.block_size, row.saliency.shape[1], width)
    return orientation.upright(down @ (row.saliency.astype(np.float32) / np.float32(255)) @ across.T)


def by_blocks(density: Floats, info_size: tuple[int, int], orientation: Orientation) -> Floats:
    """Densities [n, h, w] of the upright grid by the blocks of the coded picture: float32 [n, rows, cols]."""
    coded = [orientation.coded(picture) for picture in density]
    return (
        block_means(np.stack(coded), *info_size) if coded else np.zeros((0, *block_grid_shape(*info_size)), np.float32)
    )


def _between(pixels: int, block: int, blocks: int, cells: int) -> Floats:
    """float32 [cells, blocks], rows summing to 1: the value at a cell's centre from those at block centres."""
    at = np.clip((np.arange(cells) + 0.5) * pixels / cells / block - 0.5, 0, blocks - 1)
    left = np.minimum(at.astype(np.int64), max(blocks - 2, 0))
    weights = np.zeros((cells, blocks), np.float32)
    np.add.at(weights, (np.arange(cells), left), 1 - (at - left))
    np.add.at(weights, (np.arange(cells), np.minimum(left + 1, blocks - 1)), at - left)
    return weights


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
