"""Augmented batches of pictures: what a student sees.

A batch is a function of (seed, step) alone: any number of worker threads, and a resumed run, see the same batches.

Three kinds of pictures are mixed. Most are views of photographs. Some are parts of photographs without the object, with
nothing to mark: the mask has to be quiet there. Some have a cut-out object set far away into another photograph, small
as subjects are in video and hardly ever in data sets of photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from model.data.stills import Dataset

cv2.setNumThreads(1)  # the batches are made in parallel, not the pixels

U8 = NDArray[np.uint8]
Made = TypeVar("Made")
Matrix = NDArray[np.float32]  # [2, 3], from target to source pixels

# (width, height) of a training batch, with its share; multiples of 16. Video is 16:9 in the main, so are the batches.
SIZES: tuple[tuple[tuple[int, int], float], ...] = (
    ((256, 144), 0.50),
    ((256, 192), 0.20),
    ((224, 128), 0.10),
    ((288, 160), 0.10),
    ((144, 256), 0.05),
    ((192, 192), 0.05),
)
# The first part of a run sees smaller pictures: nearly twice the examples in the same time.
SMALL_SIZES: tuple[tuple[tuple[int, int], float], ...] = (
    ((192, 112), 0.50),
    ((176, 128), 0.30),
    ((160, 96), 0.10),
    ((144, 144), 0.05),
    ((112, 192), 0.05),
)
QUIET_SHARE, FAR_SHARE = 0.06, 0.12
FAR_AREA = (0.003, 0.05)  # of the target, of an object set far away
GAZE_PICTURES = 4  # of a batch of 32, in proportion


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures uint8 [n, h, w, 3], object masks and gaze uint8 [n, h, w], and what is known, bool [n] each."""

    frames: U8
    masks: U8
    gaze: U8
    mask_known: NDArray[np.bool_]
    gaze_known: NDArray[np.bool_]


def view(rng: np.random.Generator, h: int, w: int, size: tuple[int, int]) -> Matrix:
    """A random 2x3 map from a (width, height) target to an h x w picture: crop, zoom out, squeeze, tilt, mirror."""
    width, height = size
    scale = min(w / width, h / height)  # source pixels per target pixel of the largest crop
    fit = max(w / width, h / height)  # ... of the view that holds the whole picture
    low, high = math.log(0.6 * scale), math.log(1.15 * fit)
    zoom = math.exp(rng.uniform(low, high))
    squeeze = math.exp(rng.uniform(-0.25, 0.25))
    ax, ay = zoom * squeeze, zoom / squeeze
    if rng.random() < 0.3:  # the whole picture, squeezed to the target: how stills are judged
        ax, ay = w / width, h / height
    free_x, free_y = w - width * ax, h - height * ay
    cx = w / 2 + free_x * rng.uniform(-0.5, 0.5)
    cy = h / 2 + free_y * rng.uniform(-0.5, 0.5)
    angle = rng.normal(0, 0.06)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    m = np.array([[flip * ax * cos, -ay * sin, 0.0], [flip * ax * sin, ay * cos, 0.0]])
    m[:, 2] = np.array([cx, cy]) - m[:, :2] @ np.array([(width - 1) / 2, (height - 1) / 2])
    return m.astype(np.float32)


def degrade(rng: np.random.Generator, image: U8) -> U8:
    """What a camera and a codec do to a picture: exposure, colour cast, fading, blur, low resolution, blocks, noise."""
    h, w = image.shape[:2]
    levels = np.arange(256, dtype=np.float32) / 255.0
    gain = math.exp(rng.normal(0, 0.2))
    gamma = math.exp(rng.normal(0, 0.2))
    lift = rng.normal(0, 0.05)
    cast = np.exp(rng.normal(0, 0.06, 3))
    curve = (levels[:, None] ** gamma * gain * cast + lift).clip(0, 1) * 255
    image = cv2.LUT(image, curve.astype(np.uint8)[None])
    draw = rng.random(6)
    if draw[0] < 0.4:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        keep = 0.0 if draw[0] < 0.04 else float(rng.uniform(0.2, 1.6))
        image = cv2.addWeighted(image, keep, grey, 1 - keep, 0)
    if draw[1] < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))
    if draw[2] < 0.15:
        f = float(rng.uniform(0.35, 0.8))
        small = cv2.resize(image, None, fx=f, fy=f, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    if draw[3] < 0.25:
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])[1]
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    if draw[4] < 0.1:
        noise = rng.normal(0, rng.uniform(2, 10), (h, w, 1)).astype(np.float32)
        image = (image + noise).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(image, np.uint8)


def warp(plane: U8, m: Matrix, size: tuple[int, int], border: int) -> U8:
    """A picture or mask seen through a 2x3 map from target to source, uint8 [height, width, ...]."""
    return np.asarray(
        cv2.warpAffine(plane, m, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border), np.uint8
    )


def quiet_view(rng: np.random.Generator, mask: U8, size: tuple[int, int]) -> Matrix | None:
    """A map to a part of the picture in which hardly anything of the mask is; None if none was met in eight tries."""
    (h, w), (width, height) = mask.shape, size
    for _ in range(8):
        zoom = min(w / width, h / height) * rng.uniform(0.4, 0.85)
        x, y = rng.uniform(0, w - width * zoom), rng.uniform(0, h - height * zoom)
        inside = mask[int(y) : int(y + height * zoom) + 1, int(x) : int(x + width * zoom) + 1]
        if float((inside > 127).mean()) < 0.002:
            return np.array([[zoom, 0, x], [0, zoom, y]], np.float32)
    return None


