"""Published video saliency sets in the folders in which their authors give them out.

| set | layout below the root |
|---|---|
| DHF1K | `annotation/0601/{maps,fixation}/0001.png`, frames in `annotation/0601/images/` or videos `video/601.AVI` |
| Hollywood-2, UCF Sports | `testing/NAME/{images,maps,fixation}/*.png` (and `training/`) |
| LEDOV | `NAME/Data.mat` and `NAME/NAME.mp4` or `.avi`, maps where made in `NAME/maps/` |
| AViMoS | `Videos/NAME.mp4`, `SaliencyTest/Test/NAME.mp4`, `FixationsTest/Test/NAME/fixations.json`, and the split |

Where a set names a validation or test part whose truth is there, only that is taken: never what models were trained on.
With `train` it is the other way round: what the set gives out to train on, and nothing of that part.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vsal.evaluate.items import (
    Bytes,
    DatasetBroken,
    Frame,
    Item,
    Truth,
    fixations_of,
    folder_of,
    read_grey,
    read_rgb,
    video_fps,
    video_frames,
)

Gaze = tuple[str, list[Item]]

PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}
VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm"}
DHF1K_VALIDATION = range(601, 701)
DHF1K_FPS, FILM_FPS = 30.0, 24.0  # of sets given out as frames, as their authors and UNISAL state them


def dhf1k(path: str, train: bool = False) -> Gaze:
    """DHF1K (Wang et al., CVPR 2018): its validation videos 601 to 700 if they are there, else all with truth."""
    root = folder_of(path)
    folders = _with_truth(root / "annotation" if (root / "annotation").is_dir() else root)
    validation = [f for f in folders if f.name.isdigit() and int(f.name) in DHF1K_VALIDATION]
    videos = {_number(file): file for file in root.rglob("*") if file.suffix.lower() in VIDEOS}
    items = []
    for folder in [f for f in folders if f not in validation] if train else validation or folders:
        video = videos.get(_number(folder))
        items.append(_item(folder, video, DHF1K_FPS if video is None else video_fps(video)))
    return "gaze", items


def hollywood2(path: str, train: bool = False) -> Gaze:
    """Hollywood-2 with the gaze of Mathe and Sminchisescu (TPAMI 2015), one folder a shot: the testing part."""
    return "gaze", [_item(folder, None, FILM_FPS) for folder in _part(path, train)]


def ucf_sports(path: str, train: bool = False) -> Gaze:
    """UCF Sports with the gaze of Mathe and Sminchisescu (TPAMI 2015): the testing part."""
    return "gaze", [_item(folder, None, FILM_FPS) for folder in _part(path, train)]


def ledov(path: str) -> Gaze:
    """LEDOV (Jiang et al., ECCV 2018): videos with lists of fixations in MATLAB files, which take SciPy to read."""
    items = []
    for data in sorted(folder_of(path).glob("*/Data.mat")):
        video = next((f for f in sorted(data.parent.iterdir()) if f.suffix.lower() in VIDEOS), None)
        if video is None:
            raise DatasetBroken(f"{data.parent} has no video beside Data.mat")
        items.append(Item(data.parent.name, video_fps(video), partial(_ledov_frames, data, video)))
    return "gaze", items


def avimos(path: str, train: bool = False) -> Gaze:
    """AViMoS (Moskalenko et al., ECCV Workshops 2024): its test videos if their truth is there, else all with truth."""
    root = folder_of(path)
    truths = {file.parent.name: file for file in sorted(root.rglob("fixations.json"))}
    split = root / "TrainTestSplit.json"
    if train and not split.is_file():
        raise DatasetBroken(f"{split} is not there: what is not said to be for training is not trained on")
    if split.is_file():
        parts = json.loads(split.read_text(encoding="utf-8"))
        test = {Path(name).stem for part, names in parts.items() if "test" in part.lower() for name in names}
        judged = {name: file for name, file in truths.items() if name in test}
        truths = {n: file for n, file in truths.items() if n not in judged} if train else judged or truths
    films: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for file in sorted(root.rglob("*.mp4")):
        is_truth = any(part.lower().startswith("saliency") for part in file.relative_to(root).parts[:-1])
        films[is_truth].setdefault(file.stem, file)
    items = []
    for name, fixations in truths.items():
        if name not in films[False] or name not in films[True]:
            raise DatasetBroken(f"{name} of {fixations} has no video or no saliency video below {root}")
        video, density = films[False][name], films[True][name]
        items.append(Item(name, video_fps(video), partial(_avimos_frames, video, density, fixations)))
    return "gaze", items


def _part(path: str, train: bool) -> list[Path]:
    root = folder_of(path)
    part = root / ("training" if train else "testing")
    if train and not part.is_dir():
        raise DatasetBroken(f"{root} has no folder `training`: what is not said to be for training is not trained on")
    return _with_truth(part if part.is_dir() else root)


def _with_truth(root: Path) -> list[Path]:
    """Folders with density maps; one level below the root, or two (training/NAME)."""
    return sorted(maps.parent for pattern in ("*/maps", "*/*/maps") for maps in root.glob(pattern) if maps.is_dir())


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isascii() and path.stem.isdigit() else -1


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def _item(folder: Path, video: Path | None, fps: float) -> Item:
    return Item(folder.name, fps, partial(_folder_frames, folder, video))


def _folder_frames(folder: Path, video: Path | None) -> Iterator[Frame]:
    """Frames of a folder with `maps`, `fixation` and either `images` or a video; they belong by their order."""
    densities = _pictures(folder / "maps")
    fixations = _pictures(folder / "fixation") or _pictures(folder / "fixations")
    images = _pictures(folder / "images") or _pictures(folder / "frames")
    pictures: Iterator[Callable[[], Bytes]]
    if images:
        pictures = (partial(read_rgb, image) for image in images)
    elif video is not None:
        pictures = video_frames(video)
    else:
        raise DatasetBroken(f"{folder} has neither a folder `images` nor a video that belongs to it")
    if fixations and len(fixations) != len(densities):
        raise DatasetBroken(f"{folder} has {len(densities)} maps and {len(fixations)} fixation maps: fetch it again")
    for index, (picture, density) in enumerate(zip(pictures, densities, strict=False)):
        yield Frame(index, 0, picture, partial(_folder_truth, density, fixations[index] if fixations else None))


def _folder_truth(density: Path, fixations: Path | None) -> Truth:
    points = None if fixations is None else fixations_of(read_grey(fixations))
    return Truth(fixations=points, density=read_grey(density).astype(np.float32))


def _ledov_frames(data: Path, video: Path) -> Iterator[Frame]:
    """LEDOV's list of fixations is (.., start in ms, duration in ms, x, y), of all observers one after the other."""
    try:
        scipy_io: Any = importlib.import_module("scipy.io")
    except ImportError:
        raise DatasetBroken("LEDOV keeps its fixations in MATLAB files: `pip install scipy` to read them") from None
    record = scipy_io.loadmat(str(data), squeeze_me=True, struct_as_record=False)["Data"]
    width, height = (float(size) for size in record.VideoSize)
    frame_ms = 1000.0 / float(record.VideoFrameRate)
    rows: npt.NDArray[np.float64] = np.atleast_2d(np.asarray(record.fixdata, np.float64))
    inside = (rows[:, 3] > 0) & (rows[:, 3] < width) & (rows[:, 4] > 0) & (rows[:, 4] < height)
    rows = rows[inside]
    maps = {_number(file): file for file in _pictures(data.parent / "maps")}  # numbered from 1
    for index, picture in enumerate(video_frames(video)):
        start, end = index * frame_ms, (index + 1) * frame_ms
        now = rows[(rows[:, 1] < end) & (rows[:, 1] + rows[:, 2] > start)]
        points = (now[:, 3:5] / (width, height)).astype(np.float32)
        yield Frame(index, 0, picture, partial(_ledov_truth, points, maps.get(index + 1)))


def _ledov_truth(points: npt.NDArray[np.float32], density: Path | None) -> Truth:
    return Truth(fixations=points, density=None if density is None else read_grey(density).astype(np.float32))


def _avimos_frames(video: Path, density: Path, fixations: Path) -> Iterator[Frame]:
    """AViMoS has, for each frame, fixations as [row, column] of a pixel, and a frame of a 10-bit saliency video."""
    points = json.loads(fixations.read_text(encoding="utf-8"))
    for index, (picture, grey, pixels) in enumerate(
        zip_longest(video_frames(video), video_frames(density, "gray16le"), points)
    ):
        if picture is None:
            return
        silent = grey is None or pixels is None
        yield Frame(index, 0, picture, _nothing if silent else partial(_avimos_truth, grey, pixels))


def _avimos_truth(grey: Callable[[], npt.NDArray[np.integer]], pixels: list[list[float]]) -> Truth:
    density = grey().astype(np.float32)
    height, width = density.shape
    at = np.array(pixels, np.float32).reshape(-1, 2)
    points = ((at[:, ::-1] + 0.5) / np.array([width, height], np.float32)).astype(np.float32)
    return Truth(fixations=points, density=density - density.min())


def _nothing() -> None:
    return None
