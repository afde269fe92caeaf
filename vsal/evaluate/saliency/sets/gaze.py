"""Clips with the fixations of many observers: `NAME.mp4` and one `fixations.parquet`, as of Xu et al. (TIP 2017).

Columns of the Parquet file: clip, observer (a number), start_ms, duration_ms, x and y as shares of width and height;
and `group` where clips are like each other (one scene, one programme), so that statistics do not take them for
independent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vsal.evaluate.saliency.items import DatasetBroken, folder_of

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
COLUMNS = ("clip", "observer", "start_ms", "duration_ms", "x", "y")
# Of Xu et al.'s clips, by name: one broadcast, one conference room, one series of talking heads.
ALIKE = {"Basketball": r"Basketball.*", "Vidyo": r"Vidyo.*", "Heads": r"Male|Female|Simo|Yan"}


@dataclass(frozen=True, slots=True)
class Fixations:
    """Of one clip, k of them.

    Attributes:
        observer: int64 [k].
        start_s, end_s: float64 [k], seconds of the clip's time.
        at: float32 [k, 2], x and y as shares of width and height.
    """

    observer: npt.NDArray[np.int64]
    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    at: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GazeClip:
    """A clip and who looked where in it; clips of one `group` are like each other."""

    name: str
    path: Path
    group: str
    fixations: Fixations


def open_gaze_clips(path: str) -> list[GazeClip]:
    """The clips of a folder, in order of their names.

    Raises:
        DatasetBroken: there is no such folder, no fixation, or a clip without its video.
    """
    root = folder_of(path)
    file = root / "fixations.parquet"
    if not file.is_file():
        raise DatasetBroken(f"there is no {file}: a gaze set is a folder of clips with fixations.parquet")
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetBroken(f"{file} is no Parquet file: {error}") from error
    if not set(COLUMNS) <= set(table.column_names):
        raise DatasetBroken(f"{file} has the columns {', '.join(table.column_names)}; needed are {', '.join(COLUMNS)}")
    columns = {name: table[name].to_numpy() for name in COLUMNS}
    groups = (
        dict(zip(table["clip"].to_pylist(), table["group"].to_pylist(), strict=True))
        if ("group" in table.column_names)
        else {}
    )
    clips = []
    for name in sorted(set(columns["clip"])):
        video = next((root / f"{name}{end}" for end in VIDEOS if (root / f"{name}{end}").is_file()), None)
        if video is None:
            raise DatasetBroken(f"{file} has fixations of {name}, and there is no {name}.mp4 beside it")
        of_clip = {key: values[columns["clip"] == name] for key, values in columns.items()}
        start_s = of_clip["start_ms"].astype(np.float64) / 1000
        fixations = Fixations(
            of_clip["observer"].astype(np.int64),
            start_s,
            start_s + of_clip["duration_ms"].astype(np.float64) / 1000,
            np.stack([of_clip["x"], of_clip["y"]], axis=1).astype(np.float32),
        )
        clips.append(GazeClip(str(name), video, groups.get(name) or group_of(str(name)), fixations))
    if not clips:
        raise DatasetBroken(f"{file} has no fixation")
    return clips


def group_of(name: str) -> str:
    """The group of a clip of Xu et al. by its name; a clip that is like no other is a group of its own."""
    return next((group for group, pattern in ALIKE.items() if re.fullmatch(pattern, name)), name)
