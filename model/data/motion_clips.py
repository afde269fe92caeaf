"""Clips made from stills with recorded gaze: a camera over them, and what moves or appears in them.

Nobody was recorded on made clips, but it is known what they teach: under a camera's motion people look at what they
look at anyway; what moves by itself, or has just appeared, is looked at too. What moves is a soft round piece of
another still, cut out about what was looked at most there: no masks of objects are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.data.augment import view, warp
from model.data.clips import Camera, Look, Path, luma
from model.data.looks import FIXATION_SIGMA, Scene, fixation_density, fixation_points, shrunk
from vsal.video.camera import signed_changes
from vsal.video.earlier import STATED_S

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rng = np.random.Generator

RATES_HZ = ((3.0, 0.5), (1.0, 0.1), (2.0, 0.1), (6.0, 0.15), (12.0, 0.15))
KINDS = (("camera", 0.45), ("still", 0.2), ("mover", 0.2), ("onset", 0.15))
LEAST_LOOKS = 6  # recorded looks that a view must show
MOVER_SHARE = 0.3  # of the looks that something takes which moves by itself
ONSET_SHARE, SETTLED_SHARE, ONSET_S = 0.5, 0.2, 0.7  # when it has just appeared, later, and how fast that falls
PIECE = (0.06, 0.14)  # its radius, in widths


@dataclass(frozen=True, slots=True)
class Made:
    """A made clip of t samples.

    frames: uint8 [t, h, w, 3]. motion: int8 [t, 2, h, w]. elapsed_s: from one sample to the next. density, points:
    float32 [t, h / 8, w / 8], of sum 1: looks, and the share of them in each cell.
    """

    frames: U8
    motion: NDArray[np.int8]
    elapsed_s: float
    density: F32
    points: F32


@dataclass(frozen=True, slots=True)
class _Piece:
    """A round piece of a still, on its way from when it appears."""

    image: U8
    alpha: F32
    place: tuple[float, float]
    course: tuple[Path, Path]
    since_s: float

    def at(self, t_s: float, size: tuple[int, int]) -> tuple[float, float]:
        return (
            (self.place[0] + self.course[0].at(t_s)) * size[0],
            self.place[1] * size[1] + self.course[1].at(t_s) * size[0],
        )

    def draw(self, picture: U8, t_s: float) -> U8:
        if t_s < self.since_s:
            return picture
        size = picture.shape[1::-1]
        x, y = self.at(t_s, size)
        radius = self.alpha.shape[0] / 2
        m = np.array([[1, 0, radius - x], [0, 1, radius - y]], np.float32)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        alpha = cv2.warpAffine(self.alpha, m, size, flags=how)[..., None]
        thing = cv2.warpAffine(self.image, m, size, flags=how)
        return np.asarray(picture * (1 - alpha) + thing * alpha, np.uint8)


def make(scenes: Sequence[Scene], size: tuple[int, int], samples: int, rng: Rng) -> Made:
    """A clip of (width, height) from stills with fixations."""
    rate = float(rng.choice([r for r, _ in RATES_HZ], p=[p for _, p in RATES_HZ]))
    kind = str(rng.choice([k for k, _ in KINDS], p=[p for _, p in KINDS]))
    strength = 0.0 if kind == "still" or rng.random() < 0.3 else float(rng.gamma(1.5, 0.6))
    scene, camera = _view(scenes, size, rng, strength)
    piece = None
    if kind in ("mover", "onset"):
        since = float(rng.uniform(0.2, 0.8)) * samples / rate if kind == "onset" else -math.inf
        still = kind == "onset" and rng.random() < 0.6
        piece = _cut_out(scenes[int(rng.integers(len(scenes)))], size, rng, 0.0 if still else 0.25, since)
    look = Look.draw(rng)
    grid = (size[0] // 8, size[1] // 8)

    def picture(t_s: float) -> U8:
        ground = warp(scene.image, camera.at(t_s), size, cv2.BORDER_REFLECT_101)
        return look.on(ground if piece is None else piece.draw(ground, t_s), rng)

    frames, motion, density, points = [], [], [], []
    for k in range(samples):
        t = k / rate + 1.0  # what was before the first sample is seen too
        now = picture(t)
        earlier = [(luma(picture(t - s)), s) for s in STATED_S]
        frames.append(now)
        motion.append(signed_changes(luma(now), earlier, STATED_S))
        looks = _looks(scene, camera, t, size)
        wanted, at = fixation_density(looks, grid), fixation_points(looks, grid)
        if piece is not None:
            share, place = _drawn(piece, t, size)
            new = np.array([place], np.float32)
            wanted = (1 - share) * wanted + share * _blob(place, grid)
            at = (1 - share) * at + share * fixation_points(new, grid)
        density.append(wanted / max(float(wanted.sum()), 1e-6))
        points.append(at)
    return Made(
        np.stack(frames), np.stack(motion), 1 / rate,
        np.stack(density).astype(np.float32), np.stack(points).astype(np.float32),
    )  # fmt: skip


def _view(scenes: Sequence[Scene], size: tuple[int, int], rng: Rng, strength: float) -> tuple[Scene, Camera]:
    """A still under a camera that shows what people looked at, to begin with."""
    while True:
        scene = scenes[int(rng.integers(len(scenes)))]
        # Area means: a pick of pixels would flicker under a camera.
        small = shrunk(scene.image, round(1.2 * size[0]))
        scene = Scene(scene.set, scene.name, small, scene.fixations)
        camera = Camera(view(rng, *small.shape[:2], size), size, rng, strength)
        if len(_looks(scene, camera, 1.0, size)) >= LEAST_LOOKS:
            return scene, camera


def _looks(scene: Scene, camera: Camera, t_s: float, size: tuple[int, int]) -> F32:
    """The recorded looks that the camera shows, float32 [n, 2] as fractions."""
    height, width = scene.image.shape[:2]
    back = cv2.invertAffineTransform(camera.at(t_s))
    at = (scene.fixations * (width, height)) @ back[:, :2].T + back[:, 2]
    at = at / np.array(size)
    return np.asarray(at[((at >= 0) & (at < 1)).all(1)], np.float32)


def _cut_out(scene: Scene, size: tuple[int, int], rng: Rng, speed: float, since_s: float) -> _Piece:
    radius = max(4, round(math.exp(rng.uniform(*np.log(PIECE))) * size[0]))
    image = shrunk(scene.image, round(float(rng.uniform(0.9, 1.6)) * size[0]))
    density = fixation_density(scene.fixations, (60, 40))
    row, col = np.unravel_index(int(density.argmax()), density.shape)
    x, y = (col + 0.5) / 60 * image.shape[1], (row + 0.5) / 40 * image.shape[0]
    m = np.array([[1, 0, x - radius], [0, 1, y - radius]], np.float32)
    piece = warp(image, m, (2 * radius, 2 * radius), cv2.BORDER_REFLECT_101)
    span = np.linspace(-1, 1, 2 * radius, dtype=np.float32)
    alpha = np.clip((1 - np.hypot(span[:, None], span[None] * rng.uniform(1.0, 1.6))) * 5, 0, 1)
    place = (float(rng.uniform(0.12, 0.88)), float(rng.uniform(0.15, 0.85)))
    return _Piece(piece, alpha.astype(np.float32), place, (Path(rng, speed), Path(rng, 0.4 * speed)), since_s)


def _drawn(piece: _Piece, t_s: float, size: tuple[int, int]) -> tuple[float, tuple[float, float]]:
    """The share of the looks that a piece takes, and where it is as fractions."""
    x, y = piece.at(t_s, size)
    place = (x / size[0], y / size[1])
    if t_s < piece.since_s or not (0 <= place[0] < 1 and 0 <= place[1] < 1):
        return 0.0, (0.5, 0.5)
    if math.isinf(piece.since_s):
        return MOVER_SHARE, place
    new = math.exp(-(t_s - piece.since_s) / ONSET_S)
    return SETTLED_SHARE + (ONSET_SHARE - SETTLED_SHARE) * new, place


def _blob(place: tuple[float, float], grid: tuple[int, int]) -> F32:
    """Looks at a place, as those at fixations are blurred: float32 [rows, cols] of sum 1."""
    return fixation_density(np.array([place], np.float32), grid, FIXATION_SIGMA)
