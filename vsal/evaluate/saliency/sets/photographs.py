"""Photographs and their masks in two folders, as DUTS and ECSSD are given out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vsal.evaluate.saliency.items import Reading, Truth, folder_of, read_grey, read_picture, still

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MASK_WORDS = ("mask", "gt", "ground")  # of the folder of masks: DUTS-TE-Mask, ground_truth_mask, GT


def masks(path: str) -> Reading:
    """Photographs and masks in two folders below PATH, as DUTS and ECSSD have them: files of the same stem belong."""
    found: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for file in sorted(folder_of(path).rglob("*")):
        if file.suffix.lower() in PICTURES:
            is_mask = any(word in file.parent.name.lower() for word in MASK_WORDS)
            found[is_mask].setdefault(file.stem, file)
    items = []
    for stem in sorted(found[False].keys() & found[True].keys()):
        items.append(still(stem, partial(read_picture, found[False][stem]), partial(_mask_file, found[True][stem])))
    return Reading("mask", items, "all")


def _mask_file(path: Path) -> Truth:
    return Truth(mask=read_grey(path))
