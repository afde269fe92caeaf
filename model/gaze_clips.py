"""Clips of published video saliency sets with soft labels, for the video student.

    python -m model.gaze_clips --dataset dhf1k:DHF1K --teacher unisal --out GAZE
    python -m model.train video --data DUTS --clips GAZE --out DIR --steps 20000

Only what a set gives out to train on is taken (`vsal.evaluate.saliency.sets.open_training_part`). Samples lie on the
clock that `vsal prepare` samples by, each with its motion against the frame just before it. The label of a sample is
the mask of the teacher, any model in vsal's contract, run through the video in order; without a teacher it is the
density of the recorded gaze, as a share of its peak. One file a video is written: a run that is broken off goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from model.clips import RATE_HZ, Clips, Look

if TYPE_CHECKING:
    from vsal.evaluate.saliency.items import Item, Picture
    from vsal.saliency import SaliencySession

U8 = NDArray[np.uint8]
SIZE = (256, 144)  # width and height of the frames; what is not 16:9 is squeezed
EVERY = 3  # one step in so many of a training run is of these clips


@dataclass(frozen=True, slots=True)
class GazeClip:
    """A video's samples: frames uint8 [t, h, w, 3], motion uint8 [t, h, w], labels uint8 [t, h/2, w/2]."""

    frames: U8
    motion: U8
    labels: U8


def read_clip(item: Item, teacher: SaliencySession | None, rate_hz: float = RATE_HZ) -> GazeClip | None:
    """The samples of a video with their labels; None where nothing is known of any.

    Args:
        item: of a gaze set.
        teacher: whose masks are the labels; None for the recorded density.
        rate_hz: samples a second.
    """
    from vsal.evaluate.saliency.moments import on_clock

    assert item.fps is not None
    frames, motion, densities, seen, moved = [], [], [], [], []
    before: Picture | None = None
    for frame in item.frames():
        sampled, next_sampled = (on_clock(frame.index + k, item.fps, rate_hz) for k in (0, 1))
        if not (sampled or next_sampled):
            continue
        picture = frame.picture()
        if sampled and teacher is not None:
            size = teacher.input.size_for(picture.aspect)
            seen.append(picture.rgb(size))
            last = picture if before is None else before
            moved.append(picture.change(last, size))
        if sampled:
            last = picture if before is None else before
            truth = frame.truth() if teacher is None else None
            if teacher is not None or (truth is not None and truth.density is not None):
                frames.append(picture.rgb(SIZE))
                motion.append(picture.change(last, SIZE))
                densities.append(None if truth is None else truth.density)
        before = picture if next_sampled else None
    if not frames:
        return None
    if teacher is None:
        masks = [d / max(float(d.max()), 1e-12) for d in densities if d is not None]
    else:
        masks = list(teacher.run_sequence(np.stack(seen), np.stack(moved)).saliency)
    half = (SIZE[0] // 2, SIZE[1] // 2)
    labels = [cv2.resize(m.astype(np.float32), half, interpolation=cv2.INTER_AREA).clip(0, 1) for m in masks]
    return GazeClip(np.stack(frames), np.stack(motion), np.rint(np.stack(labels) * 255).astype(np.uint8))


def save_clip(clip: GazeClip, path: Path) -> None:
    """Write a clip whole or not at all."""
    scratch = path.with_suffix(".tmp")
    with scratch.open("wb") as file:
        np.savez(file, frames=clip.frames, motion=clip.motion, labels=clip.labels)
    os.replace(scratch, path)


def make_labels(dataset: str, teacher: str, out: Path, rate_hz: float = RATE_HZ) -> int:
    """Label the training part of a set; returns how many videos OUT holds then.

    Args:
        dataset: KIND:PATH.
        teacher: a registered model or an .onnx file in vsal's contract; "" for the recorded gaze.
        out: folder of the clips, one NAME.npz a video.
        rate_hz: samples a second.
    """
    from vsal.evaluate.saliency.sets import open_training_part
    from vsal.saliency import SaliencySession, load_model

    session = SaliencySession(load_model(teacher).data) if teacher else None
    out.mkdir(parents=True, exist_ok=True)
    items = open_training_part(dataset).items
    for number, item in enumerate(items):
        path = out / f"{item.name}.npz"
        clip = None if path.exists() else read_clip(item, session, rate_hz)
        if clip is not None:
            save_clip(clip, path)
        print(f"{number + 1}/{len(items)} {item.name}", flush=True)
    return len(list(out.glob("*.npz")))


def load(folder: str | Path) -> list[Path]:
    """The files of a folder of labelled clips.

    Raises:
        SystemExit: it holds none.
    """
    found = sorted(Path(folder).glob("*.npz"))
    if not found:
        raise SystemExit(f"no clip in {folder}: make some with `python -m model.gaze_clips`, or leave out --clips")
    return found


def batch(files: list[Path], step: int, count: int, samples: int, seed: int) -> Clips:
    """Some runs of samples, mirrored and seen through a look at random; a function of (seed, step) alone.

    The labels stand in for masks as well: what people watch is graded, and so is what the student is to say.
    """
    rng = np.random.default_rng([seed, 1 << 21, step])
    shape = (count, samples, SIZE[1], SIZE[0])
    frames, motion, masks = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    soft = np.empty((count, samples, SIZE[1] // 2, SIZE[0] // 2), np.uint8)
    for n in range(count):
        with np.load(files[int(rng.integers(len(files)))]) as held:
            long = len(held["frames"])
            stride = int(rng.integers(1, 3)) if long >= 2 * samples else 1  # another rate now and then
            start = int(rng.integers(max(1, long - stride * (samples - 1))))
            which = np.minimum(start + stride * np.arange(samples), long - 1)  # a short video stands still at its end
            some, moved, labels = (held[key][which] for key in ("frames", "motion", "labels"))
        moved[1:][which[1:] == which[:-1]] = 0
        if rng.random() < 0.5:
            some, moved, labels = some[:, :, ::-1], moved[:, :, ::-1], labels[:, :, ::-1]
        look = Look.draw(rng)
        for t in range(samples):
            frames[n, t] = look.on(np.ascontiguousarray(some[t]), rng)
            masks[n, t] = cv2.resize(np.ascontiguousarray(labels[t]), SIZE, interpolation=cv2.INTER_LINEAR)
        motion[n], soft[n] = moved, labels
    return Clips(frames, motion, masks, soft, np.ones(count, np.bool_))


def main() -> None:
    """Parse the command line and make the labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="KIND:PATH: dhf1k, hollywood2, ucf-sports or avimos")
    parser.add_argument(
        "--teacher", default="", help="model whose masks are the labels; the recorded gaze if not given"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of the clips")
    parser.add_argument("--rate", type=float, default=RATE_HZ, help="samples a second")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{args.out}: {make_labels(args.dataset, args.teacher, args.out, args.rate)} videos")


if __name__ == "__main__":
    main()
