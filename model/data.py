"""DUTS-style shards (image and mask in Parquet) as a memory-mapped cache, and augmented batches from it.

A batch is a function of (seed, step) alone: any number of worker threads, and a resumed run, see the same batches.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

cv2.setNumThreads(1)  # the batches are made in parallel, not the pixels

U8 = NDArray[np.uint8]

# (width, height) of a training batch, with its share; multiples of 16. Video is 16:9 in the main, so are the batches.
SIZES: tuple[tuple[tuple[int, int], float], ...] = (
    ((256, 144), 0.50),
    ((256, 192), 0.20),
    ((224, 128), 0.10),
    ((288, 160), 0.10),
    ((144, 256), 0.05),
    ((192, 192), 0.05),
)
# The first part of a run sees smaller pictures: nearly twice the examples in the same time.
SMALL_SIZES: tuple[tuple[tuple[int, int], float], ...] = (
    ((192, 112), 0.50),
    ((176, 128), 0.30),
    ((160, 96), 0.10),
    ((144, 144), 0.05),
    ((112, 192), 0.05),
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Decoded pictures and masks of one split, memory-mapped.

    pixels: uint8 [bytes], RGB pictures one after the other. masks: uint8 [bytes], 0..255, the same pictures in the same
    order. index: int64 [n, 3], first pixel (not byte), height, width.
    """

    pixels: U8
    masks: U8
    index: NDArray[np.int64]
    names: list[str]

    def __len__(self) -> int:
        return len(self.index)

    def image(self, i: int) -> U8:
        """The i-th picture, uint8 [h, w, 3] RGB."""
        start, h, w = (int(v) for v in self.index[i])
        return self.pixels[start * 3 : (start + h * w) * 3].reshape(h, w, 3)

    def mask(self, i: int) -> U8:
        """The i-th mask, uint8 [h, w], 0 or 255."""
        start, h, w = (int(v) for v in self.index[i])
        return self.masks[start : start + h * w].reshape(h, w)


def load(folder: str | Path, split: str, cache: str | Path) -> Dataset:
    """Open `split` ("train" or "val") of a folder of shards `<split>-NN.parquet`, decoded into `cache` the first time.

    Raises:
        FileNotFoundError: there is no shard of that split.
    """
    cache = Path(cache)
    if not (cache / f"{split}.json").exists():
        _decode(Path(folder), split, cache)
    names = json.loads((cache / f"{split}.json").read_text())
    return Dataset(
        np.memmap(cache / f"{split}.rgb", np.uint8, "r"),
        np.memmap(cache / f"{split}.mask", np.uint8, "r"),
        np.load(cache / f"{split}.npy"),
        names,
    )


def _decode(folder: Path, split: str, cache: Path) -> None:
    shards = sorted(folder.glob(f"{split}-*.parquet"))
    if not shards:
        raise FileNotFoundError(f"no {split}-*.parquet in {folder}: give the folder of the DUTS shards with --data")
    cache.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    index: list[tuple[int, int, int]] = []
    start = 0
    with open(cache / f"{split}.rgb", "wb") as rgb, open(cache / f"{split}.mask", "wb") as masks:
        for shard in shards:
            for batch in pq.ParquetFile(shard).iter_batches(100):
                for row in batch.to_pylist():
                    bgr = cv2.imdecode(np.frombuffer(row["image_webp"], np.uint8), cv2.IMREAD_COLOR)
                    mask = cv2.imdecode(np.frombuffer(row["mask_png"], np.uint8), cv2.IMREAD_GRAYSCALE)
                    if bgr is None or mask is None or bgr.shape[:2] != mask.shape:
                        raise ValueError(f"{shard}: picture and mask of {row['name']} do not fit")
                    rgb.write(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).tobytes())
                    masks.write(mask.tobytes())
                    names.append(row["name"])
                    index.append((start, *mask.shape))
                    start += mask.size
    np.save(cache / f"{split}.npy", np.array(index, np.int64))
    (cache / f"{split}.json").write_text(json.dumps(names))  # last: its presence says that the cache is whole


