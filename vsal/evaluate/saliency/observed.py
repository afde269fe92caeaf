"""What observers did at the judged moments of a clip: where looks lie, and how densely."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vsal.evaluate.saliency.sets.gaze import Fixations

Floats = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int32]

JUDGED_WIDTH = 160  # of the grid on which maps are held against looks: finer than the blocks of a picture 960 wide
SIGMA_WIDTHS = 1 / 20  # of the Gaussian of a look, in picture widths
IN_FORCE_S = 0.1  # a look counts at a moment if it lasts within so much of it
ACCOUNT_S = 0.25  # the same where looks weigh the errors of an encode


@dataclass(frozen=True, slots=True)
class Looks:
    """Looks in force at n moments.

    Attributes:
        counts: int32 [n, h, w], how many at each cell.
        density: float32 [n, h, w], the same under the Gaussian; each sums to the number of looks, less what lies
            outside of the picture.
    """

    counts: Counts
    density: Floats


def judged_size(display_aspect: float) -> tuple[int, int]:
    """(width, height) of the grid that a picture of that aspect is judged on: as many cells as 160x90 has."""
    width = (JUDGED_WIDTH * JUDGED_WIDTH * 9 / 16 * display_aspect) ** 0.5
    return max(1, round(width)), max(1, round(width / display_aspect))


def observers(fixations: Fixations, odd: bool) -> npt.NDArray[np.bool_]:
    """Which fixations are those of the odd (or of the even) observers: bool [k].

    The odd ones score, the even ones make the map that says what can be reached.
    """
    chosen: npt.NDArray[np.bool_] = fixations.observer % 2 == int(odd)
    return chosen


def looks_at(
    fixations: Fixations,
    chosen: npt.NDArray[np.bool_],
    moments_s: npt.NDArray[np.float64],
    size: tuple[int, int],
    within_s: float = IN_FORCE_S,
) -> Looks:
    """The looks of chosen fixations at some moments.

    Args:
        fixations: of a clip.
        chosen: bool [k].
        moments_s: float64 [n], seconds of the clip's time.
        size: (width, height) of the grid.
        within_s: up to so long before and after a moment a fixation must last to count at it.
    """
    width, height = size
    cells = np.floor(fixations.at * np.array(size)).astype(np.int64)
    inside = chosen & ((cells >= 0) & (cells < np.array(size))).all(axis=1)
    counts = np.zeros((len(moments_s), height, width), np.int32)
    for picture, moment in zip(counts, moments_s, strict=True):
        now = inside & (fixations.start_s <= moment + within_s) & (fixations.end_s >= moment - within_s)
        np.add.at(picture, (cells[now, 1], cells[now, 0]), 1)
    sigma = SIGMA_WIDTHS * width
    blurred = [
        cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        for picture in counts
    ]
    return Looks(counts, np.stack(blurred) if blurred else counts.astype(np.float32))
