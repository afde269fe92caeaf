"""One page a shot, and overview pages of a title's shots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from vsal.report.overlay import Coded, Rgb, heat_colours, heat_overlay, qp_colours, qp_overlay
from vsal.report.page import FAINT, GAP, MARGIN, SMALL_SIZE, TITLE_SIZE, Legend, Page, fitted, timecode

PANEL = (600, 480)  # the box that a panel of a shot's page fits into
LEAST_WIDTH = 960  # of a page, so that the words have room over narrow pictures
TILE = (440, 330)  # the same of an overview's tile
TILES_ACROSS, TILES_DOWN = 4, 5
HEADER = 84
CAPTION = 30
LEGEND = 42


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame of a shot with the map that holds for it."""

    frame: int  # number in the title
    time_s: Fraction  # from the title's beginning
    picture: Rgb  # upright, at the size of a panel
    saliency: NDArray[np.uint8]  # [rows, cols]
    qp_offset: NDArray[np.int8]  # [rows, cols]
    coded: Coded


@dataclass(frozen=True, slots=True)
class ShotView:
    """What a shot's page shows. `strip` runs through the shot in order; `key` stands for it."""

    index: int
    start: int  # first frame
    end: int  # one past the last frame
    begin_s: Fraction
    end_s: Fraction
    maps: int
    mean_saliency: float  # 0..1, over the shot's maps
    key: Moment
    strip: Sequence[Moment]


def panel_size(display_aspect: float) -> tuple[int, int]:
    """(width, height) at which the pictures of a `Moment` are wanted."""
    return fitted(display_aspect, *PANEL)


def shot_page(title_id: str, shot: ShotView, qp_limit: int) -> Image:
    """The shot's key frame, its heat map and its QP map side by side, and the heat map's way through the shot."""
    key = shot.key
    height, width = key.picture.shape[:2]
    inner = max(3 * width + 2 * GAP, LEAST_WIDTH - 2 * MARGIN)
    strip_width, strip_height = fitted(width / height, (inner - 4 * GAP) // 5, 200)
    strip_top = HEADER + CAPTION + height + LEGEND + 2 * GAP
    page = Page(inner + 2 * MARGIN, strip_top + (strip_height + CAPTION if shot.strip else 0) + MARGIN // 2)

    name = f"shot {shot.index}"
    page.text(MARGIN, 18, name, TITLE_SIZE)
    page.text(page.image.width - MARGIN, 24, title_id, anchor="ra", width=inner - 160, colour=FAINT)
    page.text(
        MARGIN,
        54,
        f"{timecode(shot.begin_s)} to {timecode(shot.end_s)}  ·  frames {shot.start} to {shot.end - 1}  ·  "
        f"{_count(shot.maps, 'map')}  ·  mean saliency {shot.mean_saliency:.2f}",
        colour=FAINT,
    )

    scale = Legend(heat_colours(), "0  not salient", "salient  1")
    offsets = Legend(qp_colours(256), f"-{qp_limit} QP  finer", f"coarser  +{qp_limit} QP", "0")
    panels = (
        (f"frame {key.frame}  ·  {timecode(key.time_s)}", key.picture, None),
        ("saliency", heat_overlay(key.picture, key.saliency, key.coded), scale),
        (_qp_caption(key.qp_offset), qp_overlay(key.picture, key.qp_offset, qp_limit, key.coded), offsets),
    )
    for place, (caption, picture, legend) in enumerate(panels):
        x = MARGIN + place * (width + GAP)
        page.text(x, HEADER + 4, caption, width=width)
        page.picture(x, HEADER + CAPTION, picture)
        if legend is not None:
            page.legend(x, HEADER + CAPTION + height + GAP, width, legend)

    for place, moment in enumerate(shot.strip):
        x = MARGIN + place * (strip_width + GAP)
        small = _shrunk(moment.picture, strip_width, strip_height)
        page.picture(x, strip_top, heat_overlay(small, moment.saliency, moment.coded))
        words = f"frame {moment.frame}" + (f"  ·  {timecode(moment.time_s)}" if strip_width >= 200 else "")
        page.text(x, strip_top + strip_height + 7, words, SMALL_SIZE, FAINT, width=strip_width)
    return page.image


def overview_pages(title_id: str, facts: str, shots: Sequence[ShotView]) -> list[Image]:
    """The heat maps of all shots' key frames, some twenty a page."""
    each = TILES_ACROSS * TILES_DOWN
    pages = [shots[first : first + each] for first in range(0, len(shots), each)]
    return [_overview(title_id, facts, part, number, len(pages)) for number, part in enumerate(pages, 1)]


def _overview(title_id: str, facts: str, shots: Sequence[ShotView], number: int, pages: int) -> Image:
    tiles = [_tile_size(shot.key) for shot in shots]
    width = max(size[0] for size in tiles)
    height = max(size[1] for size in tiles)
    across = min(TILES_ACROSS, math.ceil(math.sqrt(len(shots))))  # few shots make a block, not a line and a rest
    down = -(-len(shots) // across)
    inner = max(across * width + (across - 1) * GAP, LEAST_WIDTH - 2 * MARGIN)
    page = Page(inner + 2 * MARGIN, HEADER + GAP + down * (height + CAPTION + GAP) + LEGEND)
    page.text(MARGIN, 18, title_id, TITLE_SIZE, width=inner - 160)
    page.text(MARGIN, 54, facts, colour=FAINT, width=inner)
    if pages > 1:
        page.text(page.image.width - MARGIN, 24, f"page {number} of {pages}", colour=FAINT, anchor="ra")
    for place, (shot, size) in enumerate(zip(shots, tiles, strict=True)):
        x = MARGIN + place % across * (width + GAP)
        y = HEADER + GAP + place // across * (height + CAPTION + GAP)
        page.picture(x, y, heat_overlay(_shrunk(shot.key.picture, *size), shot.key.saliency, shot.key.coded))
        words = f"{shot.index}  ·  {timecode(shot.begin_s)}  ·  {_count(shot.end - shot.start, 'frame')}"
        page.text(x, y + size[1] + 7, words, SMALL_SIZE, FAINT, width=width)
    legend = Legend(heat_colours(), "0  not salient", "salient  1")
    page.legend(MARGIN, page.image.height - LEGEND - 2, min(width, inner), legend)
    return page.image


def _tile_size(moment: Moment) -> tuple[int, int]:
    height, width = moment.picture.shape[:2]
    return fitted(width / height, *TILE)


def _shrunk(picture: Rgb, width: int, height: int) -> Rgb:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _qp_caption(offsets: NDArray[np.int8]) -> str:
    low, high = (f"{value:+d}" if value else "0" for value in (int(offsets.min()), int(offsets.max())))
    return f"QP offset  ·  {low} to {high}, mean {float(offsets.mean()):+.2f}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
