"""Look at a model: sheets of its masks on clips and on the pictures that it does worst on.

    python -m model.failures --model image_saliency_student_v1 --stills DUTS --clips DAVIS --out DIR

Writes DIR/stills.png (the worst held-out pictures: picture, mask, wanted mask) and DIR/clips.png (three frames of every
clip, the mask laid over). These are sheets to look at; the data sets' licences say who else may be shown them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from model.data import Dataset, load
from model.evaluate import F32, U8, Predict, clip_frames, clip_names, grid_scores, shrink
from vsal.evaluate.saliency.items import Picture

SIZE = (256, 144)  # width, height of a cell


def grey(mask: F32) -> U8:
    """A mask float [h, w] in 0..1 as a cell, uint8 [144, 256, 3]."""
    cell = cv2.resize((mask * 255).astype(np.uint8), SIZE, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(cell, cv2.COLOR_GRAY2RGB), np.uint8)


def laid_over(frame: Picture, mask: F32) -> U8:
    """A frame with its mask: darker where the mask is low."""
    light = cv2.resize(mask, SIZE, interpolation=cv2.INTER_LINEAR)[..., None]
    return np.asarray(frame.rgb(SIZE) * (0.25 + 0.75 * light), np.uint8)


def worst_stills(data: Dataset, predict: Predict, count: int) -> U8:
    """Rows of (picture, mask, wanted mask) of the pictures with the lowest IoU, the worst first."""
    masks = [predict(shrink(data.image(i), SIZE)[None])[0] for i in range(len(data))]
    scores = [grid_scores(mask, data.mask(i))[0] for i, mask in enumerate(masks)]
    rows = []
    for i in np.argsort(scores)[:count]:
        wanted = data.mask(int(i)).astype(np.float32) / 255
        rows.append(np.hstack([shrink(data.image(int(i)), SIZE), grey(masks[i]), grey(wanted)]))
    return np.vstack(rows)


def clip_rows(folder: Path, predict: Predict) -> U8:
    """A row for each clip: the first, middle and last sampled frame, each beside its mask."""
    rows = []
    for name in clip_names(folder):
        pairs = clip_frames(folder, name)
        chosen = [pairs[0][0], pairs[len(pairs) // 2][0], pairs[-1][0]]
        masks = predict(np.stack([frame.rgb(SIZE) for frame in chosen]))
        rows.append(
            np.hstack([cell for f, m in zip(chosen, masks, strict=True) for cell in (laid_over(f, m), grey(m))])
        )
    return np.vstack(rows)


def main() -> None:
    """Parse the command line and draw."""
    from vsal.saliency import SaliencySession, load_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="image_saliency_student_v1", help="registered name, or an .onnx file")
    parser.add_argument("--stills", help="folder of DUTS-style shards with a val split")
    parser.add_argument("--clips", type=Path, help="folder of NAME.mp4 and NAME_mask.mkv")
    parser.add_argument("--count", type=int, default=20, help="how many of the worst stills")
    parser.add_argument("--cache", default=".cache/stills", help="where the decoded stills go")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sheets")
    args = parser.parse_args()
    session = SaliencySession(load_model(args.model).data)
    args.out.mkdir(parents=True, exist_ok=True)

    def predict(frames: U8) -> F32:
        return session.run(frames).saliency

    sheets = {}
    if args.stills:
        sheets["stills"] = worst_stills(load(args.stills, "val", args.cache), predict, args.count)
    if args.clips:
        sheets["clips"] = clip_rows(args.clips, predict)
    for name, sheet in sheets.items():
        cv2.imwrite(str(args.out / f"{name}.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        print(args.out / f"{name}.png")


if __name__ == "__main__":
    main()
