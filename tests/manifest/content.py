"""Manifest files with content that can be told from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vsal import storage
from vsal.manifest import SCHEMA, ManifestWriter, MapRow, file_metadata, mapping_settings, maps_uri
from vsal.roi.qp import QpMapping, qp_offsets

SOURCE = storage.SourceInfo("/videos/park.mp4", 1_000_000, 1_700_000_000_000_000_000)
MODEL = ("student", "ab" * 32)
SETTINGS = {"sample_rate": 3.0, **mapping_settings(QpMapping())}


def grid(rows: int, cols: int, at: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A soft subject that moves with `at`; uint8 [rows, cols]."""
    y, x = np.mgrid[0:rows, 0:cols]
    distance = np.hypot((x + 0.5) / cols - 0.5 - 0.3 * np.sin(at), (y + 0.5) / rows - 0.5)
    return np.rint(255 / (1 + np.exp(20 * (distance - 0.25)))).astype(np.uint8)


def map_rows(
    maps: int,
    title_id: str = "park",
    size: tuple[int, int] = (320, 180),
    frames: int = 8,
    maps_a_shot: int = 5,
    mapping: QpMapping | None = None,
) -> Iterator[MapRow]:
    """Rows of a title of 24 frames a second, with equal maps and shots."""
    width, height = size
    cols, rows = -(-width // 16), -(-height // 16)
    for i in range(maps):
        saliency = grid(rows, cols, i / 3)
        yield MapRow(
            title_id=title_id,
            shot=i // maps_a_shot,
            map=i,
            frame_start=i * frames,
            frame_end=(i + 1) * frames,
            pts_start=i * frames * 512,
            pts_end=(i + 1) * frames * 512,
            time_base=Fraction(1, 12288),
            width=width,
            height=height,
            samples=1,
            motion=i % 7 / 2,
            saliency=saliency,
            qp_offset=qp_offsets(saliency.astype(np.float32) / np.float32(255), mapping),
        )


VIDEO: Mapping[str, Any] = {"codec": "h264"}


def write_title(
    out: str,
    rows: Sequence[MapRow] | Iterator[MapRow],
    title_id: str = "park",
    settings: Mapping[str, Any] = SETTINGS,
    source: storage.SourceInfo = SOURCE,
    video: Mapping[str, Any] = VIDEO,
) -> str:
    """Commit a title as `vsal prepare` does; its manifest file."""
    uri = maps_uri(out, title_id)
    path = storage.staging_file(uri)
    with ManifestWriter(path, file_metadata(source, *MODEL, settings, video, 2)) as writer:
        for row in rows:
            writer.append([row])
    storage.publish(path, uri)
    return uri


def tampered(
    path: str,
    change: Callable[[pa.Table], pa.Table] = lambda table: table,
    metadata: Mapping[str, str | None] | None = None,
    group: int = 256,
) -> str:
    """Rewrite a manifest file without the checks of the writer. Metadata of value None is dropped."""
    old = pq.read_metadata(path).metadata
    kept = {k: v for k, v in old.items() if k.startswith(b"vsal.")} | {
        k.encode(): v for k, v in (metadata or {}).items()
    }
    table = change(pq.read_table(path, schema=SCHEMA))
    table = table.replace_schema_metadata({k: v for k, v in kept.items() if v is not None})
    pq.write_table(table, path, row_group_size=group)
    return path


def with_column(name: str, values: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    """A change of one column, for `tampered`."""

    def change(table: pa.Table) -> pa.Table:
        index = SCHEMA.get_field_index(name)
        column = pa.array(values(table.column(name).to_pylist()), SCHEMA.field(name).type)
        return table.set_column(index, SCHEMA.field(name), column)

    return change
