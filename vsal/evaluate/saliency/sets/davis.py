"""Clips with the mask of the moving object in every frame: DAVIS 2016 and sets in its layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from vsal.evaluate.saliency.items import (
    DatasetBroken,
    Frame,
    Item,
    Reading,
    Truth,
    folder_of,
    video_fps,
    video_pictures,
    video_planes,
)


def davis(path: str) -> Reading:
    """Clips as NAME.mp4 with their masks as NAME_mask.mkv, frame by frame."""
    items = []
    for mask in sorted(folder_of(path).glob("*_mask.mkv")):
        clip = mask.with_name(mask.name.replace("_mask.mkv", ".mp4"))
        if not clip.is_file():
            raise DatasetBroken(f"{mask} has no {clip.name} beside it")
        items.append(Item(clip.stem, video_fps(clip), partial(_clip_with_masks, clip, mask)))
    return Reading("mask", items, "all")


def _clip_with_masks(clip: Path, mask: Path) -> Iterator[Frame]:
    for index, (picture, cover) in enumerate(zip(video_pictures(clip), video_planes(mask, "gray"), strict=False)):
        yield Frame(index, 0, picture, lambda cover=cover: Truth(mask=cover()))  # type: ignore[misc]
