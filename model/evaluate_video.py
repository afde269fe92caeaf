"""Figures of a video model on clips with masks: its single masks, and the masks accumulated through time.

    python -m model.evaluate_video --model video_saliency_student_v1 --clips DAVIS --sheet DIR/video.png

Samples are three a second, squeezed to the size that the model is made for, each with its motion against the frame
before it. IoU is of 96x72 grids cut at 0.5, as in `model.evaluate`; flicker is the mean absolute change of the grid
from sample to sample. The row `still` gives the model no motion and does not accumulate: what it knows from pictures
alone. The sheet shows of each clip three samples: picture, motion, single mask, gate, accumulated mask, wanted mask.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from model.evaluate import CLIP_STEP, clip_names, grid_scores, read_clip, to_grid

if TYPE_CHECKING:
    from vsal.evaluate.saliency.items import Picture

if TYPE_CHECKING:
    from vsal.saliency import SaliencySession

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
ROWS = ("accumulated", "single", "still")
SHOWN = 3  # samples of a clip on the sheet


@dataclass(frozen=True, slots=True)
class Samples:
    """Of a clip: frames uint8 [t, h, w, 3], motion uint8 [t, h, w], and the wanted masks uint8, as they are."""

    frames: U8
    motion: U8
    masks: list[U8]


def read_samples(folder: Path, name: str, size: tuple[int, int]) -> Samples:
    """Every CLIP_STEP-th frame of NAME.mp4 at (width, height), its motion, and its mask from NAME_mask.mkv."""
    frames, motion, masks = [], [], []
    before: Picture | None = None
    for i, (picture, mask) in enumerate(read_clip(folder, name)):
        if i % CLIP_STEP == 0:
            frames.append(picture.rgb(size))
            motion.append(picture.change(before or picture, size))
            masks.append(mask)
        before = picture
    return Samples(np.stack(frames), np.stack(motion), masks)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a video model says of a clip's samples, float32 [t, h', w'] each."""

    still: F32
    single: F32
    gate: F32
    accumulated: F32


def look(session: SaliencySession, samples: Samples) -> Seen:
    """Run a video model over the samples of a clip, with motion and without."""
    from vsal.temporal import Fold, Learned

    masks = session.run(samples.frames, samples.motion)
    assert masks.gate is not None
    fold, over_time = Fold(Learned()), []
    for mask, gate in zip(masks.saliency, masks.gate, strict=True):
        fold.add(mask, 0.0, gate)
        over_time.append(fold.mask())
    still = session.run(samples.frames, np.zeros_like(samples.motion)).saliency
    return Seen(still, masks.saliency, masks.gate, np.stack(over_time))


def score(predicted: F32, masks: list[U8]) -> tuple[float, float]:
    """(mean IoU, flicker) of the masks of a clip."""
    iou = float(np.mean([grid_scores(p, m)[0] for p, m in zip(predicted, masks, strict=True)]))
    grids = np.stack([to_grid(p) for p in predicted])
    return iou, float(np.abs(np.diff(grids, axis=0)).mean()) if len(grids) > 1 else 0.0


def sheet_rows(samples: Samples, seen: Seen) -> U8:
    """Some samples of a clip one below the other, uint8 [SHOWN * h, 6 * w, 3]; motion is shown four times as bright."""
    height, width = samples.frames.shape[1:3]
    rows = []
    for t in np.linspace(0, len(samples.frames) - 1, SHOWN + 2).round().astype(int)[1:-1]:
        moved = np.minimum(samples.motion[t].astype(np.uint16) * 4, 255).astype(np.uint8)
        greys = [moved, *(np.rint(of[t].clip(0, 1) * 255).astype(np.uint8) for of in (seen.single, seen.gate))]
        greys += [np.rint(seen.accumulated[t].clip(0, 1) * 255).astype(np.uint8), samples.masks[t]]
        shown = [cv2.cvtColor(cv2.resize(grey, (width, height)), cv2.COLOR_GRAY2RGB) for grey in greys]
        rows.append(np.hstack([samples.frames[t], *shown]))
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="registered name, or an .onnx file, of kind video")
    parser.add_argument("--clips", required=True, type=Path, help="folder of NAME.mp4 and NAME_mask.mkv")
    parser.add_argument("--sheet", type=Path, help="PNG file of pictures and masks")
    args = parser.parse_args()
    from vsal.saliency import SaliencySession, load_model

    session = SaliencySession(load_model(args.model).data)
    if not session.input.motion or session.input.ordered:
        raise SystemExit(f"{args.model} is not of kind video: judge it with `python -m model.evaluate`")
    names, size = clip_names(args.clips), session.input.size_for(16 / 9)
    scores: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
    sheet = []
    for name in names:
        samples = read_samples(args.clips, name, size)
        seen = look(session, samples)
        for row in ROWS:
            scores[row].append(score(getattr(seen, row), samples.masks))
        sheet.append(sheet_rows(samples, seen))
    print("| masks | IoU | flicker | " + " | ".join(names) + " |")
    print("|---|" + "---|" * (len(names) + 2))
    for row, found in scores.items():
        iou, flicker = (float(v) for v in np.mean(found, axis=0))
        print(f"| {row} | {iou:.3f} | {flicker:.4f} | " + " | ".join(f"{s[0]:.2f}" for s in found) + " |")
    if args.sheet:
        cv2.imwrite(str(args.sheet), np.vstack(sheet)[:, :, ::-1])


if __name__ == "__main__":
    main()
