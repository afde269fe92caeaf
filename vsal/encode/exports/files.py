"""Exports on disk or in a bucket: one file a title, or a folder of one file a map with an index."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable

from vsal import storage
from vsal.encode.exports.settings import ExportSettings
from vsal.manifest import MapRow, TitleManifest
from vsal.roi.grid import MACROBLOCK

INDEX = "index.csv"
_INDEX_COLUMNS = ("file", "map", "shot", "frame_start", "frame_end", "pts_start_us", "pts_end_us", "cols", "rows")
CTU = 32  # NVENC's unit for HEVC
CTU_SUFFIX = ".ctu32"


def write_lines(uri: str, lines: Iterable[str]) -> None:
    """One file, which appears when it is whole."""
    local = storage.staging_file(uri)
    try:
        with open(local, "w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        storage.publish(local, uri)
    except BaseException:
        storage.discard(local)
        raise


def write_folder(
    folder: str,
    ending: str,
    content: Callable[[MapRow, TitleManifest, ExportSettings], dict[str, bytes]],
    title: TitleManifest,
    settings: ExportSettings,
) -> list[str]:
    """One file a map, or several by suffix, and their index, written last; returns where they are."""
    written = []
    index = io.StringIO(newline="")
    table = csv.writer(index)
    table.writerow(_INDEX_COLUMNS)
    for row in title.iter_maps():
        for suffix, data in content(row, title, settings).items():
            name = f"{row.map:06d}{suffix}.{ending}"
            storage.write_bytes(storage.join(folder, name), data)
            written.append(storage.join(folder, name))
            cell = CTU if suffix == CTU_SUFFIX else MACROBLOCK
            size = -(-row.width // cell), -(-row.height // cell)
            times = (round(pts * row.time_base * 1_000_000) for pts in (row.pts_start, row.pts_end))
            table.writerow((name, row.map, row.shot, row.frame_start, row.frame_end, *times, *size))
    storage.write_bytes(storage.join(folder, INDEX), index.getvalue().encode())
    return [*written, storage.join(folder, INDEX)]
