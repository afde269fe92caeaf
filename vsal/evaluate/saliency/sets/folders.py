"""What gaze sets given out as folders of frames, maps and fixations share.

Where a set names a validation or test part whose truth is there, only that is taken: never what models were trained on.
With `train` it is the other way round: what the set gives out to train on, and nothing of that part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from vsal.evaluate.saliency.items import (
    DatasetBroken,
    Frame,
    Item,
    Picture,
    Reading,
    Truth,
    fixations_of,
    folder_of,
    read_grey,
    read_picture,
    video_pictures,
)

PICTURES = {".png", ".jpg", ".jpeg", ".bmp"}
VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm"}
FILM_FPS = 24.0  # of Hollywood-2 and UCF Sports, given out as frames, as UNISAL states it


def films(path: str, train: bool) -> Reading:
    """The testing part of a set of shots given out as frames, one folder a shot; with `train` the training part."""
    folders, part = _part(path, train)
    return Reading("gaze", [folder_item(folder, None, FILM_FPS) for folder in folders], part)


def _part(path: str, train: bool) -> tuple[list[Path], str]:
    root = folder_of(path)
    name = "training" if train else "testing"
    part, other = root / name, root / ("testing" if train else "training")
    if part.is_dir():
        return with_truth(part), name
    if train:
        raise DatasetBroken(f"{root} has no folder `training`: what is not said to be for training is not trained on")
    if other.is_dir() or root.name == other.name:
        raise DatasetBroken(f"{root} has no folder `testing`: what is given out to learn from does not judge")
    return with_truth(root), "a folder that is neither `training` nor `testing`"


def with_truth(root: Path) -> list[Path]:
    """Folders with density maps; one level below the root, or two (training/NAME)."""
    return sorted(maps.parent for pattern in ("*/maps", "*/*/maps") for maps in root.glob(pattern) if maps.is_dir())


def number_of(path: Path) -> int:
    """The number that a file or folder is named by; -1 where it has another name."""
    return int(path.stem) if path.stem.isascii() and path.stem.isdigit() else -1


def pictures_of(folder: Path) -> list[Path]:
    """The picture files of a folder in order of their names; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def folder_item(folder: Path, video: Path | None, fps: float) -> Item:
    """A folder with `maps` and `fixation` as an item; its pictures lie in `images`, or are the frames of its video."""
    return Item(folder.name, fps, partial(_folder_frames, folder, video))


def _folder_frames(folder: Path, video: Path | None) -> Iterator[Frame]:
    """Frames of a folder with `maps`, `fixation` and either `images` or a video; they belong by their order."""
    densities = pictures_of(folder / "maps")
    fixations = pictures_of(folder / "fixation") or pictures_of(folder / "fixations")
    images = pictures_of(folder / "images") or pictures_of(folder / "frames")
    pictures: Iterator[Callable[[], Picture]]
    if images:
        pictures = (partial(read_picture, image) for image in images)
    elif video is not None:
        pictures = video_pictures(video)
    else:
        raise DatasetBroken(f"{folder} has neither a folder `images` nor a video that belongs to it")
    if fixations and len(fixations) != len(densities):
        raise DatasetBroken(f"{folder} has {len(densities)} maps and {len(fixations)} fixation maps: fetch it again")
    for index, (picture, density) in enumerate(zip(pictures, densities, strict=False)):
        yield Frame(index, 0, picture, partial(_folder_truth, density, fixations[index] if fixations else None))


def _folder_truth(density: Path, fixations: Path | None) -> Truth:
    points = None if fixations is None else fixations_of(read_grey(fixations))
    return Truth(fixations=points, density=read_grey(density).astype(np.float32))
