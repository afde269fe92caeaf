"""Figures of a model: IoU and correlation on held-out pictures and on clips with known masks, and ms a frame.

    python -m model.evaluate --model model/image_saliency_student_v1.onnx --data FOLDER --davis FOLDER

IoU is of block grids: mask and prediction are area-averaged to 96x72 and cut at 0.5. CC is Pearson's correlation of the
same grids, before the cut. Both are means over pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from model.data import Dataset

GRID = (96, 72)  # columns, rows
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Predict = Callable[[U8], F32]  # uint8 [n, h, w, 3] -> float32 [n, h', w'] in 0..1


def grid_scores(predicted: F32, mask: U8) -> tuple[float, float]:
    """(IoU, CC) of a prediction float [h', w'] in 0..1 and a mask uint8 [h, w], 0..255; (1, 0) if both are empty."""
    p = cv2.resize(
        predicted, GRID, interpolation=cv2.INTER_LINEAR if predicted.shape[1] < 2 * GRID[0] else cv2.INTER_AREA
    )
    t = cv2.resize(mask.astype(np.float32) / 255, GRID, interpolation=cv2.INTER_AREA)
    both, either = ((p >= 0.5) & (t >= 0.5)).sum(), ((p >= 0.5) | (t >= 0.5)).sum()
    a, b = p - p.mean(), t - t.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return (float(both / either) if either else 1.0), (float((a * b).sum() / scale) if scale > 0 else 0.0)


def score_masks(
    data: Dataset, which: Iterable[int], predict: Predict, size: tuple[int, int] = (256, 144)
) -> tuple[float, float]:
    """Mean (IoU, CC) over pictures of a data set, each resized to `size` (width, height)."""
    scores, chosen = [], list(which)
    for start in range(0, len(chosen), 16):
        some = chosen[start : start + 16]
        frames = np.stack([cv2.resize(data.image(i), size, interpolation=cv2.INTER_AREA) for i in some])
        scores += [grid_scores(p, data.mask(i)) for p, i in zip(predict(frames.astype(np.uint8)), some, strict=True)]
    iou, cc = np.mean(scores, axis=0)
    return float(iou), float(cc)


def torch_predict(net: object, frames: U8) -> F32:
    """Run a student in torch: uint8 [n, h, w, 3] -> float32 [n, h/2, w/2]."""
    import torch

    with torch.no_grad():
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div_(255)
        return net(x).sigmoid().numpy()  # type: ignore[operator]
