"""What a scan has gathered and not given out yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vsal.video.earlier import STATED_S

# "frame": absolute change against the frame before. "signed": over stated times, without the camera's.
MotionMaps = Literal["frame", "signed"]
MotionMap = npt.NDArray[np.uint8 | np.int8]


@dataclass(slots=True)
class ScannedFrame:
    """A decoded frame that waits for its successor, which decides whether it is a sample."""

    number: int
    pts: int
    picture: VideoFrame
    score: float
    motion: float
    tiny: npt.NDArray[np.uint8] | None
    wanted: bool = False
    held: bool = False  # one of those that a later sample is held against


@dataclass(slots=True)
class Filling:
    """The chunk being filled."""

    first: int
    pts: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    frames: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    motion_maps: list[MotionMap] = field(default_factory=list)
    sample_motion: list[float] = field(default_factory=list)
    tiny: list[npt.NDArray[np.uint8]] = field(default_factory=list)


def stacked(pictures: Sequence[npt.NDArray[np.uint8]], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Pictures of one shape as one array, of no length where there are none."""
    return np.stack(pictures) if pictures else np.zeros((0, *shape), np.uint8)


def stacked_motion(maps: Sequence[MotionMap], shape: tuple[int, ...], kind: MotionMaps | None) -> MotionMap | None:
    """The motion of samples of (height, width) as one array; None where none was asked for."""
    if kind is None:
        return None
    if maps:
        return np.stack(maps)
    return np.zeros((0, len(STATED_S), *shape), np.int8) if kind == "signed" else np.zeros((0, *shape), np.uint8)
