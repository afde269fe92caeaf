"""Pictures with looks: recorded fixations, a teacher's density, or both, and batches of them for a gaze network.

A file of looks is Parquet with the columns `set` and `name` (together the key: two sets may use one name),
`image_webp`, `fixation_x` and `fixation_y` (fractions of the picture, empty where nobody was recorded), `rows`, `cols`
and `log_density` (a teacher's log density, float16 row by row, up to a constant; empty where there is none).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.data.augment import degrade
from vsal.saliency.contract import ModelInput

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

FIXATION_SIGMA = 0.03  # of a fixation's blur, in picture widths: about one degree of sight in OSIE's set-up
CLIP_SIDE = 640  # long side of a frame as the teacher gets it
STORED_SIDE = 448  # long side of a stored picture: above what any student here sees
WEBP_QUALITY = 90
SIZE_MULTIPLE = 16
WIDEST = 16 / 9  # pictures narrower than this are also shown cropped to it: titles are wide, photographs are not

SCHEMA = pa.schema({
    "set": pa.string(), "name": pa.string(), "image_webp": pa.binary(),
    "fixation_x": pa.list_(pa.float32()), "fixation_y": pa.list_(pa.float32()),
    "rows": pa.int32(), "cols": pa.int32(), "log_density": pa.binary(),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture uint8 [h, w, 3] RGB, fixations float32 [n, 2] as fractions (x, y), and a teacher's log density.

    set, name: what it is known by. log_density: float32 [rows, cols], up to a constant, or None.
    """

    set: str
    name: str
    image: U8 = field(repr=False)
    fixations: F32 = field(repr=False)
    log_density: F32 | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures uint8 [n, h, w, 3] and the densities wanted of them, float32 [n, h / 8, w / 8], each of sum 1.

    points: float32 of the same shape, the share of the fixations in each cell; zeros where nobody was recorded.
    """

    frames: U8
    density: F32
    points: F32


def read_stills(paths: Iterable[Path]) -> Iterator[Scene]:
    """Pictures of Parquet files with name, image_webp, fixation_x and fixation_y; the set is the file's name."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(100):
            for row in batch.to_pylist():
                points = np.array([row["fixation_x"] or [], row["fixation_y"] or []], np.float32).T
                yield Scene(path.stem, row["name"], _decoded(row["image_webp"], f"{path}: {row['name']}"), points)


def read_clip(path: Path, rate_hz: float, most: int | None = None) -> list[Scene]:
    """Frames of a video at a rate, at most `most` of them; the set is the file's name, a frame's name its seconds."""
    scenes: list[Scene] = []
    with av.open(str(path)) as container:
        first, wanted = None, 0.0
        for frame in container.decode(video=0):
            if frame.time is None:
                continue
            first = frame.time if first is None else first
            if frame.time - first + 1e-6 < wanted:
                continue
            wanted += 1 / rate_hz
            upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            image = shrunk(np.ascontiguousarray(upright, np.uint8), CLIP_SIDE)
            scenes.append(Scene(path.stem, f"{frame.time - first:.3f}", image, np.zeros((0, 2), np.float32)))
            if len(scenes) == most:
                break
    return scenes


