"""Pictures with masks and gaze, decoded once into memory-mapped files.

A folder of shards holds Parquet files with the columns `name` and `image_webp`, and any of `mask_png` (the object,
DUTS-style) and `fixation_x`, `fixation_y` (recorded gaze, fractions of the picture). What a picture lacks may come from
soft labels (`model.teach`); what is still missing is marked as unknown and left out of the loss.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.teach import fixation_label, read_labels
from vsal.evaluate.saliency.sets.parquet import gaze_held_out

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Decoded pictures with their masks and gaze, memory-mapped.

    pixels: uint8 [bytes], RGB pictures one after the other. masks, gaze: uint8 [bytes], 0..255, of the same pictures in
    the same order. index: int64 [n, 5], first pixel (not byte), height, width, whether the mask and the gaze are known.
    """

    pixels: U8
    masks: U8
    gazes: U8
    index: NDArray[np.int64]
    names: list[str]

    def __len__(self) -> int:
        return len(self.index)

    def image(self, i: int) -> U8:
        """The i-th picture, uint8 [h, w, 3] RGB."""
        start, h, w = (int(v) for v in self.index[i, :3])
        return self.pixels[start * 3 : (start + h * w) * 3].reshape(h, w, 3)

    def mask(self, i: int) -> U8:
        """The i-th object mask, uint8 [h, w], 0..255; zeros where it is not known."""
        return self._plane(self.masks, i)

    def gaze(self, i: int) -> U8:
        """The i-th gaze density, uint8 [h, w], 255 is `model.teach.GAZE_FULL` times the mean; zeros if not known."""
        return self._plane(self.gazes, i)

    def known(self, i: int) -> tuple[bool, bool]:
        """Whether the i-th picture has a mask and a gaze."""
        return bool(self.index[i, 3]), bool(self.index[i, 4])

    def _plane(self, plane: U8, i: int) -> U8:
        start, h, w = (int(v) for v in self.index[i, :3])
        return plane[start : start + h * w].reshape(h, w)


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """Labels of the teachers by the picture's name, uint8 [h, w] of any size; used where a picture has none itself."""

    objects: Mapping[str, U8]
    gaze: Mapping[str, U8]

    @classmethod
    def read(cls, objects: Iterable[str | Path] = (), gaze: Iterable[str | Path] = ()) -> SoftLabels:
        """Gather files of `model.teach`."""
        return cls(
            {name: label for path in objects for name, label in read_labels(Path(path)).items()},
            {name: label for path in gaze for name, label in read_labels(Path(path)).items()},
        )


NO_LABELS = SoftLabels({}, {})


def load(folder: str | Path, split: str, cache: str | Path, labels: SoftLabels = NO_LABELS) -> Dataset:
    """Open `split` of a folder of shards, decoded into `cache` the first time.

    Args:
        folder: of the shards.
        split: "train" or "val": the shards `<split>-NN.parquet`. "gaze": every Parquet file of the folder, without the
            pictures that are kept for judging (`gaze_held_out`).
        cache: folder of the decoded pictures; delete it when the labels change.
        labels: for pictures without a mask or without fixations of their own.

    Raises:
        FileNotFoundError: there is no shard of that split.
    """
    cache = Path(cache)
    if not (cache / f"{split}.json").exists():
        _decode(Path(folder), split, cache, labels)
    return Dataset(
        np.memmap(cache / f"{split}.rgb", np.uint8, "r"),
        np.memmap(cache / f"{split}.mask", np.uint8, "r"),
        np.memmap(cache / f"{split}.gaze", np.uint8, "r"),
        np.load(cache / f"{split}.npy"),
        json.loads((cache / f"{split}.json").read_text()),
    )


def _rows(folder: Path, split: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    pattern = "*.parquet" if split == "gaze" else f"{split}-*.parquet"
    shards = sorted(folder.glob(pattern))
    if not shards:
        raise FileNotFoundError(f"no {pattern} in {folder}: give the folder of the shards with --data or --gaze")
    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(100):
            for row in batch.to_pylist():
                if split != "gaze" or not gaze_held_out(row["name"]):
                    yield shard, row


def _decode(folder: Path, split: str, cache: Path, labels: SoftLabels) -> None:
    names: list[str] = []
    index: list[tuple[int, int, int, bool, bool]] = []
    start = 0
    rows = _rows(folder, split)
    cache.mkdir(parents=True, exist_ok=True)
    files: tuple[BinaryIO, BinaryIO, BinaryIO]
    with (
        open(cache / f"{split}.rgb", "wb") as rgb,
        open(cache / f"{split}.mask", "wb") as masks,
        open(cache / f"{split}.gaze", "wb") as gazes,
    ):
        files = (rgb, masks, gazes)
        for shard, row in rows:
            bgr = cv2.imdecode(np.frombuffer(row["image_webp"], np.uint8), cv2.IMREAD_COLOR)
            if bgr is None:
                raise ValueError(f"{shard}: the picture {row['name']} cannot be decoded")
            shape = (int(bgr.shape[0]), int(bgr.shape[1]))
            mask, gaze = _object(row, shape, labels), _gaze(row, shape, labels)
            if mask is not None and mask.shape != shape:
                raise ValueError(f"{shard}: picture and mask of {row['name']} do not fit: {shape} and {mask.shape}")
            empty = np.zeros(shape, np.uint8)
            planes = (
                cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
                empty if mask is None else mask,
                empty if gaze is None else gaze,
            )
            for file, plane in zip(files, planes, strict=True):
                file.write(np.ascontiguousarray(plane).tobytes())
            names.append(row["name"])
            index.append((start, *shape, mask is not None, gaze is not None))
            start += shape[0] * shape[1]
    np.save(cache / f"{split}.npy", np.array(index, np.int64))
    (cache / f"{split}.json").write_text(json.dumps(names))  # last: its presence says that the cache is whole


def _object(row: dict[str, Any], shape: tuple[int, int], labels: SoftLabels) -> U8 | None:
    if row.get("mask_png"):
        return np.asarray(cv2.imdecode(np.frombuffer(row["mask_png"], np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    return _enlarged(labels.objects.get(row["name"]), shape)


def _gaze(row: dict[str, Any], shape: tuple[int, int], labels: SoftLabels) -> U8 | None:
    if row.get("fixation_x"):
        label = fixation_label(row["fixation_x"], row["fixation_y"], (shape[1], shape[0]))
        return np.asarray(label * 255, np.uint8)
    return _enlarged(labels.gaze.get(row["name"]), shape)


def _enlarged(label: U8 | None, shape: tuple[int, int]) -> U8 | None:
    if label is None:
        return None
    return np.asarray(cv2.resize(label, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.uint8)
