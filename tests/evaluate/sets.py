"""Tiny data sets in the layouts in which the real ones are given out. Every frame has one fixation, on the subject."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WIDTH, HEIGHT, FRAMES = 64, 48, 6


def subject(index: int) -> tuple[int, int]:
    """Column and row of the subject's centre: it walks right."""
    return 12 + 7 * index, 20


def picture(index: int) -> np.ndarray:
    """RGB: grey with a red square at the subject."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    x, y = subject(index)
    cv2.rectangle(image, (x - 6, y - 6), (x + 6, y + 6), (230, 30, 30), -1)
    return image


def mask(index: int) -> np.ndarray:
    cover = np.zeros((HEIGHT, WIDTH), np.uint8)
    x, y = subject(index)
    cv2.rectangle(cover, (x - 6, y - 6), (x + 6, y + 6), 255, -1)
    return cover


def fixation(index: int) -> np.ndarray:
    points = np.zeros((HEIGHT, WIDTH), np.uint8)
    points[subject(index)[1], subject(index)[0]] = 255
    return points


def density(index: int) -> np.ndarray:
    blurred = cv2.GaussianBlur(fixation(index).astype(np.float32), (0, 0), 4)
    return (blurred / blurred.max() * 255).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def write_video(path: Path, frames: list[np.ndarray], codec: str, pix_fmt: str, fps: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "0"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], pix_fmt
        for frame in frames:
            layout = "rgb24" if frame.ndim == 3 else "gray16le" if frame.dtype == np.uint16 else "gray"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=layout)))
        container.mux(stream.encode(None))


def film(path: Path, fps: int = 24, codec: str = "libx264") -> None:
    write_video(path, [picture(i) for i in range(FRAMES)], codec, "yuv420p", fps)


def photographs(root: Path, images: str, masks: str, count: int = 3) -> Path:
    for i in range(count):
        write(root / images / f"p{i}.jpg", picture(i))
        write(root / masks / f"p{i}.png", mask(i))
    write(root / images / "without_a_mask.jpg", picture(0))
    return root


def parquet_masks(path: Path, count: int = 3) -> None:
    rows = [
        {
            "name": f"p{i}",
            "width": WIDTH,
            "height": HEIGHT,
            "image_webp": cv2.imencode(".webp", picture(i)[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(),
            "mask_png": cv2.imencode(".png", mask(i))[1].tobytes(),
        }
        for i in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def parquet_gaze(path: Path, count: int = 3) -> None:
    rows = [
        {
            "name": f"p{i}",
            "image_webp": cv2.imencode(".webp", picture(i)[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(),
            "fixation_x": [(subject(i)[0] + 0.5) / WIDTH],
            "fixation_y": [(subject(i)[1] + 0.5) / HEIGHT],
        }
        for i in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def davis(root: Path, names: tuple[str, ...] = ("bear", "dog")) -> Path:
    for name in names:
        film(root / f"{name}.mp4")
        write_video(root / f"{name}_mask.mkv", [mask(i) for i in range(FRAMES)], "ffv1", "gray")
    return root


def gaze_folder(folder: Path, stem: str, images: bool = True) -> None:
    for i in range(FRAMES):
        if images:
            write(folder / "images" / f"{stem}{i + 1:04}.png", picture(i))
        write(folder / "maps" / f"{stem}{i + 1:04}.png", density(i))
        write(folder / "fixation" / f"{stem}{i + 1:04}.png", fixation(i))


def dhf1k(root: Path, videos: bool) -> Path:
    for number in (1, 601, 602):
        gaze_folder(root / "annotation" / f"{number:04}", "", images=not videos)
        if videos:
            film(root / "video" / f"{number:03}.AVI", 30, "mpeg4")
    return root


def hollywood2(root: Path) -> Path:
    gaze_folder(root / "training" / "actionclipautoautotrain00001_1", "actionclipautoautotrain00001_")
    gaze_folder(root / "testing" / "actionclipautoautotest00001_1", "actionclipautoautotest00001_")
    return root


def ucf_sports(root: Path) -> Path:
    gaze_folder(root / "training" / "Diving-Side-001", "Diving-Side_001_")
    gaze_folder(root / "testing" / "Kicking-Front-003", "Kicking-Front_003_")
    return root


def ledov(root: Path, maps: bool = False) -> Path:
    from scipy.io import savemat

    for name in ("animal_alpaca01", "man_news02"):
        film(root / name / f"{name}.mp4", 25)
        rows = [[1.0, i * 40.0, 40.0, subject(i)[0] + 0.5, subject(i)[1] + 0.5] for i in range(FRAMES)]
        rows.append([2.0, 0.0, 40.0, -5.0, 10.0])  # outside the picture
        data = {"VideoSize": [WIDTH, HEIGHT], "VideoFrameRate": 25, "VideoFrames": FRAMES, "fixdata": np.array(rows)}
        savemat(str(root / name / "Data.mat"), {"Data": data})
        if maps:
            for i in range(FRAMES):
                write(root / name / "maps" / f"{i + 1:04}.png", density(i))
    return root


def gaze_clips(root: Path, names: tuple[str, ...] = ("Vidyo1", "Vidyo3", "Keiba"), frames: int = 36) -> Path:
    """Clips of 1.5 s, each with its subject in a place of its own, and four observers who follow it, a bit beside."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, name in enumerate(names):
        path = [(60 + 25 * number + 2 * i, 40 + 30 * number) for i in range(frames)]
        pictures = []
        for x, y in path:
            image = np.full((144, 192, 3), 90, np.uint8)
            cv2.rectangle(image, (x - 14, y - 14), (x + 14, y + 14), (230, 30, 30), -1)
            pictures.append(image)
        write_video(root / f"{name}.mp4", pictures, "libx264", "yuv420p")
        for observer in (1, 2, 3, 4):
            for i in range(0, frames, 6):
                x, y = path[i]
                at = {"x": (x + 3 * (observer % 3 - 1)) / 192, "y": (y + 2 * (observer % 2)) / 144}
                times = {"start_ms": round(i * 1000 / 24), "duration_ms": 240}
                rows.append({"clip": name, "observer": observer, **times, **at})
    pq.write_table(pa.Table.from_pylist(rows), root / "fixations.parquet")
    return root


def avimos(root: Path) -> Path:
    for name, part in (("0001", "Train"), ("0002", "Test")):
        film(root / "Videos" / f"{name}.mp4", 30)
        grey = [density(i).astype(np.uint16) << 8 for i in range(FRAMES)]
        write_video(root / f"Saliency{part}" / part / f"{name}.mp4", grey, "libx264", "gray10le", 30)
        points = [[[subject(i)[1], subject(i)[0]]] for i in range(FRAMES)]
        fixations = root / f"Fixations{part}" / part / name / "fixations.json"
        fixations.parent.mkdir(parents=True)
        fixations.write_text(json.dumps(points))
    (root / "TrainTestSplit.json").write_text(json.dumps({"train": ["0001"], "public_test": ["0002"]}))
    return root