def _view(rng: np.random.Generator, h: int, w: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """A random 2x3 map from a (width, height) target to an h x w picture: crop, zoom out, squeeze, tilt, mirror."""
    width, height = size
    scale = min(w / width, h / height)  # source pixels per target pixel of the largest crop
    fit = max(w / width, h / height)  # ... of the view that holds the whole picture
    low, high = math.log(0.6 * scale), math.log(1.15 * fit)
    zoom = math.exp(rng.uniform(low, high))
    squeeze = math.exp(rng.uniform(-0.25, 0.25))
    ax, ay = zoom * squeeze, zoom / squeeze
    if rng.random() < 0.3:  # the whole picture, squeezed to the target: how stills are judged
        ax, ay = w / width, h / height
    free_x, free_y = w - width * ax, h - height * ay
    cx = w / 2 + free_x * rng.uniform(-0.5, 0.5)
    cy = h / 2 + free_y * rng.uniform(-0.5, 0.5)
    angle = rng.normal(0, 0.06)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = math.cos(angle), math.sin(angle)
    m = np.array([[flip * ax * cos, -ay * sin, 0.0], [flip * ax * sin, ay * cos, 0.0]])
    m[:, 2] = np.array([cx, cy]) - m[:, :2] @ np.array([(width - 1) / 2, (height - 1) / 2])
    return m.astype(np.float32)


def _degrade(rng: np.random.Generator, image: U8) -> U8:
    """What a camera and a codec do to a picture: exposure, colour cast, fading, blur, low resolution, blocks, noise."""
    h, w = image.shape[:2]
    levels = np.arange(256, dtype=np.float32) / 255.0
    gain = math.exp(rng.normal(0, 0.2))
    gamma = math.exp(rng.normal(0, 0.2))
    lift = rng.normal(0, 0.05)
    cast = np.exp(rng.normal(0, 0.06, 3))
    curve = (levels[:, None] ** gamma * gain * cast + lift).clip(0, 1) * 255
    image = cv2.LUT(image, curve.astype(np.uint8)[None])
    draw = rng.random(6)
    if draw[0] < 0.4:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        keep = 0.0 if draw[0] < 0.04 else float(rng.uniform(0.2, 1.6))
        image = cv2.addWeighted(image, keep, grey, 1 - keep, 0)
    if draw[1] < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))
    if draw[2] < 0.15:
        f = float(rng.uniform(0.35, 0.8))
        small = cv2.resize(image, None, fx=f, fy=f, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    if draw[3] < 0.25:
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])[1]
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    if draw[4] < 0.1:
        noise = rng.normal(0, rng.uniform(2, 10), (h, w, 1)).astype(np.float32)
        image = (image + noise).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(image, np.uint8)


def example(data: Dataset, i: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[U8, U8]:
    """One augmented picture [height, width, 3] and its mask [height, width], both uint8."""
    image, mask = data.image(i), data.mask(i)
    m = _view(rng, *mask.shape, size)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.3 else cv2.BORDER_REFLECT_101  # letterbox bars, or more scene
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(image, m, size, flags=flags, borderMode=border)
    mask = cv2.warpAffine(mask, m, size, flags=flags, borderMode=border)
    return _degrade(rng, np.asarray(image, np.uint8)), np.asarray(mask, np.uint8)


def batch(data: Dataset, step: int, batch_size: int, seed: int, small: bool = False) -> tuple[U8, U8]:
    """The batch of `step`: pictures uint8 [n, h, w, 3] and masks uint8 [n, h, w]. Each epoch has its own order."""
    sizes = SMALL_SIZES if small else SIZES
    rng = np.random.default_rng([seed, step])
    per_epoch = len(data) // batch_size
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, 1 << 20, epoch]).permutation(len(data))
    size = sizes[int(rng.choice(len(sizes), p=[share for _, share in sizes]))][0]
    pairs = [example(data, int(i), size, rng) for i in order[place * batch_size : (place + 1) * batch_size]]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def batches(
    data: Dataset, first: int, last: int, batch_size: int, seed: int, small_steps: int = 0
) -> Iterator[tuple[U8, U8]]:
    """Batches of the steps first..last-1, in order; small ones before `small_steps`. At most four are made ahead."""
    with ThreadPoolExecutor(2) as pool:
        ahead: list[Future[tuple[U8, U8]]] = []
        for step in range(first, last):
            ahead.append(pool.submit(batch, data, step, batch_size, seed, step < small_steps))
            if len(ahead) > 4:
                yield ahead.pop(0).result()
        for future in ahead:
            yield future.result()
