"""Clips made from photographs: what the video student is trained on.

A clip is a few samples on the clock that `vsal prepare` samples by, each a frame and the change of luma against the
frame just before it. Five kinds of scenes are drawn: a camera that moves over a photograph and its object; a cut-out
object that moves over another photograph, behind which things pass by; the same with an object far away; a camera over
a scene with nothing in it; a still. The mover is what people look at. A clip is a function of (seed, step) alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from model.data.augment import SIZES, SMALL_SIZES, Matrix, quiet_view, view, warp
from model.data.stills import Dataset

U8 = NDArray[np.uint8]
Rng = np.random.Generator

RATE_HZ = 3.0  # the default sample rate of `vsal prepare`
OTHER_RATES_HZ, OTHER_RATES_SHARE = (1.0, 8.0), 0.25
FRAME_RATES_HZ = (24.0, 25.0, 30.0, 50.0, 60.0)
# kinds of scenes with their shares
KINDS: tuple[tuple[str, float], ...] = (
    ("camera", 0.34), ("mover", 0.30), ("far", 0.13), ("empty", 0.06), ("still", 0.17)
)  # fmt: skip
MOVER_AREA, FAR_AREA = (0.02, 0.25), (0.003, 0.03)  # of the picture
CUT_SHARE = 0.08  # of the clips, with a cut that nobody tells the student of
OCCLUDED_SHARE = 0.25  # of the movers


@dataclass(frozen=True, slots=True)
class Clips:
    """n clips of t samples.

    frames: uint8 [n, t, h, w, 3]. motion, masks: uint8 [n, t, h, w]. soft: a teacher's masks, uint8 [n, t, h', w'].
    soft_known: bool [n], whether the clip has them: where a mover was put in, a teacher of stills marks other things.
    """

    frames: U8
    motion: U8
    masks: U8
    soft: U8
    soft_known: NDArray[np.bool_]


Teach = Callable[[U8], NDArray[np.float32]]  # uint8 [t, h, w, 3] -> float32 [t, h', w'] in 0..1


@dataclass(slots=True)
class Path:
    """Where something is over time: a sum of a steady course, a slow swing and a stop now and then.

    amount: how far it gets in a second, in its own unit.
    """

    rng: Rng
    amount: float
    speed: float = field(init=False)
    swing: float = field(init=False)
    pace: float = field(init=False)
    phase: float = field(init=False)
    stop_s: float = field(init=False)

    def __post_init__(self) -> None:
        rng = self.rng
        self.speed = self.amount * rng.normal()
        self.swing = self.amount * abs(rng.normal()) * 0.5
        self.pace = rng.uniform(0.5, 4.0)
        self.phase = rng.uniform(0, 2 * math.pi)
        self.stop_s = rng.uniform(0, 2.0) if rng.random() < 0.3 else math.inf

    def at(self, t_s: float) -> float:
        """Its place at a time in seconds, counted from its place at 0."""
        t = min(t_s, self.stop_s)
        return self.speed * t + self.swing * (math.sin(self.pace * t + self.phase) - math.sin(self.phase))


@dataclass(slots=True)
class Camera:
    """A 2x3 map from target to source that moves: pan, zoom, roll and a shake of the hand, in shares of the width."""

    start: Matrix
    size: tuple[int, int]
    rng: Rng
    strength: float
    pan: tuple[Path, Path] = field(init=False)
    zoom: Path = field(init=False)
    roll: Path = field(init=False)
    shake: float = field(init=False)

    def __post_init__(self) -> None:
        rng, k = self.rng, self.strength
        self.pan = (Path(rng, 0.12 * k), Path(rng, 0.05 * k))
        self.zoom, self.roll = Path(rng, 0.08 * k), Path(rng, 0.03 * k)
        self.shake = abs(rng.normal()) * 0.004 * k

    def at(self, t_s: float) -> Matrix:
        """The map at a time in seconds."""
        width, height = self.size
        shaken = np.random.default_rng([int(t_s * 1e4) + 10**7, int(self.shake * 1e6)]).normal(0, self.shake, 2)
        dx = (self.pan[0].at(t_s) + shaken[0]) * width
        dy = (self.pan[1].at(t_s) + shaken[1]) * width
        scale, angle = math.exp(self.zoom.at(t_s)), self.roll.at(t_s)
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
        cx, cy = width / 2, height / 2
        moved = np.array([[cos, -sin, cx + dx - cos * cx + sin * cy], [sin, cos, cy + dy - sin * cx - cos * cy]])
        return np.asarray(self.start @ np.vstack([moved, [0, 0, 1]]), np.float32)


@dataclass(slots=True)
class Mover:
    """A cut-out object on its way: picture and soft mask, cropped, and where its middle is in the target."""

    image: U8
    alpha: U8
    zoom: float  # source pixels per target pixel
    place: tuple[float, float]
    course: tuple[Path, Path]
    growth: Path
    flip: float

    def draw(self, ground: U8, t_s: float) -> U8:
        """Lay the object over a ground, in place; returns its mask uint8 [h, w]."""
        height, width = ground.shape[:2]
        zoom = self.zoom * math.exp(-self.growth.at(t_s))
        x = self.place[0] + self.course[0].at(t_s) * width
        y = self.place[1] + self.course[1].at(t_s) * width
        cx, cy = self.alpha.shape[1] / 2, self.alpha.shape[0] / 2
        m = np.array([[self.flip * zoom, 0, cx - self.flip * zoom * x], [0, zoom, cy - zoom * y]], np.float32)
        alpha = warp(self.alpha, m, (width, height), cv2.BORDER_CONSTANT)
        thing = warp(self.image, m, (width, height), cv2.BORDER_REPLICATE)
        weight = alpha[..., None].astype(np.uint16)
        ground[:] = ((ground * (255 - weight) + thing * weight) // 255).astype(np.uint8)
        return alpha


def _cut_out(
    data: Dataset, i: int, area: tuple[float, float], size: tuple[int, int], rng: Rng, speed: float
) -> Mover | None:
    mask = data.mask(i)
    share = float((mask > 127).mean())
    if not 0.02 < share < 0.45:
        return None
    ys, xs = np.nonzero(mask > 127)
    top, bottom, left, right = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    touches = (top == 0) + (left == 0) + (bottom == mask.shape[0]) + (right == mask.shape[1])
    if touches > 1:
        return None  # half an object
    image, alpha = data.image(i)[top:bottom, left:right], mask[top:bottom, left:right]
    wanted = size[0] * size[1] * math.exp(rng.uniform(*np.log(area)))
    zoom = math.sqrt(float((alpha > 127).sum()) / wanted)
    if zoom > 1.4:  # area means in place of an aliased pick
        small = (max(2, round(alpha.shape[1] / zoom)), max(2, round(alpha.shape[0] / zoom)))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        alpha = np.asarray(cv2.resize(alpha, small, interpolation=cv2.INTER_AREA), np.uint8)
        zoom = 1.0
    image = np.asarray(cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_REPLICATE), np.uint8)
    alpha = np.asarray(cv2.copyMakeBorder(alpha, 2, 2, 2, 2, cv2.BORDER_CONSTANT), np.uint8)
    alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.8), np.uint8)
    place = (rng.uniform(0.1, 0.9) * size[0], rng.uniform(0.25, 0.8) * size[1])
    course = (Path(rng, speed), Path(rng, 0.35 * speed))
    return Mover(image, alpha, zoom, place, course, Path(rng, 0.1), -1.0 if rng.random() < 0.5 else 1.0)


@dataclass(slots=True)
class Scene:
    """A ground under a moving camera, the mover over it, and what passes in front; `frame` draws it at a time."""

    ground: U8
    ground_mask: U8 | None
    camera: Camera
    border: int
    mover: Mover | None = None
    front: Mover | None = None

    def frame(self, t_s: float) -> tuple[U8, U8]:
        """The picture uint8 [h, w, 3] and the mask of what is looked at uint8 [h, w]."""
        m = self.camera.at(t_s)
        picture = warp(self.ground, m, self.camera.size, self.border)
        if self.mover is not None:
            mask = self.mover.draw(picture, t_s)
            if self.front is not None:
                hidden = self.front.draw(picture, t_s)
                mask = np.asarray(mask.astype(np.uint16) * (255 - hidden) // 255, np.uint8)
            return picture, mask
        if self.ground_mask is None:
            return picture, np.zeros(picture.shape[:2], np.uint8)
        return picture, warp(self.ground_mask, m, self.camera.size, self.border)


def make_scene(data: Dataset, i: int, size: tuple[int, int], rng: Rng) -> Scene:
    """A scene about the i-th picture."""
    kind = str(rng.choice([name for name, _ in KINDS], p=[share for _, share in KINDS]))
    image, mask = data.image(i), data.mask(i)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.1 else cv2.BORDER_REFLECT_101
    strength = 0.0 if kind == "still" or rng.random() < 0.25 else float(rng.gamma(1.5, 0.7))
    if kind in ("camera", "still"):
        return Scene(image, mask, Camera(view(rng, *mask.shape, size), size, rng, strength), border)
    other = int(rng.integers(len(data)))
    ground, ground_mask = data.image(other), data.mask(other)
    start = quiet_view(rng, ground_mask, size) if kind == "empty" or rng.random() < 0.75 else None
    if start is None:
        if kind == "empty":
            return Scene(image, mask, Camera(view(rng, *mask.shape, size), size, rng, strength), border)
        start = view(rng, *ground_mask.shape, size)
    scene = Scene(ground, None, Camera(start, size, rng, strength), cv2.BORDER_REFLECT_101)
    if kind == "empty":
        return scene
    speed = float(rng.gamma(2.0, 0.12))
    scene.mover = _cut_out(data, i, MOVER_AREA if kind == "mover" else FAR_AREA, size, rng, speed)
    if scene.mover is None:
        return Scene(image, mask, Camera(view(rng, *mask.shape, size), size, rng, strength), border)
    if rng.random() < OCCLUDED_SHARE:
        scene.front = _cut_out(data, int(rng.integers(len(data))), (0.02, 0.12), size, rng, 0.3)
    return scene


@dataclass(frozen=True, slots=True)
class Look:
    """What a camera and a codec do to the frames of a clip, the same to all: light, colour, blur, blocks, noise."""

    curve: U8
    grey: float
    blur: float
    scale: float
    quality: int
    noise: float

    @classmethod
    def draw(cls, rng: Rng) -> Look:
        """A look at random."""
        levels = np.arange(256, dtype=np.float32) / 255
        gain, gamma = math.exp(rng.normal(0, 0.2)), math.exp(rng.normal(0, 0.2))
        curve = levels[:, None] ** gamma * gain * np.exp(rng.normal(0, 0.06, 3)) + rng.normal(0, 0.05)
        draw = rng.random(5)
        return cls(
            (curve.clip(0, 1) * 255).astype(np.uint8)[None],
            (0.0 if draw[0] < 0.04 else float(rng.uniform(0.2, 1.6))) if draw[0] < 0.4 else 1.0,
            float(rng.uniform(0.4, 1.8)) if draw[1] < 0.2 else 0.0,
            float(rng.uniform(0.35, 0.8)) if draw[2] < 0.15 else 1.0,
            int(rng.integers(15, 70)) if draw[3] < 0.25 else 0,
            float(rng.uniform(1, 6)) if draw[4] < 0.2 else 0.0,
        )

    def on(self, image: U8, rng: Rng) -> U8:
        """A frame seen so."""
        h, w = image.shape[:2]
        out = cv2.LUT(image, self.curve)
        if self.grey != 1:
            grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            out = cv2.addWeighted(out, self.grey, grey, 1 - self.grey, 0)
        if self.blur:
            out = cv2.GaussianBlur(out, (0, 0), self.blur)
        if self.scale < 1:
            small = cv2.resize(out, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)
            out = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
        if self.quality:
            coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            out = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        if self.noise:
            grain = rng.normal(0, self.noise, (h, w, 1)).astype(np.float32)
            out = (out + grain).clip(0, 255)
        return np.asarray(out, np.uint8)


def luma(image: U8) -> U8:
    """Luma of a picture, uint8 [h, w]."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def clip(data: Dataset, i: int, size: tuple[int, int], samples: int, rng: Rng) -> tuple[U8, U8, U8, bool]:
    """One clip: frames uint8 [t, h, w, 3], motion [t, h, w], masks [t, h, w], and whether it is one photograph's."""
    rate = RATE_HZ if rng.random() > OTHER_RATES_SHARE else float(rng.uniform(*OTHER_RATES_HZ))
    frame_s = 1 / float(rng.choice(FRAME_RATES_HZ))
    scenes = [make_scene(data, i, size, rng)]
    cut_s = math.inf
    if rng.random() < CUT_SHARE:
        cut_s = (rng.integers(1, samples) - rng.uniform(0, 1)) / rate
        scenes.append(make_scene(data, int(rng.integers(len(data))), size, rng))
    look = Look.draw(rng)
    frames, motion, masks = [], [], []
    for k in range(samples):
        t = k / rate
        picture, mask = scenes[int(t >= cut_s)].frame(t)
        picture = look.on(picture, rng)
        if k == 0 and rng.random() < 0.3:  # the first frame of a title has none before it
            change = np.zeros(mask.shape, np.uint8)
        else:
            earlier, _ = scenes[int(t - frame_s >= cut_s)].frame(t - frame_s)
            change = np.asarray(cv2.absdiff(luma(picture), luma(look.on(earlier, rng))), np.uint8)
        frames.append(picture)
        motion.append(change)
        masks.append(mask)
    plain = len(scenes) == 1 and scenes[0].ground_mask is not None
    return np.stack(frames), np.stack(motion), np.stack(masks), plain


def batch(
    data: Dataset, step: int, count: int, samples: int, seed: int, small: bool = False, teach: Teach | None = None
) -> Clips:
    """The clips of a step, all of one size; the pictures come in a new order each epoch."""
    sizes = SMALL_SIZES if small else SIZES
    rng = np.random.default_rng([seed, step])
    size = sizes[int(rng.choice(len(sizes), p=[share for _, share in sizes]))][0]
    epoch, place = divmod(step, max(1, len(data) // count))
    order = np.random.default_rng([seed, 1 << 20, epoch]).permutation(len(data))
    made = [clip(data, int(i), size, samples, rng) for i in order[place * count : (place + 1) * count]]
    known = np.array([m[3] for m in made]) & (teach is not None)
    soft = np.zeros((len(made), samples, size[1] // 2, size[0] // 2), np.uint8)
    for n in np.flatnonzero(known):
        assert teach is not None
        soft[n] = (teach(made[n][0]) * 255 + 0.5).astype(np.uint8)
    frames, motion, masks = (np.stack([m[k] for m in made]) for k in range(3))  # type: ignore[arg-type]
    return Clips(frames, motion, masks, soft, known)
