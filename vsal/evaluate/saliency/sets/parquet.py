"""Photographs with masks or fixations in Parquet files."""

from __future__ import annotations

import glob
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vsal.evaluate.saliency.items import DatasetBroken, Reading, Truth, decoded_picture, grey_of, still

GAZE_HOLD_OUT = 4  # one picture in so many of a gaze set is never trained on


def parquet(path: str) -> Reading:
    """Photographs in Parquet files with the columns name, image_webp, and mask_png or fixation_x and fixation_y.

    PATH is a file, a pattern, or a folder; of a folder that has val-*.parquet only these are taken, never what models
    were trained on. Of pictures with fixations only the quarter that no model is trained on is taken (`gaze_held_out`).
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
    part = ", ".join(file.name for file in files)
    if truth == "gaze":
        of, rows = len(rows), [row for row in rows if gaze_held_out(row["name"])]
        part = f"{len(rows)} of {of} pictures, the quarter by name that no model is trained on"
    items = [
        still(row["name"], partial(decoded_picture, row["image_webp"], row["name"]), partial(_row, row)) for row in rows
    ]
    return Reading(truth, items, part)


def gaze_held_out(name: str) -> bool:
    """Whether a picture of a gaze set is kept for judging: a fixed quarter, by its name alone."""
    return zlib.crc32(name.encode()) % GAZE_HOLD_OUT == 0


def _row(row: dict[str, Any]) -> Truth:
    if "mask_png" in row:
        return Truth(mask=grey_of(row["mask_png"], row["name"]))
    return Truth(fixations=np.array([row["fixation_x"], row["fixation_y"]], np.float32).T.reshape(-1, 2))