def set_far(ground: U8, image: U8, mask: U8, rng: np.random.Generator) -> tuple[U8, U8] | None:
    """The object of a picture, small, in another of the target's size: (picture, mask); None if it has no object."""
    height, width = ground.shape[:2]
    area = float((mask > 127).sum())
    if area < 0.02 * mask.size:
        return None
    wanted = width * height * math.exp(rng.uniform(*np.log(FAR_AREA)))
    zoom = math.sqrt(area / wanted)  # source pixels per target pixel
    ys, xs = np.nonzero(mask > 127)
    cx, cy = xs.mean(), ys.mean()
    tx, ty = rng.uniform(0.1, 0.9) * width, rng.uniform(0.2, 0.85) * height
    flip = -1.0 if rng.random() < 0.5 else 1.0
    m = np.array([[flip * zoom, 0, cx - flip * zoom * tx], [0, zoom, cy - zoom * ty]], np.float32)
    if zoom > 1.5:  # an area mean in place of an aliased pick
        soft = zoom / 3
        image, mask = cv2.GaussianBlur(image, (0, 0), soft), cv2.GaussianBlur(mask, (0, 0), soft)  # type: ignore[assignment]
    alpha = warp(mask, m, (width, height), cv2.BORDER_CONSTANT)
    alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.7), np.uint8)
    weight = alpha[..., None].astype(np.float32) / 255
    thing = warp(image, m, (width, height), cv2.BORDER_REFLECT_101).astype(np.float32)
    thing += (ground.mean((0, 1)) - thing.mean((0, 1))) * rng.uniform(0, 0.6)  # some of the place's light
    return np.asarray((ground * (1 - weight) + thing * weight).clip(0, 255), np.uint8), alpha


def example(
    data: Dataset, i: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[U8, U8, U8, tuple[bool, bool]]:
    """One augmented picture [height, width, 3], its mask and gaze [height, width], and whether they are known."""
    draw = rng.random()
    has_mask, has_gaze = data.known(i)
    image, mask = data.image(i), data.mask(i)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.3 else cv2.BORDER_REFLECT_101  # letterbox bars, or more scene
    quiet = quiet_view(rng, mask, size) if has_mask and draw < QUIET_SHARE + FAR_SHARE else None
    if quiet is None:
        m = view(rng, *mask.shape, size)
        seen = degrade(rng, warp(image, m, size, border))
        return seen, warp(mask, m, size, border), warp(data.gaze(i), m, size, border), (has_mask, has_gaze)
    ground, nothing = warp(image, quiet, size, border), np.zeros(size[::-1], np.uint8)
    if draw < FAR_SHARE:
        other = int(rng.integers(len(data)))
        placed = set_far(ground, data.image(other), data.mask(other), rng)
        if placed is not None:
            return degrade(rng, placed[0]), placed[1], nothing, (True, False)
    return degrade(rng, ground), nothing, nothing, (True, False)


def _place(data: Dataset, step: int, count: int, seed: int) -> list[int]:
    """The pictures of a step: every picture once an epoch, each epoch in its own order."""
    epoch, place = divmod(step, max(1, len(data) // count))
    order = np.random.default_rng([seed, 1 << 20, epoch]).permutation(len(data))
    return [int(i) for i in order[place * count : (place + 1) * count]]


def batch(sets: Sequence[Dataset], step: int, batch_size: int, seed: int, small: bool = False) -> Batch:
    """The batch of `step`: of the first set, and some of the second (with gaze) if there is one."""
    sizes = SMALL_SIZES if small else SIZES
    rng = np.random.default_rng([seed, step])
    size = sizes[int(rng.choice(len(sizes), p=[share for _, share in sizes]))][0]
    of_gaze = batch_size * GAZE_PICTURES // 32 if len(sets) > 1 else 0
    made = [example(sets[0], i, size, rng) for i in _place(sets[0], step, batch_size - of_gaze, seed)]
    if of_gaze:
        made += [example(sets[1], i, size, rng) for i in _place(sets[1], step, of_gaze, seed)]
    frames, masks, gaze = (np.stack([m[k] for m in made]) for k in range(3))  # type: ignore[arg-type]
    known = np.array([m[3] for m in made])
    return Batch(frames, masks, gaze, known[:, 0], known[:, 1])


def in_order(make: Callable[[int], Made], first: int, last: int) -> Iterator[Made]:
    """What the steps first..last-1 see, in order. At most four are made ahead."""
    with ThreadPoolExecutor(2) as pool:
        ahead: list[Future[Made]] = []
        for step in range(first, last):
            ahead.append(pool.submit(make, step))
            if len(ahead) > 4:
                yield ahead.pop(0).result()
        for future in ahead:
            yield future.result()


def batches(
    sets: Sequence[Dataset], first: int, last: int, batch_size: int, seed: int, small_steps: int = 0
) -> Iterator[Batch]:
    """Batches of the steps first..last-1, in order; small ones before `small_steps`."""
    return in_order(lambda step: batch(sets, step, batch_size, seed, step < small_steps), first, last)
