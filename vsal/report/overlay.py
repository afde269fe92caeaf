"""Maps laid over pictures: saliency as heat, QP offsets as cold and warm blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vsal.video.orientation import UPRIGHT, Orientation

Rgb = NDArray[np.uint8]  # [h, w, 3]
Grid = NDArray[Any]  # [rows, cols], one value a block

# Ends of the diverging scale, through which a block is tinted: finer quantisation is teal, coarser is orange. The two
# differ in blue as well as in red, so that red-green colour blindness leaves them apart.
FINER = (26, 188, 214)
COARSER = (255, 122, 26)
NEUTRAL = (58, 60, 66)
# Tint of a block at the limit; the picture stays recognisable below it.
TINT = 0.78
# Below 1, so that an offset of one QP can be told from none.
GAMMA = 0.75


@dataclass(frozen=True, slots=True)
class Coded:
    """The picture that a map's blocks lie on, as the encoder sees it, and how it is turned and mirrored for display."""

    width: int
    height: int
    orientation: Orientation = UPRIGHT
    block_size: int = 16


def spread(grid: Grid, coded: Coded, size: tuple[int, int], smooth: bool) -> NDArray[np.float32]:
    """The grid over a displayed picture, one value a pixel.

    Args:
        grid: [rows, cols] in coded orientation; the last row and column may reach beyond the picture.
        coded: the picture under the grid.
        size: (width, height) of the displayed picture, upright.
        smooth: interpolate between block centres; else blocks keep their edges.

    Returns:
        float32 [height, width].
    """
    width, height = size[::-1] if coded.orientation.swaps_sides else size
    scale_x = coded.block_size * width / coded.width  # displayed pixels a block
    scale_y = coded.block_size * height / coded.height
    # Pixel (x, y) of the picture shows block ((x + 0.5) / scale - 0.5), exact for pictures that end inside a block.
    lookup = np.array([[1 / scale_x, 0, 0.5 / scale_x - 0.5], [0, 1 / scale_y, 0.5 / scale_y - 0.5]])
    flags = (cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
    values = cv2.warpAffine(
        np.ascontiguousarray(grid, np.float32), lookup, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return coded.orientation.upright(np.asarray(values, np.float32))


def heat_overlay(picture: Rgb, saliency: NDArray[np.uint8], coded: Coded | None = None) -> Rgb:
    """Saliency as heat over the picture.

    Args:
        picture: uint8 RGB [h, w, 3], upright.
        saliency: uint8 [rows, cols], 255 = most salient.
        coded: the picture the blocks lie on; the displayed one if not given.

    Returns:
        uint8 RGB [h, w, 3].

    >>> heat_overlay(np.zeros((64, 64, 3), np.uint8), np.full((4, 4), 255, np.uint8)).shape
    (64, 64, 3)
    """
    height, width = picture.shape[:2]
    share = spread(saliency, coded or Coded(width, height), (width, height), smooth=True) / np.float32(255)
    colours = heat_colours()[np.clip(np.rint(share * 255), 0, 255).astype(np.uint8)]
    return _blend(_grey(picture), colours, np.float32(0.30) + np.float32(0.42) * share)


def qp_overlay(picture: Rgb, offsets: NDArray[np.int8], limit: int, coded: Coded | None = None) -> Rgb:
    """QP offsets as tinted blocks over the picture: teal is finer (negative), orange coarser, zero has no tint.

    Args:
        picture: uint8 RGB [h, w, 3], upright.
        offsets: int8 [rows, cols].
        limit: the offset of full tint, in QP.
        coded: the picture the blocks lie on; the displayed one if not given.

    Returns:
        uint8 RGB [h, w, 3].
    """
    height, width = picture.shape[:2]
    values = spread(offsets, coded or Coded(width, height), (width, height), smooth=False)
    strength = np.minimum(np.abs(values) / max(1, limit), 1)
    ends = np.where(values[..., None] < 0, np.array(FINER, np.uint8), np.array(COARSER, np.uint8))
    return _blend(_grey(picture), ends, TINT * strength**GAMMA)


@lru_cache(maxsize=1)
def heat_colours() -> NDArray[np.uint8]:
    """The heat scale, uint8 RGB [256, 3]: Inferno, even in lightness, so that twice the value looks twice as bright."""
    bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(np.asarray(bgr, np.uint8)[:, 0, ::-1])


def qp_colours(steps: int) -> NDArray[np.uint8]:
    """The QP scale from -limit to +limit on mid grey, uint8 RGB [steps, 3], for a legend."""
    values = np.linspace(-1, 1, steps, dtype=np.float32)[:, None]
    ends = np.where(values < 0, np.array(FINER, np.float32), np.array(COARSER, np.float32))
    neutral = np.array(NEUTRAL, np.float32)
    return np.asarray(np.rint(neutral + (ends - neutral) * np.abs(values) ** GAMMA), np.uint8)


def _grey(picture: Rgb) -> Rgb:
    # Most of the colour goes, so that the colours on the screen are the map's.
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(picture, 0.25, grey, 0.75, 0), np.uint8)


def _blend(below: Rgb, above: NDArray[np.uint8], alpha: NDArray[np.floating[Any]]) -> Rgb:
    mixed = below + (above.astype(np.float32) - below) * alpha[..., None]
    return np.asarray(np.rint(mixed), np.uint8)
