"""Figures of a model: agreement with masks of stills and of clips, with gaze, and its time.

    python -m model.evaluate --model image_saliency_student_v1 --stills DUTS --clips DAVIS --gaze OSIE

Stills and clips are squeezed to the size that the model is made for at 16:9, pictures with gaze keep their aspect.

IoU is of block grids: mask and prediction are averaged to 96x72 and cut at 0.5. CC is Pearson's correlation of the
same grids before the cut. Both are means over pictures (for clips: over frames, 3 a second, then over clips). NSS is
the map's value at the fixations, in standard deviations above its mean, averaged over pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.data import Dataset, gaze_held_out, load
from vsal.evaluate.saliency.items import Picture, picture_of, video_pictures, video_planes

if TYPE_CHECKING:
    from model.clips import Clips
    from vsal.saliency import ModelInput, SaliencySession
    from vsal.saliency.registry import Model

GRID = (96, 72)  # columns, rows
CLIP_STEP = 8  # frames at 24 a second: the default sample rate of `vsal prepare`
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Predict = Callable[[U8], F32]  # uint8 [n, h, w, 3] -> float32 [n, h', w'] in 0..1


def to_grid(values: F32) -> F32:
    """A mask of any size as a 96x72 grid: area means where it shrinks by much, else interpolated."""
    shrinks = values.shape[1] >= 1.5 * GRID[0]
    return np.asarray(
        cv2.resize(values, GRID, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.float32
    )


def grid_scores(predicted: F32, mask: U8) -> tuple[float, float]:
    """(IoU, CC) of a prediction float [h', w'] in 0..1 and a mask uint8 [h, w], 0..255; (1, 0) if both are empty."""
    p, t = to_grid(predicted), to_grid(mask.astype(np.float32) / 255)
    both, either = ((p >= 0.5) & (t >= 0.5)).sum(), ((p >= 0.5) | (t >= 0.5)).sum()
    a, b = p - p.mean(), t - t.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return (float(both / either) if either else 1.0), (float((a * b).sum() / scale) if scale > 0 else 0.0)


def shrink(image: U8, size: tuple[int, int]) -> U8:
    """A picture uint8 [h, w, 3] at (width, height), scaled as `prepare` scales its frames."""
    return picture_of(image).rgb(size)


def score_masks(
    data: Dataset, which: Iterable[int], predict: Predict, size: tuple[int, int] = (256, 144)
) -> tuple[float, float]:
    """Mean (IoU, CC) over pictures of a data set, each resized to `size` (width, height), whatever its shape."""
    scores, chosen = [], list(which)
    for start in range(0, len(chosen), 16):
        some = chosen[start : start + 16]
        frames = np.stack([shrink(data.image(i), size) for i in some])
        scores += [grid_scores(p, data.mask(i)) for p, i in zip(predict(frames), some, strict=True)]
    iou, cc = np.mean(scores, axis=0)
    return float(iou), float(cc)


def read_clip(folder: Path, name: str) -> Iterator[tuple[Picture, U8]]:
    """(picture, mask uint8 [h, w]) of every frame of NAME.mp4 and NAME_mask.mkv."""
    pictures, masks = video_pictures(folder / f"{name}.mp4"), video_planes(folder / f"{name}_mask.mkv", "gray")
    for picture, mask in zip(pictures, masks, strict=False):
        yield picture(), mask()


def clip_frames(folder: Path, name: str) -> list[tuple[Picture, U8]]:
    """Every CLIP_STEP-th (picture, mask) of a clip."""
    return [pair for i, pair in enumerate(read_clip(folder, name)) if i % CLIP_STEP == 0]


def clip_names(folder: Path) -> list[str]:
    """Names of the clips that have a mask."""
    return sorted(p.name.removesuffix("_mask.mkv") for p in folder.glob("*_mask.mkv"))


def score_clip(folder: Path, name: str, predict: Predict, size: tuple[int, int] = (256, 144)) -> tuple[float, float]:
    """Mean (IoU, CC) over the sampled frames of one clip."""
    pairs = clip_frames(folder, name)
    masks = predict(np.stack([picture.rgb(size) for picture, _ in pairs]))
    iou, cc = np.mean([grid_scores(p, mask) for p, (_, mask) in zip(masks, pairs, strict=True)], axis=0)
    return float(iou), float(cc)


def score_gaze(shard: Path, predict: Predict, size_for: Callable[[float], tuple[int, int]]) -> float:
    """Mean NSS over the pictures of a Parquet file with name, image_webp, fixation_x and fixation_y (fractions).

    size_for gives the (width, height) to scale a picture of an aspect to. Only the pictures that no student is trained
    on count (`gaze_held_out`).
    """
    scores = []
    for row in pq.read_table(shard).to_pylist():
        if not gaze_held_out(row["name"]):
            continue
        bgr = cv2.imdecode(np.frombuffer(row["image_webp"], np.uint8), cv2.IMREAD_COLOR)
        size = size_for(bgr.shape[1] / bgr.shape[0])
        mask = predict(shrink(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), size)[None])[0]
        if not row["fixation_x"] or mask.std() < 1e-6:
            scores.append(0.0)
            continue
        x = (np.array(row["fixation_x"]) * mask.shape[1]).astype(int).clip(0, mask.shape[1] - 1)
        y = (np.array(row["fixation_y"]) * mask.shape[0]).astype(int).clip(0, mask.shape[0] - 1)
        scores.append(float(((mask - mask.mean()) / mask.std())[y, x].mean()))
    return float(np.mean(scores))


def torch_predict(net: object, frames: U8) -> F32:
    """Run a student in torch: uint8 [n, h, w, 3] -> float32 [n, h/2, w/2]."""
    import torch

    from model.student import saliency

    with torch.no_grad():
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div_(255)
        return saliency(net(x)).numpy()  # type: ignore[operator, no-any-return]


def still_predict(net: object, frames: U8) -> F32:
    """Run the video student in torch on stills: uint8 [n, h, w, 3], nothing moves -> float32 [n, h/2, w/2]."""
    import torch

    with torch.no_grad():
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        return net(x, x.new_zeros(len(x), *x.shape[2:]))[:, 0].sigmoid().numpy()  # type: ignore[operator, no-any-return]


def score_clips(net: object, made: Iterable[Clips]) -> tuple[float, float]:
    """Mean IoU of the video student over made clips: of the masks accumulated through time, and of the single ones."""
    import torch

    from model.video_student import accumulate

    over, single = [], []
    for some in made:
        count, samples = some.masks.shape[:2]
        with torch.no_grad():
            frames = torch.from_numpy(some.frames).flatten(0, 1).permute(0, 3, 1, 2).float()
            logits = net(frames, torch.from_numpy(some.motion).flatten(0, 1).float())  # type: ignore[operator]
            through_time = accumulate(logits.unflatten(0, (count, samples))).numpy()
            alone = logits[:, 0].sigmoid().unflatten(0, (count, samples)).numpy()
        for n in range(count):
            over += [grid_scores(m, t)[0] for m, t in zip(through_time[n], some.masks[n], strict=True)]
            single += [grid_scores(m, t)[0] for m, t in zip(alone[n], some.masks[n], strict=True)]
    return float(np.mean(over)), float(np.mean(single))


def time_in_turn(models: Mapping[str, Judged], batch: int = 8, rounds: int = 25) -> dict[str, float]:
    """Median milliseconds a frame of each model on one thread, at the size it is made for; they take turns."""
    rng = np.random.default_rng(0)
    frames = {
        name: rng.integers(0, 256, (m.wants.batch or batch, *m.size[::-1], 3), np.uint8) for name, m in models.items()
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 2):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict(frames[name])
            times[name].append((time.perf_counter() - start) / len(frames[name]) * 1e3)
    return {name: float(np.median(some[2:])) for name, some in times.items()}


@dataclass(frozen=True, slots=True)
class Judged:
    """A model with its session, and what it wants to see."""

    model: Model
    session: SaliencySession
    wants: ModelInput

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a 16:9 picture that it is made for."""
        return self.wants.size_for(16 / 9)

    @classmethod
    def open(cls, name: str) -> Judged:
        """A registered model, or an .onnx file in vsal's contract."""
        from vsal.saliency import SaliencySession, load_model, read_contract

        model = load_model(name)
        return cls(model, SaliencySession(model.data), read_contract(model.data))

    def predict(self, frames: U8) -> F32:
        """Masks of frames uint8 [n, h, w, 3], float32 [n, h', w']; to a video model nothing moves in them."""
        return self.session.run(frames, np.zeros(frames.shape[:3], np.uint8)).saliency


