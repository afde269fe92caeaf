"""Data sets by the name KIND:PATH: photographs with masks or fixations, clips with masks, and published gaze sets."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from vsal.errors import SettingsError
from vsal.evaluate.gaze import avimos, dhf1k, hollywood2, ledov, ucf_sports
from vsal.evaluate.items import (
    Dataset,
    DatasetBroken,
    Frame,
    Item,
    Truth,
    folder_of,
    grey_of,
    read_grey,
    read_rgb,
    rgb_of,
    still,
    video_fps,
    video_frames,
)
from vsal.video.synthetic import SyntheticTitle, synthetic_title

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MASK_WORDS = ("mask", "gt", "ground")  # of the folder of masks: DUTS-TE-Mask, ground_truth_mask, GT
SYNTHETIC_SEED = 90_000  # far from the seeds with which titles are rendered elsewhere: nothing is trained on these


def open_dataset(name: str) -> Dataset:
    """A data set by its name.

    Args:
        name: KIND:PATH, where KIND is one of `KINDS` and PATH its root; for synthetic titles their number.

    Raises:
        SettingsError: there is no such kind.
        DatasetBroken: the path does not hold a data set in that layout.
    """
    kind, colon, path = name.partition(":")
    if not colon or kind not in KINDS:
        raise SettingsError(f"a data set is KIND:PATH with KIND one of {', '.join(KINDS)}, not {name!r}")
    return _dataset(name, *KINDS[kind](path))


def open_training_part(name: str) -> Dataset:
    """What a published gaze set gives out to train on; nothing of it is in `open_dataset` of the same name.

    Args:
        name: KIND:PATH, where KIND is one of `TRAINING`.

    Raises:
        SettingsError: there is no such kind, or it names no part for training.
        DatasetBroken: the path does not hold a data set in that layout, or nothing of it is for training.
    """
    kind, colon, path = name.partition(":")
    if not colon or kind not in TRAINING:
        raise SettingsError(f"a set to train on is KIND:PATH with KIND one of {', '.join(TRAINING)}, not {name!r}")
    return _dataset(name, *TRAINING[kind](path, train=True))


def _dataset(name: str, truth: str, items: list[Item]) -> Dataset:
    kind, _, path = name.partition(":")
    if not items:
        raise DatasetBroken(f"{path} holds nothing in the layout of {kind}: see the data sets in docs/models.md")
    return Dataset(name, truth, sorted(items, key=lambda item: item.name))


def masks(path: str) -> tuple[str, list[Item]]:
    """Photographs and masks in two folders below PATH, as DUTS and ECSSD have them: files of the same stem belong."""
    found: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for file in sorted(folder_of(path).rglob("*")):
        if file.suffix.lower() in PICTURES:
            is_mask = any(word in file.parent.name.lower() for word in MASK_WORDS)
            found[is_mask].setdefault(file.stem, file)
    items = []
    for stem in sorted(found[False].keys() & found[True].keys()):
        items.append(still(stem, partial(read_rgb, found[False][stem]), partial(_mask_file, found[True][stem])))
    return "mask", items


def _mask_file(path: Path) -> Truth:
    return Truth(mask=read_grey(path))


def parquet(path: str) -> tuple[str, list[Item]]:
    """Photographs in Parquet files with the columns name, image_webp, and mask_png or fixation_x and fixation_y.

    PATH is a file, a pattern, or a folder; of a folder that has val-*.parquet only these are taken, never what models
    were trained on.
    """
    if Path(path).is_dir():
        files = sorted(Path(path).glob("val-*.parquet")) or sorted(Path(path).glob("*.parquet"))
    else:
        files = [Path(file) for file in sorted(glob.glob(path))]
    if not files:
        raise DatasetBroken(f"there is no Parquet file at {path}")
    columns = set(pq.read_schema(files[0]).names)
    truth = "mask" if "mask_png" in columns else "gaze"
    wanted = ["name", "image_webp", *(["mask_png"] if truth == "mask" else ["fixation_x", "fixation_y"])]
    if not set(wanted) <= columns:
        raise DatasetBroken(f"{files[0]} has the columns {', '.join(sorted(columns))}; needed are {', '.join(wanted)}")
    rows = [row for file in files for row in pq.read_table(file, columns=wanted).to_pylist()]
    return truth, [
        still(row["name"], partial(rgb_of, row["image_webp"], row["name"]), partial(_row, row)) for row in rows
    ]


def _row(row: dict[str, Any]) -> Truth:
    if "mask_png" in row:
        return Truth(mask=grey_of(row["mask_png"], row["name"]))
    return Truth(fixations=np.array([row["fixation_x"], row["fixation_y"]], np.float32).T.reshape(-1, 2))


def davis(path: str) -> tuple[str, list[Item]]:
    """Clips as NAME.mp4 with their masks as NAME_mask.mkv, frame by frame."""
    items = []
    for mask in sorted(folder_of(path).glob("*_mask.mkv")):
        clip = mask.with_name(mask.name.replace("_mask.mkv", ".mp4"))
        if not clip.is_file():
            raise DatasetBroken(f"{mask} has no {clip.name} beside it")
        items.append(Item(clip.stem, video_fps(clip), partial(_clip_with_masks, clip, mask)))
    return "mask", items


def _clip_with_masks(clip: Path, mask: Path) -> Iterator[Frame]:
    for index, (picture, cover) in enumerate(zip(video_frames(clip), video_frames(mask, "gray"), strict=False)):
        yield Frame(index, 0, picture, lambda cover=cover: Truth(mask=cover()))  # type: ignore[misc]


def synthetic(path: str) -> tuple[str, list[Item]]:
    """Titles of `vsal.video.synthetic`, 854x480, 12 s and 6 shots each; PATH is how many."""
    if not (path.isascii() and path.isdigit() and 1 <= int(path) <= 1000):
        raise DatasetBroken(f"synthetic:N takes a number of titles from 1 to 1000, not {path!r}")
    titles = [synthetic_title(854, 480, 24, shots=6, seconds=12, seed=SYNTHETIC_SEED + i) for i in range(int(path))]
    return "mask", [Item(f"synthetic-{i:03}", float(t.fps), partial(_rendered, t)) for i, t in enumerate(titles)]


def _rendered(title: SyntheticTitle) -> Iterator[Frame]:
    shots = iter([*title.shots, None])
    shot = next(shots)
    for index, i420 in enumerate(title.frames()):
        while shot is not None and index >= shot.end:
            shot = next(shots)
        # The title draws every picture into one buffer.
        rgb = np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420), np.uint8)
        cover = partial(_covered, title, index)
        yield Frame(index, 0 if shot is None else shot.index, lambda rgb=rgb: rgb, cover)  # type: ignore[misc]


def _covered(title: SyntheticTitle, index: int) -> Truth:
    return Truth(mask=np.rint(title.mask(index) * 255).astype(np.uint8))


KINDS: dict[str, Callable[[str], tuple[str, list[Item]]]] = {
    "masks": masks,
    "parquet": parquet,
    "davis": davis,
    "synthetic": synthetic,
    "dhf1k": dhf1k,
    "hollywood2": hollywood2,
    "ucf-sports": ucf_sports,
    "ledov": ledov,
    "avimos": avimos,
}
# LEDOV's folders do not say what is for training.
TRAINING: dict[str, Callable[..., tuple[str, list[Item]]]] = {
    "dhf1k": dhf1k,
    "hollywood2": hollywood2,
    "ucf-sports": ucf_sports,
    "avimos": avimos,
}
