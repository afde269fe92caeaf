"""Manifests made for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from maps import blob, rows_of, steps

from vsal import storage
from vsal.encode.picture import read_picture
from vsal.encode.source import frames
from vsal.manifest import ManifestWriter, file_metadata, maps_uri


def write_manifest(out: Path, source: str, shot_frames: int = 24, map_frames: int = 8, flat: bool = False) -> str:
    """A manifest of a source with a subject that wanders, and returns the title's id."""
    picture = read_picture(source)
    info = picture.info
    times = [frame.pts for frame in frames(picture)]
    rows, cols = -(-info.height // 16), -(-info.width // 16)
    count = -(-len(times) // map_frames)
    radius = max(2.0, rows / 5)
    grids = [steps(blob(rows, cols, rows * 0.5, cols * (0.2 + 0.6 * (i % 8) / 7), radius)) for i in range(count)]
    if flat:
        grids = [np.zeros_like(grid) for grid in grids]
    shots = [i * map_frames // shot_frames for i in range(count)]
    found = rows_of(grids, info.width, info.height, map_frames, info.time_base, shots=shots)
    step = info.frame_duration
    ends = [*times, times[-1] + step]
    import dataclasses

    found = [
        dataclasses.replace(
            row, title_id="title", frame_end=min(row.frame_end, len(times)),
            pts_start=ends[row.frame_start], pts_end=ends[min(row.frame_end, len(times))],
        )
        for row in found
    ]  # fmt: skip
    uri = maps_uri(str(out), "title")
    local = storage.staging_file(uri)
    settings = {"qp_mapping": "rd", "qp_floor": 0.2, "qp_limit": 6, "qp_offset": 6}
    writer = ManifestWriter(local, file_metadata(storage.stat(source), "none", "0" * 64, settings, info.to_json()))
    writer.append(found)
    writer.close()
    storage.publish(local, uri)
    return "title"
