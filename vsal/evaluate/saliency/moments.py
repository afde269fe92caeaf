"""An item of a data set, read once: what the models see of it, and what its maps are judged by."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from vsal.evaluate.saliency.items import Bytes, Floats, Frame, Item, Picture, Truth
from vsal.roi.grid import MACROBLOCK, block_means
from vsal.saliency import ModelInput
from vsal.settings import PrepareSettings
from vsal.video.camera import signed_changes
from vsal.video.clock import SampleClock
from vsal.video.earlier import REACH_S, STATED_S

JUDGED_SIDE = 256  # longest side at which maps are held against gaze: finer than any model's mask
FIXATION_BLUR = 0.03  # of the longer side: about a degree of sight, where a set has fixations without a density
STILL_BLOCKS = 96 * 72  # of a photograph, as many as of a picture of 1536x1152: too small ones would have few
MOTION_SIZE = (160, 90)

Key = tuple[int, int]  # (shot, span): the frames that share a map


@dataclass(frozen=True, slots=True)
class Seen:
    """The samples of an item as one model sees them.

    Attributes:
        frames: uint8 [m, h, w, 3].
        motion: uint8 [m, h, w] or int8 [m, 2, h, w], for models that ask for it.
    """

    frames: Bytes
    motion: npt.NDArray[np.uint8 | np.int8] | None


@dataclass(frozen=True, slots=True)
class Moments:
    """What of an item is seen and what is judged.

    Attributes:
        seen: one for each model.
        sample_keys: [m], the map that each sample goes into.
        sample_motion: [m], mean absolute luma change against the frame before, 0..255.
        sample_s: [m], the middle of its frame's time, in seconds.
        map_s: when the frames of each map begin and end, in seconds.
        judged_keys: [n], the map that is in force at each judged frame.
        size: (width, height) of the picture whose blocks are counted.
        grids: float32 [n, rows, cols], the true share of each block; of a gaze set all zero.
        density: float32 [n, h, w] of a gaze set, else None.
        fixations: int32 [n, h, w], their number at each pixel, else None.
    """

    seen: list[Seen]
    sample_keys: list[Key]
    sample_motion: list[float]
    sample_s: list[float]
    map_s: dict[Key, tuple[float, float]]
    judged_keys: list[Key]
    size: tuple[int, int]
    grids: Floats
    density: Floats | None
    fixations: npt.NDArray[np.int32] | None


def still_size(aspect: float) -> tuple[int, int]:
    """(width, height) of the picture on whose blocks a photograph of that aspect is judged."""
    rows = max(1, round((STILL_BLOCKS / aspect) ** 0.5))
    return max(1, round(rows * aspect)) * MACROBLOCK, rows * MACROBLOCK


def on_clock(index: int, fps: float, rate_hz: float) -> bool:
    """Whether a frame is the nearest to a point of a clock, as `SampleClock` picks them; of two the earlier."""
    step = fps / rate_hz  # frames from point to point
    first = max(0, math.floor((index - 0.5) / step))
    return any(math.ceil(point * step - 0.5) == index for point in range(first, math.ceil((index + 0.5) / step) + 1))


def _signed(
    picture: Picture, index: int, recent: Iterable[Frame], frame_s: float, size: tuple[int, int]
) -> npt.NDArray[np.int8]:
    """Signed motion of a picture against the recent frames nearest to the stated times before it, as a scan has it."""
    alike = [(frame.index, one) for frame in recent if (one := frame.picture()).size == picture.size]
    found = []
    for stated_s in STATED_S if alike else ():
        at, one = min(alike, key=lambda pair: abs((index - pair[0]) * frame_s - stated_s))
        found.append((one.luma(size), (index - at) * frame_s))
    return signed_changes(picture.luma(size), found, STATED_S)


def read_moments(
    item: Item, truth: str, inputs: Sequence[ModelInput], settings: PrepareSettings, judge_rate_hz: float
) -> Moments:
    """Read an item once.

    Args:
        item: of a data set.
        truth: "mask" or "gaze".
        inputs: what each model wants to see.
        settings: sample rate and map interval.
        judge_rate_hz: frames a second at which maps are judged.
    """
    pictures: list[list[Bytes]] = [[] for _ in inputs]
    motions: list[list[npt.NDArray[np.uint8 | np.int8]]] = [[] for _ in inputs]
    recent: deque[Frame] = deque()  # within reach of signed motion, while a model asks for it
    sample_keys, sample_motion, sample_s, judged_keys = [], [], [], []
    map_s: dict[Key, tuple[float, float]] = {}
    truths: list[tuple[Floats, npt.NDArray[np.int32]] | Floats] = []
    size, aspect = still_size(16 / 9), 16 / 9  # of the first sample from there on, and an item begins with one
    before: Frame | None = None
    for frame in item.frames():
        key = _key(frame, item.fps, settings)
        frame_s = 1.0 / (item.fps or 1.0)
        map_s[key] = (map_s[key][0] if key in map_s else frame.index * frame_s, (frame.index + 1) * frame_s)
        if item.fps is None or on_clock(frame.index, item.fps, settings.sample_rate):
            picture = frame.picture()
            aspect = picture.aspect
            size = picture.size if item.fps is not None else still_size(aspect)
            last = picture if before is None else before.picture()
            sample_keys.append(key)
            sample_s.append((frame.index + 0.5) * frame_s)
            sample_motion.append(float(picture.change(last, MOTION_SIZE).mean()))
            for wants, shown, moved in zip(inputs, pictures, motions, strict=True):
                at = wants.size_for(aspect)
                shown.append(picture.rgb(at))
                if wants.signed:
                    moved.append(_signed(picture, frame.index, recent, frame_s, at))
                elif wants.motion:
                    moved.append(picture.change(last, at))
        if item.fps is None or on_clock(frame.index, item.fps, judge_rate_hz):
            known = frame.truth()
            judged = None if known is None else _mask_grid(known, size) if truth == "mask" else _gaze(known, aspect)
            if judged is not None:
                judged_keys.append(key)
                truths.append(judged)
        before = frame
        if any(wants.signed for wants in inputs):
            recent.append(frame)
            while (frame.index - recent[0].index) * frame_s > REACH_S:
                recent.popleft()
    seen = [
        Seen(np.stack(shown), np.stack(moved) if wants.motion else None)
        for wants, shown, moved in zip(inputs, pictures, motions, strict=True)
        if shown
    ]
    if truth == "mask":
        grids = (
            np.stack([t for t in truths if isinstance(t, np.ndarray)]) if truths else np.zeros((0, 1, 1), np.float32)
        )
        return Moments(seen, sample_keys, sample_motion, sample_s, map_s, judged_keys, size, grids, None, None)
    pairs = [t for t in truths if isinstance(t, tuple)]
    blank = np.zeros((len(pairs), 1, 1), np.float32)
    if not pairs:
        return Moments(
            seen, sample_keys, sample_motion, sample_s, map_s, [], size, blank, blank, blank.astype(np.int32)
        )
    density, counts = np.stack([d for d, _ in pairs]), np.stack([c for _, c in pairs])
    return Moments(seen, sample_keys, sample_motion, sample_s, map_s, judged_keys, size, blank, density, counts)


def mean_truth(item: Item, truth: str, judge_rate_hz: float) -> Floats | None:
    """Where an item's truth lies on the average: float32 [72, 128] in 0..1; None where it says nothing."""
    total, count = np.zeros((72, 128), np.float64), 0
    for frame in item.frames():
        if item.fps is not None and not on_clock(frame.index, item.fps, judge_rate_hz):
            continue
        known = frame.truth()
        if known is None:
            continue
        picture: Floats | None
        if truth == "mask":
            picture = None if known.mask is None else known.mask.astype(np.float32) / np.float32(255)
        else:
            pair = _gaze(known, 1.0 if known.density is not None else frame.picture().aspect)
            picture = None if pair is None else pair[0] / np.float32(max(float(pair[0].max()), 1e-12))
        if picture is not None:
            total += cv2.resize(picture, (128, 72), interpolation=cv2.INTER_AREA)
            count += 1
    if count == 0:
        return None
    mean = total / count
    return (mean / max(float(mean.max()), 1e-12) if truth == "gaze" else mean).astype(np.float32)


