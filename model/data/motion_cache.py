"""Sequences for a video network whose trunk is frozen: its features are computed once, so a step costs little."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data import motion_clips, motion_labels
from model.data.looks import Scene, resized, size_for
from model.data.motion_labels import Shown
from model.networks.gaze_file import Seer

F32 = NDArray[np.float32]

SAMPLES = 6  # of a sequence
STRIDES = ((1, 0.2), (2, 0.2), (4, 0.45), (6, 0.1), (12, 0.05))  # of RATE_HZ: 12 to 1 samples a second, mostly 3
HELD_OUT = 6  # real clips that say when to stop
REAL_SHARE = 0.4  # of the steps, at most: there are few minutes of them
MADE_AT_A_TIME = 50


@dataclass(frozen=True, slots=True)
class Sequences:
    """n sequences of t samples of one size.

    taps: of the trunk, float [n * t, c, h / s, w / s] each. grey: float [n * t, h, w]. motion: float [n * t, 2, h, w].
    elapsed_s: float [n, t]. density, points: float [n * t, h / 8, w / 8], as `model.data.looks.Batch` has them.
    """

    taps: list[Tensor]
    grey: Tensor
    motion: Tensor
    elapsed_s: Tensor
    density: Tensor
    points: Tensor


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a shot, or of a made clip: the rows of `Sequences` in float16 and bytes, and times in seconds."""

    name: str
    taps: list[Tensor]
    grey: Tensor
    motion: Tensor
    times_s: NDArray[np.float64]
    density: Tensor
    points: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the pictures."""
        return int(self.grey.shape[1]), int(self.grey.shape[2])


def _kept(
    name: str, seer: Seer, frames: NDArray[np.uint8], motion: NDArray[np.int8], times_s: NDArray[np.float64],
    density: F32, points: F32,
) -> Kept:  # fmt: skip
    seen = [seer.see(frame)[1] for frame in frames]
    taps = [torch.from_numpy(np.concatenate([one[k] for one in seen])).half() for k in range(len(seen[0]))]
    grey = torch.from_numpy(np.rint(frames.mean(3)).astype(np.uint8))
    return Kept(
        name, taps, grey, torch.from_numpy(motion), times_s, torch.from_numpy(density).half(),
        torch.from_numpy(points).half(),
    )  # fmt: skip


def _stored(path: Path, make: Callable[[], list[Kept]]) -> list[Kept]:
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        torch.save(
            [[k.name, k.taps, k.grey, k.motion, torch.from_numpy(k.times_s), k.density, k.points] for k in made], part
        )
        part.replace(path)
    return [
        Kept(name, taps, grey, motion, times_s.numpy(), density, points)
        for name, taps, grey, motion, times_s, density, points in torch.load(path, weights_only=True)
    ]


def taught(video: Path, teacher: Seer, pixels: int, cache: Path) -> tuple[Shown, F32]:
    """A video as a teacher made for so many pixels sees it, and what is wanted of it: float32 [n, rows, cols], log."""
    file = cache / f"taught-{video.stem}.npz"
    if not file.exists():
        shown = motion_labels.show(video, pixels)
        wanted = motion_labels.labels(shown, lambda frame: teacher.see(frame)[0])
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, shown.times_s, shown.shots, shown.frames, shown.motion, wanted)
        part.replace(file)
    with np.load(file) as kept:
        times_s, shots, frames, motion, wanted = (kept[f"arr_{i}"] for i in range(5))
    return Shown(times_s, shots, frames, motion), wanted


def real(video: Path, seer: Seer, pixels: int, teacher: Seer, teacher_pixels: int, cache: Path) -> list[Kept]:
    """The shots of a video with the labels of `model.data.motion_labels`, by a teacher that sees `teacher_pixels`.

    A network for smaller pictures gets them shrunk from the teacher's, by area means: changes are linear in pictures,
    so those of shrunk ones are shrunk changes.
    """

    def make() -> list[Kept]:
        shown, wanted = taught(video, teacher, teacher_pixels, cache)
        size = size_for(shown.frames[0], pixels)
        grid = (size[0] // 8, size[1] // 8)
        density = np.exp(np.stack([cv2.resize(one - one.max(), grid) for one in wanted]))
        density = (density / density.sum((1, 2), keepdims=True)).astype(np.float32)
        found = []
        for shot in np.unique(shown.shots):
            at = np.flatnonzero(shown.shots == shot)
            if len(at) < SAMPLES:
                continue
            frames = np.stack([resized(frame, size) for frame in shown.frames[at]])
            motion = np.stack([_shrunk(layers, size) for layers in shown.motion[at]])
            nobody = np.zeros_like(density[at])
            found.append(_kept(video.stem, seer, frames, motion, shown.times_s[at], density[at], nobody))
        return found

    return _stored(cache / f"real-{pixels}-{video.stem}.pt", make)


def _shrunk(layers: NDArray[np.int8], size: tuple[int, int]) -> NDArray[np.int8]:
    if layers.shape[:0:-1] == size:
        return layers
    small = [cv2.resize(one.astype(np.float32), size, interpolation=cv2.INTER_AREA) for one in layers]
    return np.rint(np.stack(small)).astype(np.int8)


def made(scenes: Sequence[Scene], count: int, seer: Seer, pixels: int, seed: int, cache: Path) -> Iterator[Kept]:
    """Made clips of 16:9, at least `count`."""
    size = size_for(np.zeros((9, 16, 3), np.uint8), pixels)
    for first in range(0, count, MADE_AT_A_TIME):

        def make(first: int = first) -> list[Kept]:
            found = []
            for i in range(first, first + MADE_AT_A_TIME):
                one = motion_clips.make(scenes, size, SAMPLES, np.random.default_rng([seed, i]))
                times_s = np.arange(SAMPLES) * one.elapsed_s
                found.append(_kept(f"made-{i}", seer, one.frames, one.motion, times_s, one.density, one.points))
            return found

        yield from _stored(cache / f"made-{pixels}-{seed}-{first}.pt", make)


def held_out(names: Sequence[str]) -> set[str]:
    """The clips that nothing is trained on, by their names alone: HELD_OUT, or a quarter of fewer."""
    return set(sorted(names, key=lambda name: zlib.crc32(name.encode()))[: min(HELD_OUT, len(names) // 4)])


def batch(reals: Sequence[Kept], mades: Sequence[Kept], step: int, count: int, seed: int) -> Sequences:
    """What step `step` of a run sees, a function of its arguments alone: sequences of real clips, or of made ones."""
    rng = np.random.default_rng((seed, step))
    if not mades or (reals and rng.random() < REAL_SHARE):
        length = np.array([len(one.times_s) for one in reals], float)
        first = reals[int(rng.choice(len(reals), p=length / length.sum()))]
        alike = [one for one in reals if one.size == first.size]
        share = np.array([len(one.times_s) for one in alike], float)
        chosen = [alike[int(i)] for i in rng.choice(len(alike), count, p=share / share.sum())]
        return gather([(one, _picked(one, rng)) for one in chosen])
    chosen = [mades[int(i)] for i in rng.choice(len(mades), count, replace=len(mades) < count)]
    return gather([(one, np.arange(SAMPLES)) for one in chosen])


def _picked(one: Kept, rng: np.random.Generator) -> NDArray[np.int64]:
    """SAMPLES samples of a shot at one of the rates that it is long enough for."""
    fits = [(s, p) for s, p in STRIDES if (SAMPLES - 1) * s < len(one.times_s)]
    share = np.array([p for _, p in fits])
    stride = fits[int(rng.choice(len(fits), p=share / share.sum()))][0]
    first = int(rng.integers(len(one.times_s) - (SAMPLES - 1) * stride))
    return first + stride * np.arange(SAMPLES, dtype=np.int64)


def gather(chosen: Sequence[tuple[Kept, NDArray[np.int64]]]) -> Sequences:
    """Samples of kept shots of one size, as many of each."""

    def rows(part: Callable[[Kept], Tensor]) -> Tensor:
        return torch.cat([part(one)[torch.from_numpy(at)] for one, at in chosen]).float()

    apart = [np.diff(one.times_s[at], prepend=one.times_s[at[0]]) for one, at in chosen]
    return Sequences(
        [rows(lambda one, k=k: one.taps[k]) for k in range(len(chosen[0][0].taps))],
        rows(lambda one: one.grey), rows(lambda one: one.motion),
        torch.from_numpy(np.stack(apart).astype(np.float32)),
        rows(lambda one: one.density), rows(lambda one: one.points),
    )  # fmt: skip
