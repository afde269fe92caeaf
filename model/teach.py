"""Soft labels of the two teachers, made once: what a picture shows as objects, and where it would be looked at.

    python -m model.teach objects --teacher u2netp.onnx --pictures osie.parquet --out LABELS/objects.parquet
    python -m model.teach gaze --teacher fastgaze.onnx --pictures DUTS/train-*.parquet --out LABELS/gaze.parquet

A file of labels has the columns `name` and `label_png` (uint8 grey, LABEL_LONG_SIDE pixels on the long side); a run
that is broken off goes on where it stopped. Labels of both kinds are read by `model.data`.

Gaze is kept as a density, not as a rank: a value is how many times denser than on average people look there, over
GAZE_FULL. So a picture with nothing to look at has a low label everywhere, where a label stretched to its maximum would
invent a subject.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vsal.saliency.prior import FIXED_PRIOR

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

LABEL_LONG_SIDE = 160
GAZE_FULL = 10.0  # a density so many times the mean is 1: about the peak of a picture with one clear subject
GAZE_WIDTH = 640  # what the gaze teacher was trained at; at half of it its NSS on OSIE falls from 1.7 to 1.2
FIXATION_SIGMA = 0.03  # of a fixation's blur, in picture widths: about one degree of sight in OSIE's set-up
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.94, 116.78, 123.68)

SCHEMA = pa.schema([("name", pa.string()), ("label_png", pa.binary())])


def relative_density(weights: F32) -> F32:
    """Non-negative weights [h, w] as a share of GAZE_FULL times their mean, cut at 1."""
    mean = float(weights.mean())
    return np.asarray((weights / (mean * GAZE_FULL)).clip(0, 1) if mean > 0 else weights * 0, np.float32)


def fixation_label(x: list[float], y: list[float], size: tuple[int, int]) -> F32:
    """Recorded fixations (fractions of the picture) as a label [h, w] in 0..1; size is (width, height)."""
    width, height = size
    points = np.zeros((height, width), np.float32)
    columns = (np.array(x) * width).astype(int).clip(0, width - 1)
    rows = (np.array(y) * height).astype(int).clip(0, height - 1)
    np.add.at(points, (rows, columns), 1.0)
    return relative_density(np.asarray(cv2.GaussianBlur(points, (0, 0), FIXATION_SIGMA * width), np.float32))


def _session(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def objects_teacher(path: str) -> Callable[[U8], F32]:
    """U2-Net-p's mask of a picture, uint8 [h, w, 3] RGB -> [320, 320] in 0..1 (ImageNet's normalisation)."""
    session = _session(path)
    name, first = session.get_inputs()[0].name, session.get_outputs()[0].name

    def teach(image: U8) -> F32:
        x = cv2.resize(image, (320, 320), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
        x = ((x - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)).astype(np.float32)
        return np.asarray(session.run([first], {name: x.transpose(2, 0, 1)[None]})[0][0, 0], np.float32)

    return teach


def gaze_teacher(path: str) -> Callable[[U8], F32]:
    """The gaze model's density of a picture, uint8 [h, w, 3] RGB -> [h / 16, w / 16] in 0..1 at 640 wide."""
    session = _session(path)
    name = session.get_inputs()[0].name

    def teach(image: U8) -> F32:
        height = max(1, round(GAZE_WIDTH * image.shape[0] / image.shape[1] / 16)) * 16
        shrinks = image.shape[1] > GAZE_WIDTH
        x = cv2.resize(image, (GAZE_WIDTH, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        x = x[:, :, ::-1].astype(np.float32) - np.array(CAFFE_MEAN_BGR, np.float32)
        log_density = session.run(None, {name: np.ascontiguousarray(x.transpose(2, 0, 1))[None]})[0][0, 0]
        return relative_density(np.exp(2 * (log_density - log_density.max())) * FIXED_PRIOR.density(*log_density.shape))

    return teach


def pictures(paths: list[Path]) -> Iterator[tuple[str, U8]]:
    """(name, uint8 [h, w, 3] RGB) of every row of Parquet files with the columns name and image_webp."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(50, columns=["name", "image_webp"]):
            for row in batch.to_pylist():
                bgr = cv2.imdecode(np.frombuffer(row["image_webp"], np.uint8), cv2.IMREAD_COLOR)
                yield row["name"], np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def as_label(values: F32, width: int, height: int) -> U8:
    """Values in 0..1 as uint8, resized to the picture's shape with LABEL_LONG_SIDE on the long side."""
    scale = LABEL_LONG_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrinks = size[0] < values.shape[1]
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray((small * 255 + 0.5).clip(0, 255), np.uint8)


def make_labels(teach: Callable[[U8], F32], paths: list[Path], out: Path, every: int) -> int:
    """Label every `every`-th picture into `out`; returns how many labels it holds. Takes up a broken run."""
    rows: list[dict[str, object]] = pq.read_table(out).to_pylist() if out.exists() else []
    done = {row["name"] for row in rows}
    for i, (name, image) in enumerate(pictures(paths)):
        if i % every or name in done:
            continue
        label = as_label(teach(image), image.shape[1], image.shape[0])
        rows.append({"name": name, "label_png": cv2.imencode(".png", label)[1].tobytes()})
        if len(rows) % 200 == 0:
            _write(rows, out)
            print(f"{len(rows)} labels", flush=True)
    _write(rows, out)
    return len(rows)


def _write(rows: list[dict[str, object]], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), part)
    part.replace(out)


def read_labels(path: Path) -> dict[str, U8]:
    """Labels of a file by the picture's name, uint8 [h, w]."""
    table = pq.read_table(path)
    encoded = zip(table["name"].to_pylist(), table["label_png"].to_pylist(), strict=True)
    return {
        name: np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
        for name, png in encoded
    }


def main() -> None:
    """Parse the command line and label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["objects", "gaze"])
    parser.add_argument("--teacher", required=True, help="the teacher's ONNX file")
    parser.add_argument(
        "--pictures", required=True, nargs="+", type=Path, help="Parquet files with name and image_webp"
    )
    parser.add_argument("--out", required=True, type=Path, help="Parquet file of the labels")
    parser.add_argument("--every", type=int, default=1, help="label every N-th picture")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    teach = (objects_teacher if args.kind == "objects" else gaze_teacher)(args.teacher)
    print(f"{args.out}: {make_labels(teach, args.pictures, args.out, args.every)} labels")


if __name__ == "__main__":
    main()
