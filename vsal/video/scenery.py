"""Backgrounds and subjects drawn by procedure, for titles that look like video and belong to nobody."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]  # [h, w, 3] RGB, 0..1
Alpha = npt.NDArray[np.float32]  # [h, w], 0..1
Rng = np.random.Generator


def fractal(rng: Rng, width: int, height: int, cells: int, octaves: int = 6, stretch: float = 1.0) -> Alpha:
    """Smooth noise with detail at every scale, 0..1.

    Args:
        rng: where its shape comes from.
        width: of the picture.
        height: of the picture.
        cells: bumps across the picture in the coarsest layer.
        octaves: layers, each twice as fine and 0.55 as strong as the one before.
        stretch: how many times longer than high bumps are.
    """
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(octaves):
        cols = max(2, round(cells * 2**octave / stretch))
        rows = max(2, round(cells * 2**octave * height / width))
        if cols > width or rows > height:
            break
        coarse = rng.random((rows, cols), np.float32) - 0.5
        total += weight * np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        weight *= 0.55
    low, high = np.percentile(total[::4, ::4], (1, 99))
    return np.asarray(np.clip((total - low) / max(high - low, 1e-6), 0, 1), np.float32)


def landscape(rng: Rng, width: int, height: int) -> Picture:
    """Sky with clouds, ridges that fade with distance, and a meadow, desert or field of snow."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    top, low = _colour(rng, 0.58, 0.45, 0.75), _colour(rng, rng.choice([0.08, 0.55]), 0.2, 0.95)
    clouds = fractal(rng, width, height, 4, stretch=3)[..., None] * (1 - rows[..., None])
    picture = _mix(np.broadcast_to(rows[..., None], (height, width, 1)), top, low) + 0.35 * clouds
    ground = _colour(rng, rng.choice([0.09, 0.28, 0.33]), rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.7))
    for layer in range(4):
        nearness = (layer + 1) / 4
        ridge = fractal(rng, width, 2, 3 + 2 * layer)[0]
        line = height * (0.38 + 0.12 * layer + 0.12 * (1 - nearness) * (ridge - 0.5))
        inside = np.clip(np.arange(height, dtype=np.float32)[:, None] - line[None, :], 0, 1)[..., None]
        texture = fractal(rng, width, height, 12 + 12 * layer, stretch=2)[..., None]
        shade = _mix(np.full((1, 1, 1), nearness, np.float32), low, ground) * (0.7 + 0.5 * texture)
        picture = picture * (1 - inside) + shade * inside
    return picture


