"""How a coded picture is turned and mirrored to be upright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

Picture = TypeVar("Picture", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Orientation:
    """The way from a coded picture to the upright one, one of eight.

    Attributes:
        rotation_deg: 0, 90, 180 or 270: how far the coded picture is turned clockwise first.
        mirrored: whether it is then mirrored from left to right.
    """

    rotation_deg: int = 0
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.rotation_deg not in (0, 90, 180, 270):
            raise ValueError(f"pictures are turned by 0, 90, 180 or 270 degrees, not {self.rotation_deg}")

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> Self:
        """The orientation next to FFmpeg's display matrix of nine numbers.

        The matrix takes a coded point (x, y), y pointing down, to (a x + c y, b x + d y), with a, b at places 0, 1 and
        c, d at 3, 4 (libavutil/display.h). A matrix that flattens the picture says nothing.
        """
        a, b, c, d = (float(matrix[place]) for place in (0, 1, 3, 4))
        if a * d == b * c:
            return cls()
        mirrored = a * d < b * c
        across, down = a / math.hypot(a, c), b / math.hypot(b, d)
        # Mirroring comes after turning, so that turning alone takes the x axis to (-a, b).
        turned = math.degrees(math.atan2(down, -across if mirrored else across))
        return cls(round(turned / 90) % 4 * 90, mirrored)

    @property
    def swaps_sides(self) -> bool:
        """Whether the upright picture is as wide as the coded one is high."""
        return self.rotation_deg in (90, 270)

    def upright(self, coded: npt.NDArray[Picture]) -> npt.NDArray[Picture]:
        """A coded picture, mask or block grid [h, w, ...] as it is shown."""
        turned = np.rot90(coded, -(self.rotation_deg // 90))
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

    def coded(self, upright: npt.NDArray[Picture]) -> npt.NDArray[Picture]:
        """The inverse of `upright`."""
        turned = upright[:, ::-1] if self.mirrored else upright
        return np.ascontiguousarray(np.rot90(turned, self.rotation_deg // 90))

    def coded_box(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """A rectangle of the upright picture in the coded one, in fractions of the sides."""
        if self.mirrored:
            left, right = 1 - right, 1 - left
        for _ in range(self.rotation_deg // 90):  # a quarter back, against the clock
            left, top, right, bottom = top, 1 - right, bottom, 1 - left
        return left, top, right, bottom


UPRIGHT = Orientation()
