"""A teacher that knows time: an image teacher's looks at real clips, smoothed over past and future, drawn by motion.

A label is exp(mean of the log densities within SMOOTHED_S to both sides, in the shot) x (1 + local motion over its
mean). Local motion is that over a sixth of a second less the camera's, as `vsal prepare` shows it to video models: the
change over the gradient of luma (normal flow), averaged over as long. Before anything is trained on them, `python -m
model.motion_labels` holds such labels to recorded gaze.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vsal.assembly.cuts import make_cut_decider
from vsal.saliency.contract import ModelInput
from vsal.settings import PrepareSettings
from vsal.video.clock import SampleClock
from vsal.video.probe import probe
from vsal.video.scan import ScanSettings, scan_segment
from vsal.video.segments import WHOLE

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

RATE_HZ = 12.0
SMOOTHED_S = 1 / 3  # to each side
WINDOW, NOISE = 9, 4.0  # pixels over which a flow is taken, and luma squared below which a gradient says nothing
BLUR_CELLS, FLOOR = 1.5, 0.1  # of local motion at stride 8; pixels a sixth of a second that are a sensor's


@dataclass(frozen=True, slots=True)
class Shown:
    """A clip as `vsal prepare` shows it to a video model, RATE_HZ times a second.

    times_s: float64 [n]. shots: int64 [n], the shot of each sample. frames: uint8 [n, h, w, 3]. motion: int8
    [n, 2, h, w].
    """

    times_s: NDArray[np.float64]
    shots: NDArray[np.int64]
    frames: U8
    motion: NDArray[np.int8]


def show(path: Path, pixels: int, multiple: int = 16) -> Shown:
    """A clip for a network made for so many pixels."""
    info, settings = probe(str(path)), PrepareSettings(sample_rate=RATE_HZ)
    wants = ModelInput(pixels, multiple, None, motion=True, signed=True)
    clock = SampleClock(RATE_HZ, info.time_base, info.zero_pts)
    decider = make_cut_decider(settings, None)
    frames, motion, samples, pts, cuts = [], [], [], [], []
    for chunk in scan_segment(info, WHOLE, ScanSettings(RATE_HZ, motion="signed"), wants.size_for):
        decider.push(np.nan_to_num(chunk.score), clock.seconds_of(chunk.pts), None)
        cuts += [frame for frame, _, _ in chunk.sizes if frame > 0] + decider.take_final()
        frames.append(chunk.frames)
        motion.append(chunk.motion_maps)
        samples += [int(at) for at in chunk.samples]
        pts.append(chunk.pts)
    cuts = sorted({*cuts, *decider.close()})
    shown = {part.shape[1:3] for part in frames if len(part)}
    if len(shown) != 1:
        raise ValueError(f"{path} shows pictures of {len(shown)} sizes: one is needed")
    shots = np.array([bisect_right(cuts, at) for at in samples], np.int64)
    times_s = clock.seconds_of(np.concatenate(pts)[samples])
    kept = [i for i, part in enumerate(frames) if len(part)]
    moved = [m for i in kept if (m := motion[i]) is not None]
    return Shown(times_s, shots, np.concatenate([frames[i] for i in kept]), np.concatenate(moved).astype(np.int8))


def near(shown: Shown, now: int, within_s: float = SMOOTHED_S) -> NDArray[np.bool_]:
    """The samples of the same shot within so many seconds of one, bool [n]."""
    found: NDArray[np.bool_] = (np.abs(shown.times_s - shown.times_s[now]) <= within_s + 1e-3) & (
        shown.shots == shown.shots[now]
    )
    return found


def smoothed(log_density: F32, shown: Shown) -> F32:
    """Log densities [n, rows, cols] averaged over past and future."""
    return np.stack([log_density[near(shown, now)].mean(0) for now in range(len(shown.times_s))]).astype(np.float32)


def local_motion(shown: Shown, grid: tuple[int, int]) -> F32:
    """1 + local motion over its mean, float32 [n, rows, cols] on a (cols, rows) grid."""
    each = []
    for frame, motion in zip(shown.frames, shown.motion, strict=True):
        grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
        x, y = (cv2.Sobel(grey, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0))
        change, window = motion[1].astype(np.float32), (WINDOW, WINDOW)
        flow = np.sqrt(cv2.blur(change * change, window) / (cv2.blur(x * x + y * y, window) + NOISE))
        each.append(cv2.GaussianBlur(cv2.resize(flow, grid, interpolation=cv2.INTER_AREA), (0, 0), BLUR_CELLS))
    found = []
    for now in range(len(each)):
        mean = np.mean(np.stack(each)[near(shown, now)], 0)
        found.append(1 + mean / (mean.mean() + FLOOR))
    return np.stack(found).astype(np.float32)


def labels(shown: Shown, teach: Callable[[U8], F32], drawn: bool = True) -> F32:
    """Log densities wanted of a clip, float32 [n, rows, cols], up to a constant.

    Args:
        shown: the clip.
        teach: an image teacher: uint8 [h, w, 3] -> log density float32 [rows, cols].
        drawn: by motion.
    """
    wanted = smoothed(np.stack([teach(frame) for frame in shown.frames]), shown)
    return wanted + np.log(local_motion(shown, wanted.shape[:0:-1])) if drawn else wanted