def sea(rng: Rng, width: int, height: int) -> Picture:
    """A horizon over water, with swell that shrinks towards it."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    sky = _mix(
        np.broadcast_to(rows[..., None] * 2, (height, width, 1)),
        _colour(rng, 0.6, 0.5, 0.6),
        _colour(rng, 0.07, 0.5, 0.95),
    )
    sky = sky + 0.25 * fractal(rng, width, height, 5, stretch=5)[..., None]
    swell = fractal(rng, width, height, 24, stretch=6)[..., None]
    water = _colour(rng, rng.uniform(0.5, 0.6), 0.6, 0.45) * (0.55 + 0.8 * swell * (0.4 + rows[..., None]))
    below = np.clip((rows - 0.45) * height, 0, 1)[..., None]
    return np.asarray(sky * (1 - below) + water * below, np.float32)


def street(rng: Rng, width: int, height: int) -> Picture:
    """House fronts with rows of windows above a pavement."""
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = 0.75
    x = 0
    while x < width:
        house = int(rng.uniform(0.14, 0.3) * width)
        wall = _colour(rng, rng.choice([0.03, 0.08, 0.12, 0.55]), rng.uniform(0.1, 0.45), rng.uniform(0.4, 0.8))
        picture[: int(0.72 * height), x : x + house] = wall
        glass = _colour(rng, 0.58, 0.3, rng.uniform(0.15, 0.5))
        step = max(8, house // int(rng.integers(3, 6)))
        for wx in range(x + step // 4, min(x + house, width) - step // 2, step):
            for wy in range(step // 4, int(0.65 * height), int(1.4 * step)):
                picture[wy : wy + int(0.8 * step), wx : wx + step // 2] = glass
        x += house
    picture[int(0.72 * height) :] = _colour(rng, 0.1, 0.05, 0.45)
    return picture * (0.75 + 0.4 * fractal(rng, width, height, 20)[..., None])


def foliage(rng: Rng, width: int, height: int) -> Picture:
    """Leaves out of focus, with spots of light."""
    dark, bright = _colour(rng, 0.3, 0.6, 0.2), _colour(rng, 0.24, 0.55, 0.75)
    picture = _mix(fractal(rng, width, height, 9, octaves=7)[..., None], dark, bright)
    spots = np.zeros((height, width), np.float32)
    for _ in range(60):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(spots, centre, int(rng.uniform(0.008, 0.03) * width), float(rng.uniform(0.1, 0.3)), -1, cv2.LINE_AA)
    return picture + np.asarray(cv2.GaussianBlur(spots, (0, 0), width / 400), np.float32)[..., None]


BACKGROUNDS: tuple[Callable[[Rng, int, int], Picture], ...] = (landscape, street, sea, foliage)


def balloon(rng: Rng, size: int) -> tuple[Picture, Alpha]:
    """A striped hot-air balloon with its basket."""
    alpha, paint = _canvas(size), _Paint(rng, size)
    cv2.ellipse(
        alpha, (size // 2, int(0.4 * size)), (int(0.36 * size), int(0.38 * size)), 0, 0, 360, 1, -1, cv2.LINE_AA
    )
    cv2.fillPoly(alpha, [_points(size, (0.24, 0.62), (0.76, 0.62), (0.57, 0.84), (0.43, 0.84))], 1, cv2.LINE_AA)
    columns = np.abs(np.linspace(-1, 1, size, dtype=np.float32))
    stripes = (np.sqrt(columns) * 7).astype(int) % 2 == 0
    paint.picture[:, stripes] = paint.second
    basket = _points(size, (0.42, 0.86), (0.58, 0.86), (0.56, 0.98), (0.44, 0.98))
    for layer, value in ((alpha, 1), (paint.picture, (0.4, 0.25, 0.12))):
        cv2.fillPoly(layer, [basket], value, cv2.LINE_AA)
    return paint.shaded(alpha), alpha


def car(rng: Rng, size: int) -> tuple[Picture, Alpha]:
    """A car seen from its side."""
    alpha, paint = _canvas(size), _Paint(rng, size)
    body = _points(
        size, (0.02, 0.62), (0.04, 0.5), (0.24, 0.46), (0.36, 0.32), (0.68, 0.32), (0.82, 0.47), (0.97, 0.52)
    )
    cv2.fillPoly(alpha, [np.vstack([body, _points(size, (0.98, 0.66), (0.02, 0.66))])], 1, cv2.LINE_AA)
    glass = _points(size, (0.29, 0.47), (0.38, 0.35), (0.66, 0.35), (0.76, 0.47))
    cv2.fillPoly(paint.picture, [glass], (0.1, 0.14, 0.2), cv2.LINE_AA)
    cv2.line(
        paint.picture, (size // 2, int(0.34 * size)), (size // 2, int(0.64 * size)), (0.05, 0.05, 0.05), size // 80
    )
    for x in (0.22, 0.78):
        for radius, grey in ((0.095, 0.06), (0.05, 0.7)):
            centre = (int(x * size), int(0.66 * size))
            cv2.circle(alpha, centre, int(0.095 * size), 1, -1, cv2.LINE_AA)
            cv2.circle(paint.picture, centre, int(radius * size), (grey,) * 3, -1, cv2.LINE_AA)
    return paint.shaded(alpha), alpha


def bird(rng: Rng, size: int) -> tuple[Picture, Alpha]:
    """A bird with a spread wing."""
    alpha, paint = _canvas(size), _Paint(rng, size)
    parts = (((0.5, 0.55), (0.3, 0.15), -12), ((0.78, 0.42), (0.1, 0.095), 0))
    for (x, y), (a, b), angle in parts:
        axes = (int(a * size), int(b * size))
        cv2.ellipse(alpha, (int(x * size), int(y * size)), axes, angle, 0, 360, 1, -1, cv2.LINE_AA)
    tail = _points(size, (0.28, 0.55), (0.02, 0.78), (0.04, 0.62), (0.3, 0.48))
    wing = _points(size, (0.38, 0.52), (0.62, 0.5), (0.52, 0.22), (0.24, 0.05), (0.3, 0.28))
    beak = _points(size, (0.86, 0.4), (0.98, 0.46), (0.86, 0.48))
    for shape, colour in ((tail, paint.first), (wing, paint.second), (beak, (0.95, 0.6, 0.1))):
        cv2.fillPoly(alpha, [shape], 1, cv2.LINE_AA)
        cv2.fillPoly(paint.picture, [shape], tuple(float(c) for c in colour), cv2.LINE_AA)
    cv2.circle(
        paint.picture, (int(0.81 * size), int(0.4 * size)), max(1, size // 50), (0.02, 0.02, 0.02), -1, cv2.LINE_AA
    )
    return paint.shaded(alpha), alpha


def walker(rng: Rng, size: int) -> tuple[Picture, Alpha]:
    """A person in a coat."""
    alpha, paint = _canvas(size), _Paint(rng, size)
    coat = _points(size, (0.38, 0.24), (0.62, 0.24), (0.7, 0.64), (0.3, 0.64))
    legs = [_points(size, (0.36, 0.6), (0.49, 0.6), (0.45, 0.98), (0.34, 0.98))]
    legs.append(_points(size, (0.51, 0.6), (0.64, 0.6), (0.7, 0.97), (0.59, 0.98)))
    arms = [_points(size, (0.38, 0.26), (0.24, 0.55), (0.31, 0.58), (0.45, 0.3))]
    arms.append(_points(size, (0.62, 0.26), (0.76, 0.55), (0.69, 0.58), (0.55, 0.3)))
    for shapes, colour in ((legs, (0.12, 0.13, 0.2)), ([coat], paint.first), (arms, paint.second)):
        for shape in shapes:
            cv2.fillPoly(alpha, [shape], 1, cv2.LINE_AA)
            cv2.fillPoly(paint.picture, [shape], tuple(float(c) for c in colour), cv2.LINE_AA)
    for layer, value in ((alpha, 1), (paint.picture, (0.86, 0.66, 0.53))):
        cv2.circle(layer, (size // 2, int(0.13 * size)), int(0.095 * size), value, -1, cv2.LINE_AA)
    cv2.ellipse(
        paint.picture, (size // 2, int(0.1 * size)), (size // 10, size // 12), 0, 180, 360, (0.2, 0.1, 0.05), -1
    )
    return paint.shaded(alpha), alpha


SUBJECTS: tuple[Callable[[Rng, int], tuple[Picture, Alpha]], ...] = (balloon, car, bird, walker)


class _Paint:
    """A subject's surface: two colours that stand out, and light from above left."""

    def __init__(self, rng: Rng, size: int) -> None:
        hue = float(rng.choice([0.0, 0.03, 0.12, 0.62, 0.83]))
        self.first = _colour(rng, hue, 0.85, 0.9)
        self.second = _colour(rng, hue + float(rng.choice([0.1, 0.45])), 0.75, 0.95)
        self.picture = np.empty((size, size, 3), np.float32)
        self.picture[:] = self.first
        self._grain = 0.9 + 0.2 * fractal(rng, size, size, 10)[..., None]

    def shaded(self, alpha: Alpha) -> Picture:
        size = len(alpha)
        height = np.asarray(cv2.GaussianBlur(alpha, (0, 0), max(1.0, size / 14)), np.float32)
        slope = np.gradient(height)
        light = np.clip(0.55 + 0.5 * height + 0.35 * size / 10 * (slope[0] + slope[1]), 0.35, 1.25)[..., None]
        return np.asarray(np.clip(self.picture * light * self._grain, 0, 1), np.float32)


def _canvas(size: int) -> Alpha:
    return np.zeros((size, size), np.float32)


def _points(size: int, *corners: tuple[float, float]) -> npt.NDArray[np.int32]:
    return np.array([(round(x * size), round(y * size)) for x, y in corners], np.int32)


def _colour(rng: Rng, hue: float, saturation: float, value: float) -> npt.NDArray[np.float32]:
    """RGB near a hue of 0..1."""
    hsv = np.array([[[(hue + rng.uniform(-0.03, 0.03)) % 1 * 360, saturation, value]]], np.float32)
    return np.asarray(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)[0, 0], np.float32)


def _mix(share: npt.NDArray[np.float32], low: npt.NDArray[np.float32], high: npt.NDArray[np.float32]) -> Picture:
    return np.asarray(low + np.clip(share, 0, 1) * (high - low), np.float32)
