"""Clips with the fixations of many observers: `NAME.mp4` and one `fixations.parquet`, as of Xu et al. (TIP 2017).

Columns of the Parquet file, or of a `fixations.csv` in its place: clip, observer (a number), start_ms, duration_ms, x
and y as shares of width and height; and `group` where clips are like each other (one scene, one programme), so that
statistics do not take them for independent. Samples of an eye tracker, as DIEM gives them out, have `time_ms` in place
of start and duration: each lasts until the observer's next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from vsal.evaluate.saliency.items import DatasetBroken, folder_of

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
FILES = ("fixations.parquet", "fixations.csv")
SAMPLE_S = 0.1  # that a sample of an eye tracker lasts at most: after it nobody knows
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
    root, looks = folder_of(path), read_looks(path)
    clips = []
    for name, (fixations, group) in looks.items():
        video = next((root / f"{name}{end}" for end in VIDEOS if (root / f"{name}{end}").is_file()), None)
        if video is None:
            raise DatasetBroken(f"{path} has fixations of {name}, and there is no {name}.mp4 beside them")
        clips.append(GazeClip(name, video, group, fixations))
    return clips


def read_looks(path: str) -> dict[str, tuple[Fixations, str]]:
    """Fixations and group of each clip, by its name, in order of names.

    Args:
        path: a folder with fixations.parquet or fixations.csv, or such a file of any name.

    Raises:
        DatasetBroken: there is no such file, or it holds no fixation in the layout above.
    """
    file = Path(path) if Path(path).is_file() else _file_in(folder_of(path))
    try:
        table = csv.read_csv(file) if file.suffix == ".csv" else pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetBroken(f"{file} is no {'CSV' if file.suffix == '.csv' else 'Parquet'} file: {error}") from error
    names = set(table.column_names)
    sampled = "time_ms" in names and not {"start_ms", "duration_ms"} & names
    needed = tuple(name for name in COLUMNS if name != "duration_ms") if sampled else COLUMNS
    if sampled:
        table = table.rename_columns(["start_ms" if name == "time_ms" else name for name in table.column_names])
    if not set(needed) <= set(table.column_names):
        raise DatasetBroken(f"{file} has the columns {', '.join(table.column_names)}; needed are {', '.join(COLUMNS)}")
    columns = {name: table[name].to_numpy() for name in needed}
    groups = (
        dict(zip(table["clip"].to_pylist(), table["group"].to_pylist(), strict=True))
        if ("group" in table.column_names)
        else {}
    )
    found = {}
    for name in sorted(set(columns["clip"])):
        of_clip = {key: values[columns["clip"] == name] for key, values in columns.items()}
        observer, start_s = of_clip["observer"].astype(np.int64), of_clip["start_ms"].astype(np.float64) / 1000
        end_s = _next_of(observer, start_s) if sampled else start_s + of_clip["duration_ms"].astype(np.float64) / 1000
        at = np.stack([of_clip["x"], of_clip["y"]], axis=1).astype(np.float32)
        found[str(name)] = Fixations(observer, start_s, end_s, at), groups.get(name) or group_of(str(name))
    if not found:
        raise DatasetBroken(f"{file} has no fixation")
    return found


def _file_in(root: Path) -> Path:
    file = next((root / name for name in FILES if (root / name).is_file()), None)
    if file is None:
        raise DatasetBroken(f"there is no {root / FILES[0]}: a gaze set is a folder of clips with {' or '.join(FILES)}")
    return file


def _next_of(observer: npt.NDArray[np.int64], time_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """When each sample ends: at the same observer's next, at most a tenth of a second later."""
    end_s = time_s + SAMPLE_S
    for one in np.unique(observer):
        mine = np.flatnonzero(observer == one)
        mine = mine[np.argsort(time_s[mine], kind="stable")]
        end_s[mine[:-1]] = np.minimum(end_s[mine[:-1]], time_s[mine[1:]])
    return end_s


def group_of(name: str) -> str:
    """The group of a clip of Xu et al. by its name; a clip that is like no other is a group of its own."""
    return next((group for group, pattern in ALIKE.items() if re.fullmatch(pattern, name)), name)