def _decoded(webp: bytes, what: str) -> U8:
    bgr = cv2.imdecode(np.frombuffer(webp, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{what} cannot be decoded: fetch the file again")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def shrunk(image: U8, long_side: int) -> U8:
    """A picture with at most that long side, by area means."""
    scale = long_side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def resized(image: U8, size: tuple[int, int]) -> U8:
    """A picture in (width, height), by area means where it shrinks."""
    how = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def size_for(image: U8, pixels: int, multiple: int = SIZE_MULTIPLE) -> tuple[int, int]:
    """The (width, height) that `vsal prepare` would show a picture in to a network made for so many pixels."""
    return ModelInput(pixels, multiple, None, False).size_for(image.shape[1] / image.shape[0])


def fixation_points(fixations: F32, grid: tuple[int, int]) -> F32:
    """The share of the fixations in each cell of a (cols, rows) grid, float32 [rows, cols]; zeros if there are none."""
    cols, rows = grid
    points = np.zeros((rows, cols), np.float32)
    if len(fixations):
        x = (fixations[:, 0] * cols).astype(int).clip(0, cols - 1)
        y = (fixations[:, 1] * rows).astype(int).clip(0, rows - 1)
        np.add.at(points, (y, x), 1 / len(fixations))
    return points


def fixation_density(fixations: F32, grid: tuple[int, int], sigma: float = FIXATION_SIGMA) -> F32:
    """Fixations blurred by a Gaussian of `sigma` widths, float32 [rows, cols] of sum 1 (0 if there are none)."""
    points = fixation_points(fixations, grid)
    blurred = cv2.GaussianBlur(points, (0, 0), sigma * grid[0], borderType=cv2.BORDER_REFLECT)
    total = float(blurred.sum())
    return np.asarray(blurred / total if total > 0 else blurred, np.float32)


def teacher_density(log_density: F32, grid: tuple[int, int]) -> F32:
    """A log density of any size as a density on a (cols, rows) grid, float32 [rows, cols] of sum 1."""
    values = cv2.resize(log_density.astype(np.float32), grid, interpolation=cv2.INTER_LINEAR)
    weights = np.exp(values - values.max())
    return np.asarray(weights / weights.sum(), np.float32)


def mirrored(scene: Scene) -> Scene:
    """The scene, left and right exchanged."""
    points = scene.fixations * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)
    teacher = None if scene.log_density is None else scene.log_density[:, ::-1]
    return Scene(scene.set, scene.name, np.ascontiguousarray(scene.image[:, ::-1]), points, teacher)


def widened(scene: Scene, place: float = 0.5) -> Scene:
    """The scene cropped to 16:9 about its fixations, else at `place` (0 top, 1 bottom); itself if it is as wide."""
    height, width = scene.image.shape[:2]
    rows = round(width / WIDEST)
    if rows >= height:
        return scene
    top = place * (height - rows)
    if len(scene.fixations):
        top = min(max(float(np.median(scene.fixations[:, 1])) * height - rows / 2, 0), height - rows)
    first = round(top)
    y = (scene.fixations[:, 1] * height - first) / rows
    inside = (y >= 0) & (y < 1)
    points = np.stack([scene.fixations[inside, 0], y[inside]], 1).astype(np.float32)
    teacher = scene.log_density
    if teacher is not None:
        low, high = (round(at / height * len(teacher)) for at in (first, first + rows))
        teacher = teacher[low : max(high, low + 1)]
    return Scene(scene.set, scene.name, scene.image[first : first + rows], points, teacher)


def wanted(scene: Scene, grid: tuple[int, int], teacher_share: float) -> F32:
    """The density to learn: recorded looks and the teacher's mixed, or the one that there is.

    Raises:
        ValueError: the scene has neither.
    """
    if scene.log_density is None and not len(scene.fixations):
        raise ValueError(f"{scene.set}/{scene.name} has neither fixations nor a teacher's density: label it first")
    if scene.log_density is None:
        return fixation_density(scene.fixations, grid)
    taught = teacher_density(scene.log_density, grid)
    if not len(scene.fixations):
        return taught
    return teacher_share * taught + (1 - teacher_share) * fixation_density(scene.fixations, grid)


def write_looks(scenes: Iterable[Scene], out: Path) -> int:
    """Write a file of looks whole or not at all; returns the number of scenes."""
    rows = []
    for scene in scenes:
        image = cv2.cvtColor(shrunk(scene.image, STORED_SIDE), cv2.COLOR_RGB2BGR)
        coded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])[1].tobytes()
        teacher = scene.log_density
        rows.append({
            "set": scene.set, "name": scene.name, "image_webp": coded,
            "fixation_x": scene.fixations[:, 0].tolist(), "fixation_y": scene.fixations[:, 1].tolist(),
            "rows": 0 if teacher is None else teacher.shape[0], "cols": 0 if teacher is None else teacher.shape[1],
            "log_density": b"" if teacher is None else teacher.astype(np.float16).tobytes(),
        })  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), part)
    part.replace(out)
    return len(rows)


def read_looks(paths: Iterable[Path]) -> list[Scene]:
    """The scenes of files of looks, or of Parquet files of stills with fixations (their set is the file's name).

    Raises:
        ValueError: two scenes have one set and name.
    """
    scenes, seen = [], set()
    for path in paths:
        for row in pq.read_table(path).to_pylist():
            key = (row.get("set", path.stem), row["name"])
            if key in seen:
                raise ValueError(f"{path}: {key[0]}/{key[1]} is there twice: name each file of looks once")
            seen.add(key)
            points = np.array([row["fixation_x"], row["fixation_y"]], np.float32).T.reshape(-1, 2)
            grid = None
            if row.get("rows"):
                teacher = np.frombuffer(row["log_density"], np.float16).astype(np.float32)
                grid = teacher.reshape(row["rows"], row["cols"])
            if grid is not None or len(points):
                scenes.append(Scene(*key, _decoded(row["image_webp"], f"{path}: {row['name']}"), points, grid))
    return scenes


@lru_cache(maxsize=4096)
def _view_size(height: int, width: int, wide: bool, pixels: int) -> tuple[int, int]:
    """The size that a picture of height x width is shown in, cropped to 16:9 if `wide`."""
    return ModelInput(pixels, SIZE_MULTIPLE, None, False).size_for(max(width / height, WIDEST if wide else 0.0))


def _views(scenes: Sequence[Scene], pixels: int) -> list[tuple[int, bool, tuple[int, int]]]:
    """Every scene whole and, where it is narrower, cropped to 16:9: (index, whether cropped, size)."""
    found = []
    for i, scene in enumerate(scenes):
        height, width = scene.image.shape[:2]
        found.append((i, False, _view_size(height, width, False, pixels)))
        if width / height < WIDEST:
            found.append((i, True, _view_size(height, width, True, pixels)))
    return found


def batch(
    scenes: Sequence[Scene], step: int, count: int, seed: int, pixels: int, teacher_share: float, stride: int = 8
) -> Batch:
    """What step `step` of a run sees: a function of its arguments alone.

    Up to `count` views of one size, that of a view drawn first: whole or cropped to 16:9, half of them mirrored.
    """
    rng = np.random.default_rng((seed, step))
    views = _views(scenes, pixels)
    size = views[int(rng.integers(len(views)))][2]
    alike = [(i, wide) for i, wide, its in views if its == size]
    grid = (size[0] // stride, size[1] // stride)
    frames, density, points = [], [], []
    for at in rng.permutation(len(alike))[:count]:
        i, wide = alike[int(at)]
        scene = widened(scenes[i], float(rng.random())) if wide else scenes[i]
        scene = mirrored(scene) if rng.random() < 0.5 else scene
        if scene.log_density is None and not len(scene.fixations):
            scene = scenes[i]  # nobody looked at what the crop shows
        frames.append(degrade(rng, resized(scene.image, size)))
        density.append(wanted(scene, grid, teacher_share))
        points.append(fixation_points(scene.fixations, grid))
    return Batch(np.stack(frames), np.stack(density), np.stack(points))
