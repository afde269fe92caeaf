"""Tiny data sets for training: pictures of bright discs, and torch where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SHAPES = [(96, 128), (128, 96), (120, 160), (96, 96)]
Picture = tuple[np.ndarray, np.ndarray]  # uint8 [h, w, 3] and its mask uint8 [h, w]
Draw = Callable[[int, np.random.Generator], Picture]


def import_torch() -> ModuleType:
    """Torch on one thread: two that wait for each other on a busy machine take minutes for seconds of work."""
    torch: ModuleType = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[train])")
    torch.set_num_threads(1)
    return torch


def noisy_disc(i: int, rng: np.random.Generator) -> Picture:
    """A bright disc anywhere on dark noise, in one of SHAPES."""
    h, w = SHAPES[i % len(SHAPES)]
    mask = np.zeros((h, w), np.uint8)
    cv2.circle(mask, (int(rng.integers(30, w - 30)), int(rng.integers(30, h - 30))), 22, 255, -1)
    image = rng.integers(0, 80, (h, w, 3), np.uint8) + (mask[..., None] > 0) * np.uint8(150)
    return image.astype(np.uint8), mask


def disc_at_the_side(i: int, rng: np.random.Generator) -> Picture:
    """A bright disc on smooth, dark ground with room beside it."""
    mask = np.zeros((96, 128), np.uint8)
    cv2.circle(mask, (int(rng.integers(20, 40)), int(rng.integers(24, 72))), 16, 255, -1)
    ground = cv2.resize(rng.integers(0, 90, (6, 8, 3), np.uint8), (128, 96), interpolation=cv2.INTER_CUBIC)
    return np.where(mask[..., None] > 0, np.uint8(230), ground).astype(np.uint8), mask


def write_shards(folder: Path, train: int, val: int, draw: Draw = noisy_disc) -> Path:
    """A DUTS-style folder of Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        rows: list[dict[str, Any]] = []
        for i in range(count):
            image, mask = draw(i, rng)
            webp, png = (cv2.imencode(kind, it)[1].tobytes() for kind, it in ((".webp", image), (".png", mask)))
            h, w = mask.shape
            rows.append({"name": f"{split}{i}", "width": w, "height": h, "image_webp": webp, "mask_png": png})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00.parquet")
    return folder
