"""LEDOV (Jiang et al., ECCV 2018): `NAME/Data.mat` and `NAME/NAME.mp4` or `.avi`, maps where made in `NAME/maps/`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vsal.evaluate.saliency.items import (
    DatasetBroken,
    Frame,
    Item,
    Reading,
    Truth,
    folder_of,
    read_grey,
    video_fps,
    video_pictures,
)
from vsal.evaluate.saliency.sets.folders import VIDEOS, number_of, pictures_of


def ledov(path: str) -> Reading:
    """LEDOV (Jiang et al., ECCV 2018): videos with lists of fixations in MATLAB files, which take SciPy to read."""
    items = []
    for data in sorted(folder_of(path).glob("*/Data.mat")):
        video = next((f for f in sorted(data.parent.iterdir()) if f.suffix.lower() in VIDEOS), None)
        if video is None:
            raise DatasetBroken(f"{data.parent} has no video beside Data.mat")
        items.append(Item(data.parent.name, video_fps(video), partial(_ledov_frames, data, video)))
    return Reading("gaze", items, "all: its folders do not say what is for training")


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
    maps = {number_of(file): file for file in pictures_of(data.parent / "maps")}  # numbered from 1
    for index, picture in enumerate(video_pictures(video)):
        start, end = index * frame_ms, (index + 1) * frame_ms
        now = rows[(rows[:, 1] < end) & (rows[:, 1] + rows[:, 2] > start)]
        points = (now[:, 3:5] / (width, height)).astype(np.float32)
        yield Frame(index, 0, picture, partial(_ledov_truth, points, maps.get(index + 1)))


def _ledov_truth(points: npt.NDArray[np.float32], density: Path | None) -> Truth:
    return Truth(fixations=points, density=None if density is None else read_grey(density).astype(np.float32))