def figures(judged: Judged, stills: Dataset | None, clips: Path | None, gaze: Path | None) -> dict[str, float]:
    """What a row of the table says of one model, by column."""
    row: dict[str, float] = {}
    if stills:
        row["IoU"], row["CC"] = score_masks(stills, range(len(stills)), judged.predict, judged.size)
    if clips:
        scores = {name: score_clip(clips, name, judged.predict, judged.size) for name in clip_names(clips)}
        print(f"{judged.model.name}:", ", ".join(f"{name} {iou:.2f}" for name, (iou, _) in scores.items()))
        row["clips IoU"], row["clips CC"] = (float(v) for v in np.mean(list(scores.values()), axis=0))
    if gaze:
        for shard in sorted(gaze.glob("*.parquet")):
            row[f"NSS {shard.stem}"] = score_gaze(shard, judged.predict, judged.wants.size_for)
    return row


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, help="registered name, or an .onnx file; repeatable")
    parser.add_argument("--stills", help="folder of DUTS-style shards with a val split")
    parser.add_argument("--cache", default=".cache/stills", help="where the decoded stills go")
    parser.add_argument("--clips", type=Path, help="folder of NAME.mp4 and NAME_mask.mkv")
    parser.add_argument("--gaze", type=Path, help="folder of a Parquet file with pictures and fixations")
    args = parser.parse_args()
    models = {name: Judged.open(name) for name in args.model}
    stills = load(args.stills, "val", args.cache) if args.stills else None
    rows = {name: figures(m, stills, args.clips, args.gaze) for name, m in models.items()}
    times = time_in_turn(models)
    columns = list(next(iter(rows.values())))
    print("| model | " + " | ".join(columns) + " | ms a frame | at | MB |")
    print("|---|" + "---|" * (len(columns) + 3))
    for name, judged in models.items():
        cells = [f"{rows[name][column]:.3f}" for column in columns]
        size = f"{judged.size[0]}x{judged.size[1]}"
        megabytes = f"{len(judged.model.data) / 1e6:.1f}"
        print("| " + " | ".join([judged.model.name, *cells, f"{times[name]:.2f}", size, megabytes]) + " |")


if __name__ == "__main__":
    main()