def _key(frame: Frame, fps: float | None, settings: PrepareSettings) -> Key:
    if fps is None or settings.samples_per_span is None:
        return frame.shot, 0
    clock = SampleClock(settings.sample_rate, 1 / Fraction(fps).limit_denominator(100_000))
    return frame.shot, clock.span_of(frame.index, settings.samples_per_span)


def _mask_grid(truth: Truth, size: tuple[int, int]) -> Floats | None:
    if truth.mask is None:
        return None
    return block_means(truth.mask.astype(np.float32) / np.float32(255), *size)


def _gaze(truth: Truth, aspect: float) -> tuple[Floats, npt.NDArray[np.int32]] | None:
    """Density and number of fixations at the size of judging; None where nobody looked."""
    if truth.density is not None:
        height, width = truth.density.shape
    else:
        width, height = round(JUDGED_SIDE * min(1, aspect)), round(JUDGED_SIDE / max(1, aspect))
    shrink = min(1.0, JUDGED_SIDE / max(width, height))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    counts = np.zeros(size[::-1], np.int32)
    if truth.fixations is not None and len(truth.fixations):
        at = np.floor(truth.fixations * np.array(size)).astype(int)
        inside = ((at >= 0) & (at < size)).all(axis=1)
        np.add.at(counts, (at[inside, 1], at[inside, 0]), 1)
    if truth.density is not None:
        density = np.asarray(cv2.resize(truth.density, size, interpolation=cv2.INTER_AREA), np.float32)
    else:
        density = np.asarray(cv2.GaussianBlur(counts.astype(np.float32), (0, 0), FIXATION_BLUR * max(size)), np.float32)
    return (density, counts) if counts.any() or density.any() else None
