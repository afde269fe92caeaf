"""Reading one title's manifest file: facts, shots, and the map of a frame, one row group at a time."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsal import storage
from vsal.manifest.fingerprints import SCHEMA_VERSION
from vsal.manifest.schema import (
    KEY_ALGORITHMS,
    KEY_DECODE_ERRORS,
    KEY_FINGERPRINT,
    KEY_FRAMES,
    KEY_MODEL,
    KEY_SCHEMA_VERSION,
    KEY_SETTINGS,
    KEY_SHOTS,
    KEY_SOURCE,
    KEY_VIDEO,
    SCHEMA,
    ManifestError,
    MapRow,
)
from vsal.storage import SourceInfo


class TitleManifest:
    """One title's manifest file, read row group by row group.

    Holds the file open and at most one row group in memory; use it as a context manager, or let it go out of scope.
    Not for use by several threads at once.
    """

    def __init__(self, uri: str) -> None:
        """Open a manifest file, which reads its footer.

        Raises:
            FileNotFoundError: there is none.
            OSError: its place does not answer, for half a minute.
            ManifestError: it is damaged, or of a version that this vsal does not read.
        """
        self.uri = uri
        self._input = storage.open_random(uri)
        self._group: tuple[int, list[MapRow]] | None = None
        try:
            # pre_buffer: the columns of a row group come from a remote file in few requests.
            self._file = storage.patiently(
                uri, lambda: pq.ParquetFile(self._input, pre_buffer=True, page_checksum_verification=True)
            )
        except (pa.ArrowException, OSError) as error:
            self._input.close()
            if isinstance(error, OSError) and storage.is_passing(error):
                raise
            raise ManifestError(
                f"{uri} is not a whole Parquet file: {error}. Remove it and prepare the title again."
            ) from error
        raw = self._file.metadata.metadata or {}
        self.metadata: dict[str, str] = {k.decode(): v.decode() for k, v in raw.items() if k.startswith(b"vsal.")}
        version = self.metadata.get(KEY_SCHEMA_VERSION)
        if version != str(SCHEMA_VERSION):
            self._input.close()
            raise ManifestError(
                f"{uri} has manifest schema version {version}, and this vsal reads {SCHEMA_VERSION}: "
                "prepare the title again, or use the vsal that wrote it"
            )

    # Metadata

    @property
    def fingerprint(self) -> str:
        """Of source, model, settings and algorithms: 64 hex digits."""
        return self.metadata.get(KEY_FINGERPRINT, "")

    @cached_property
    def source(self) -> SourceInfo:
        """The video as it was when it was prepared."""
        return SourceInfo(**self._json(KEY_SOURCE))

    @cached_property
    def model(self) -> dict[str, str]:
        """`name` and `sha256` of the model."""
        return {key: str(value) for key, value in self._json(KEY_MODEL).items()}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings under which the maps were made."""
        return self._json(KEY_SETTINGS)

    @cached_property
    def algorithms(self) -> dict[str, int]:
        """The version of each algorithm that made the maps."""
        return {name: int(version) for name, version in self._json(KEY_ALGORITHMS).items()}

    @cached_property
    def video(self) -> dict[str, Any]:
        """Facts of the video stream."""
        return self._json(KEY_VIDEO)

    @property
    def frames(self) -> int:
        """Frames of the title."""
        return self._count(KEY_FRAMES)

    @property
    def shot_count(self) -> int:
        """Shots of the title."""
        return self._count(KEY_SHOTS)

    @property
    def map_count(self) -> int:
        """Maps of the title."""
        return int(self._file.metadata.num_rows)

    @property
    def decode_errors(self) -> int:
        """Damaged packets met when the title was prepared."""
        return self._count(KEY_DECODE_ERRORS)

    def _json(self, key: str) -> dict[str, Any]:
        try:
            value = json.loads(self.metadata[key])
        except (KeyError, ValueError) as error:
            raise ManifestError(f"{self.uri} has no readable {key}: prepare the title again") from error
        if not isinstance(value, dict):
            raise ManifestError(f"{self.uri}: {key} is no JSON object: prepare the title again")
        return value

    def _count(self, key: str) -> int:
        try:
            return int(self.metadata[key])
        except (KeyError, ValueError) as error:
            raise ManifestError(f"{self.uri} has no readable {key}: prepare the title again") from error

    # Maps

    @cached_property
    def title_id(self) -> str:
        """Id of the title."""
        return str(self._column("title_id", 0)[0])

    @cached_property
    def _starts(self) -> list[int]:
        """First frame of each row group."""
        column = SCHEMA.get_field_index("frame_start")
        starts = []
        for index in range(self.groups):
            statistics = self._file.metadata.row_group(index).column(column).statistics
            known = statistics is not None and statistics.has_min_max
            starts.append(int(statistics.min if known else self._column("frame_start", index)[0]))
        return starts

    def iter_maps(self, frame_start: int = 0, frame_end: int | None = None) -> Iterator[MapRow]:
        """The maps that cover any of the frames from `frame_start` to before `frame_end`, in order.

        Raises:
            ManifestError: a row group is damaged.
        """
        first = max(0, bisect_right(self._starts, frame_start) - 1)
        for index in range(first, len(self._starts)):
            if frame_end is not None and self._starts[index] >= frame_end:
                return
            for row in self._rows(index):
                if row.frame_end > frame_start and (frame_end is None or row.frame_start < frame_end):
                    yield row

    def map_at(self, frame: int) -> MapRow:
        """The map of a frame.

        Raises:
            IndexError: the title has no such frame.
            ManifestError: the row group is damaged.
        """
        group = bisect_right(self._starts, frame) - 1
        if frame >= 0 and group >= 0:
            rows = self._rows(group)
            row = rows[bisect_right(rows, frame, key=lambda row: row.frame_start) - 1]
            if row.frame_start <= frame < row.frame_end:
                return row
        raise IndexError(f"{self.uri} covers frames 0 to {self.frames - 1}, and {frame} is not one of them")

    def shots(self) -> list[tuple[int, int, int]]:
        """(shot, first frame, one past the last frame) of every shot, in order."""
        found: list[tuple[int, int, int]] = []
        for index in range(self.groups):
            table = self.read_group(index, ["shot", "frame_start", "frame_end"])
            for shot, start, end in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if found and found[-1][0] == shot:
                    found[-1] = (shot, found[-1][1], end)
                else:
                    found.append((shot, start, end))
        return found

    def _rows(self, index: int) -> list[MapRow]:
        if self._group is None or self._group[0] != index:
            self._group = None  # before the next one is read, so that only one is held
            self._group = (index, map_rows(self.read_group(index, SCHEMA.names), self.uri))
        return self._group[1]

    def _column(self, name: str, index: int) -> list[Any]:
        values: list[Any] = self.read_group(index, [name]).column(0).to_pylist()
        return values

    @property
    def groups(self) -> int:
        """Row groups of the file."""
        return int(self._file.num_row_groups)

    @property
    def schema(self) -> Any:
        """The file's columns as an Arrow schema without metadata."""
        return self._file.schema_arrow.remove_metadata()

    def read_group(self, index: int, columns: list[str]) -> Any:
        """Columns of a row group as an Arrow table; checksums of its pages are verified.

        Raises:
            OSError: its place does not answer, for half a minute.
            ManifestError: it is damaged.
        """
        try:
            return storage.patiently(
                self.uri, lambda: self._file.read_row_group(index, columns=columns, use_threads=False)
            )
        except (pa.ArrowException, OSError, KeyError) as error:
            if isinstance(error, OSError) and storage.is_passing(error):
                raise
            raise ManifestError(
                f"{self.uri}: row group {index} cannot be read: {error}. Remove the file and prepare the title again."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._group = None
        self._file.close()
        self._input.close()

    def __enter__(self) -> TitleManifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def map_rows(table: Any, uri: str) -> list[MapRow]:
    """Rows of a row group. Their grids are read-only views of its two buffers."""
    plain = table.select(SCHEMA.names[:16]).to_pydict()
    lists = {}
    for name in ("saliency", "qp_offset"):
        array = table.column(name).combine_chunks()
        lists[name] = (array.offsets.to_numpy(), array.values.to_numpy())
    rows = []
    for i in range(table.num_rows):
        shape = (plain["rows"][i], plain["cols"][i])
        grids = {}
        for name, (offsets, values) in lists.items():
            grid = values[offsets[i] : offsets[i + 1]]
            if grid.size != shape[0] * shape[1]:
                raise ManifestError(f"{uri}: {name} of map {plain['map'][i]} has {grid.size} blocks, not {shape}")
            grids[name] = grid.reshape(shape)
        fields = {name: plain[name][i] for name in SCHEMA.names[:7]}
        rows.append(
            MapRow(
                **fields,
                time_base=Fraction(plain["time_base_num"][i], plain["time_base_den"][i]),
                width=plain["width"][i],
                height=plain["height"][i],
                samples=plain["samples"][i],
                motion=plain["motion"][i],
                block_size=plain["block_size"][i],
                **grids,
            )
        )
    return rows
