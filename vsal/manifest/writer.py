"""Writing a title's manifest file, map by map, in flat memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vsal import storage
from vsal.manifest.schema import (
    BLOCKS_PER_GROUP,
    KEY_FRAMES,
    KEY_MAPS,
    KEY_SHOTS,
    MAPS_PER_GROUP,
    SCHEMA,
    MapRow,
    written_by,
)

# On the maps of real films: 4 % smaller than level 3 at a third more time; 13 and above take several times as long.
ZSTD_LEVEL = 6
PAGE_BYTES = 4 * 1024 * 1024  # a row group's grids in one page: it is read whole anyway, and compresses better


class ManifestWriter:
    """Writes one title's maps to a local file, which a caller then publishes.

    Rows come in order and leave no gap: each begins with the frame after the one before. At most 256 of them are held
    until they form a row group, fewer where pictures are large, so memory does not grow with the title.

    Used as a context manager it closes after the block, and abandons the file when the block raises.
    """

    def __init__(self, path: str, metadata: Mapping[str, str]) -> None:
        """Begin a file.

        Args:
            path: local, as `storage.staging_file` gives it.
            metadata: `file_metadata`; versions and counts of frames, shots and maps are added.

        Raises:
            OSError: the file cannot be written.
        """
        self.path = path
        self._metadata = dict(metadata)
        self._open: list[MapRow] = []
        self._blocks = 0
        self._last: MapRow | None = None
        self._shots = 0
        self._closed = False
        self._writer = pq.ParquetWriter(
            path,
            SCHEMA,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            data_page_size=PAGE_BYTES,
            # Parquet has no bytes: a uint8 is an int32 unless it is an index into a dictionary of at most 256 values.
            use_dictionary=["title_id", "saliency.list.element", "qp_offset.list.element"],
            # Readers skip row groups by these columns; a range of saliencies says nothing.
            write_statistics=[name for name in SCHEMA.names if name not in ("saliency", "qp_offset")],
            sorting_columns=[pq.SortingColumn(SCHEMA.get_field_index("frame_start"))],
            write_page_checksum=True,
        )

    @property
    def frames(self) -> int:
        """Frames covered so far."""
        return 0 if self._last is None else self._last.frame_end

    @property
    def shots(self) -> int:
        """Shots seen so far."""
        return self._shots

    @property
    def maps(self) -> int:
        """Maps taken so far."""
        return 0 if self._last is None else self._last.map + 1

    def append(self, rows: Sequence[MapRow]) -> None:
        """Take the next maps of the title.

        Raises:
            ValueError: a map leaves a gap, overlaps, is out of order, or its grids do not fit its picture.
            OSError: the file cannot be written.
        """
        for row in rows:
            self._check(row)
            blocks = row.rows * row.cols
            if self._open and self._blocks + blocks > BLOCKS_PER_GROUP:
                self._flush()
            self._shots += self._last is None or row.shot != self._last.shot
            self._last = row
            self._open.append(row)
            self._blocks += blocks
            if len(self._open) == MAPS_PER_GROUP:
                self._flush()

    def _check(self, row: MapRow) -> None:
        here = f"map {row.map} of {row.title_id}"
        last = self._last
        if last is not None and row.title_id != last.title_id:
            raise ValueError(f"{here} in the manifest file of {last.title_id}")
        if row.map != self.maps or row.frame_start != self.frames or row.frame_end <= row.frame_start:
            raise ValueError(
                f"{here} covers frames {row.frame_start} to {row.frame_end}: "
                f"map {self.maps} has to begin at frame {self.frames} and to hold a frame"
            )
        expected = (0,) if last is None else (last.shot, last.shot + 1)
        if row.shot not in expected:
            raise ValueError(f"{here} belongs to shot {row.shot}: expected {' or '.join(map(str, expected))}")
        for name, grid, kind in (("saliency", row.saliency, np.uint8), ("qp_offset", row.qp_offset, np.int8)):
            if grid.shape != (row.rows, row.cols) or grid.dtype != kind:
                raise ValueError(
                    f"{here}: {name} is {grid.dtype} {list(grid.shape)}, but a picture of {row.width}x{row.height} "
                    f"needs {np.dtype(kind)} [{row.rows}, {row.cols}]"
                )

    def _flush(self) -> None:
        if self._open:
            batch = record_batch(self._open)
            self._writer.write_batch(batch, row_group_size=len(self._open))
            self._open.clear()
            self._blocks = 0

    def close(self, extra_metadata: Mapping[str, str] | None = None) -> None:
        """Finish the file; metadata given here replaces what was given at the beginning.

        Raises:
            ValueError: there was not a single map.
            OSError: the file cannot be written.
        """
        if self._closed:
            return
        if self._last is None:
            self.abandon()
            raise ValueError("a manifest without a map: a title without frames has none")
        try:
            self._finish(extra_metadata or {})
        except BaseException:
            self.abandon()
            raise
        self._closed = True

    def _finish(self, extra_metadata: Mapping[str, str]) -> None:
        self._flush()
        counts = {KEY_FRAMES: str(self.frames), KEY_SHOTS: str(self.shots), KEY_MAPS: str(self.maps)}
        metadata = {**written_by(), **self._metadata, **counts, **extra_metadata}
        self._writer.add_key_value_metadata(dict(sorted(metadata.items())))  # equal titles make equal files
        self._writer.close()

    def abandon(self) -> None:
        """Give the file up and remove it."""
        if not self._closed:
            self._closed = True
            self._open.clear()
            with suppress(OSError, pa.ArrowException):  # a full disk, say: the file goes anyway
                self._writer.close()
            storage.discard(self.path)

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def record_batch(rows: Sequence[MapRow]) -> Any:
    """Rows as a record batch of SCHEMA; grids go through one flat buffer a column, never through Python numbers."""
    sizes = [row.rows * row.cols for row in rows]
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))

    def grids(name: str) -> Any:
        flat = np.concatenate([getattr(row, name).reshape(-1) for row in rows])
        return pa.ListArray.from_arrays(offsets, pa.array(flat), type=SCHEMA.field(name).type)

    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names[:7]}
    columns |= {
        "time_base_num": [row.time_base.numerator for row in rows],
        "time_base_den": [row.time_base.denominator for row in rows],
    }
    columns |= {name: [getattr(row, name) for row in rows] for name in SCHEMA.names[9:16]}
    columns |= {"saliency": grids("saliency"), "qp_offset": grids("qp_offset")}
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, SCHEMA.field(name).type)
        for name, column in columns.items()
    ]
    return pa.record_batch(arrays, schema=SCHEMA)
