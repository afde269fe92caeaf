"""The sheet that pictures are put on: panels, captions, legends."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vsal.report.overlay import Rgb

BACKGROUND = (18, 19, 23)
INK = (236, 237, 240)
FAINT = (150, 153, 162)
RULE = (52, 54, 62)

MARGIN = 24
GAP = 12
LEGEND_HEIGHT = 10
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 26, 17, 14

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True, slots=True)
class Legend:
    """A colour bar and what its ends mean."""

    colours: NDArray[np.uint8]  # uint8 RGB [steps, 3], left to right
    low: str
    high: str
    middle: str = ""


class Page:
    """A dark sheet of a given size that is filled from the top left; coordinates are pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), BACKGROUND)
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: int,
        y: int,
        words: str,
        size: int = TEXT_SIZE,
        colour: tuple[int, int, int] = INK,
        anchor: str = "la",
        width: int | None = None,
    ) -> None:
        """One line of text, shortened in the middle to `width` pixels; anchors as Pillow names them."""
        font = _font(size)
        self._draw.text((x, y), words if width is None else _shortened(words, font, width), colour, font, anchor)

    def picture(self, x: int, y: int, picture: Rgb) -> None:
        """A picture, with a hairline around it that keeps black borders of a film apart from the sheet."""
        height, width = picture.shape[:2]
        self.image.paste(Image.fromarray(picture), (x, y))
        self._draw.rectangle((x - 1, y - 1, x + width, y + height), outline=RULE)

    def rule(self, x: int, y: int, width: int) -> None:
        """A horizontal hairline."""
        self._draw.line((x, y, x + width, y), RULE)

    def legend(self, x: int, y: int, width: int, legend: Legend) -> None:
        """A colour bar of the given width, its words below it."""
        bar = Image.fromarray(legend.colours[None]).resize((width, LEGEND_HEIGHT), Image.Resampling.BILINEAR)
        self.image.paste(bar, (x, y))
        below = y + LEGEND_HEIGHT + 5
        self.text(x, below, legend.low, SMALL_SIZE, FAINT, "la")
        if legend.middle:
            self.text(x + width // 2, below, legend.middle, SMALL_SIZE, FAINT, "ma")
        self.text(x + width, below, legend.high, SMALL_SIZE, FAINT, "ra")


def timecode(seconds: Fraction | float) -> str:
    """Time from the title's beginning as HH:MM:SS.mmm.

    >>> timecode(Fraction(3725_250, 1000))
    '01:02:05.250'
    """
    sign = "-" if seconds < 0 else ""
    milliseconds = round(abs(Fraction(seconds)) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def fitted(aspect: float, width: int, height: int) -> tuple[int, int]:
    """The largest (width, height) of that aspect in the box; a side is at least 8 pixels."""
    if aspect >= width / height:
        return width, max(8, round(width / aspect))
    return max(8, round(height * aspect)), height


@lru_cache(maxsize=8)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)  # ships inside Pillow: the same letters on every machine


def _shortened(words: str, font: Font, width: int) -> str:
    if font.getlength(words) <= width:
        return words
    keep = len(words)
    while keep > 2:
        keep -= 1
        short = f"{words[: (keep + 1) // 2]}…{words[len(words) - keep // 2 :]}"
        if font.getlength(short) <= width:
            return short
    return "…"
