"""The metrics of an ffmpeg, fed from the same decode: VMAF and VMAF NEG, weighted VMAF, CAMBI, XPSNR.

Weighted VMAF: libvmaf knows no weights, so it scores nine fixed tiles of half of each side, overlapping by half, and
each frame's figure is their mean under the weight that the account gives each tile. It is coarse on purpose: VMAF's
features look at large surroundings, and a tile of less than a third of a side is no picture to them.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

import numpy as np
import numpy.typing as npt

from vsal.evaluate.saliency.foretold import EVEN_SHARE
from vsal.quality.vmaf import MODEL, NEG, Vmaf, available_models
from vsal.quality.weights import Pixels

TILES = 3  # a side
Floats = npt.NDArray[np.float64]
Tile = tuple[slice, slice]
SHORT = {MODEL: "vmaf", NEG: "vmaf_neg"}


class FullMetrics:
    """Scores pairs of luma; use it as a context manager.

    Args:
        width: luma samples a row.
        height: luma rows.
        bit_depth: of the deeper of the two videos: 8, 10 or 12.
        weighted: whether weights will be given, for the tiles.
        every: scores every nth frame.

    Raises:
        SettingsError: there is no ffmpeg with libvmaf, or pictures are too small for it.
    """

    def __init__(self, width: int, height: int, bit_depth: int, weighted: bool, every: int = 1) -> None:
        self._every, self._added, self._undo = every, 0, ExitStack()
        self._tiles, self._shares = tiles_of(width, height) if weighted else [], list[Floats]()
        try:
            self._whole = self._undo.enter_context(
                Vmaf(width, height, bit_depth, available_models(), every=every, more=True)
            )
            self._of_tiles = [
                self._undo.enter_context(
                    Vmaf(tile[1].stop - tile[1].start, tile[0].stop - tile[0].start, bit_depth, (MODEL,), every=every)
                )
                for tile in self._tiles
            ]
        except BaseException:
            self._undo.close()
            raise

    def __enter__(self) -> FullMetrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def add(self, source: Pixels, encoded: Pixels, weights: npt.NDArray[np.float32] | None = None) -> None:
        """One frame of each, and the weights of its blocks, float32 [rows, cols], where there are any."""
        self._added += 1
        if weights is not None and self._tiles:
            self._shares.append(tile_weights(weights, len(self._tiles)))
        self._whole.add(source, encoded)
        for tile, vmaf in zip(self._tiles, self._of_tiles, strict=True):
            vmaf.add(np.ascontiguousarray(source[tile]), np.ascontiguousarray(encoded[tile]))

    def frames(self) -> dict[str, Floats]:
        """Figures of each frame, NaN at those passed over."""
        scores = {SHORT[of.model]: of.frames for of in self._whole.scores()} | self._whole.more
        found = {name: self._spread(values) for name, values in scores.items()}
        if self._shares:
            of_tiles = np.stack([self._spread(vmaf.scores()[0].frames) for vmaf in self._of_tiles], axis=1)
            alone = np.stack(self._shares)
            for name, shares in (("vmaf_alone", alone), ("vmaf_even", EVEN_SHARE + (1 - EVEN_SHARE) * alone)):
                total, weighted = shares.sum(axis=1), np.full(self._added, np.nan)
                np.divide((of_tiles * shares).sum(axis=1), total, out=weighted, where=total > 0)
                found[name] = weighted
        return found

    def _spread(self, values: Floats) -> Floats:
        spread = np.full(self._added, np.nan)
        spread[:: self._every] = values
        return spread


def tiles_of(width: int, height: int) -> list[Tile]:
    """Nine tiles of half of each side (even, for 4:2:0), a quarter of a side apart, by rows."""
    sides = []
    for side in (height, width):
        length = side // 2 + side // 2 % 2
        sides.append([slice(at, at + length) for at in ((side - length) * i // (TILES - 1) for i in range(TILES))])
    return [(down, across) for down in sides[0] for across in sides[1]]


def tile_weights(weights: npt.NDArray[np.float32], count: int) -> Floats:
    """Weight in each tile, a mean over its blocks: float64 [tiles], from blocks [rows, cols]."""
    rows, cols = weights.shape
    found = np.zeros(count)
    for i, (down, across) in enumerate(tiles_of(cols * 16, rows * 16)):
        part = weights[down.start // 16 : -(-down.stop // 16), across.start // 16 : -(-across.stop // 16)]
        found[i] = part.mean(dtype=np.float64)
    return found
