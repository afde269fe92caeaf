"""OUT/titles.parquet: one row a title, how it ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from vsal import storage
from vsal.manifest.schema import ManifestError, maps_folder, titles_uri, written_by

Status = Literal["done", "skipped", "failed"]

TITLES_SCHEMA = pa.schema(
    [
        pa.field("title_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("shots", pa.int64(), nullable=False),
        pa.field("maps", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class TitleRecord:
    """How one title ended in the last run that met it.

    Attributes:
        title_id: as in the name of its manifest file.
        uri: of its video.
        status: `done`, `skipped` (its manifest was there already) or `failed`.
        reason: code of a failure, else None.
        detail: one sentence on a failure, or a warning of a title that is done; else empty.
        path: its manifest file, relative to OUT; empty where there is none.
        frames: in its manifest.
        shots: in its manifest.
        maps: in its manifest.
        seconds: wall time of its last attempt.
        attempts: 0 for a skipped title.
    """

    title_id: str
    uri: str
    status: Status
    reason: str | None = None
    detail: str = ""
    path: str = ""
    frames: int = 0
    shots: int = 0
    maps: int = 0
    seconds: float = 0.0
    attempts: int = 0


def write_titles(out: str, records: Iterable[TitleRecord]) -> None:
    """Write OUT/titles.parquet, whole or not at all, and clear OUT of what killed writers left.

    Raises:
        OSError: it cannot be written.
    """
    columns: dict[str, list[Any]] = {field.name: [] for field in fields(TitleRecord)}
    for record in records:
        for name, column in columns.items():
            value = getattr(record, name)
            column.append(_text(value) if isinstance(value, str) else value)
    table = pa.table(columns, schema=TITLES_SCHEMA).replace_schema_metadata(written_by())
    path = storage.staging_file(titles_uri(out))
    try:
        pq.write_table(table, path, compression="zstd")
        storage.publish(path, titles_uri(out))
    except BaseException:
        storage.discard(path)
        raise
    storage.sweep(out)
    storage.sweep(maps_folder(out))


def _text(value: str) -> str:
    # A file name may hold bytes that are no UTF-8, which Python keeps as lone surrogates and Parquet cannot.
    return value.encode("utf-8", "backslashreplace").decode()


def read_titles(out: str) -> list[TitleRecord] | None:
    """The rows of OUT/titles.parquet in their order, or None where there is no such file.

    Raises:
        ManifestError: the file is damaged.
    """
    try:
        file = storage.open_random(titles_uri(out))
    except FileNotFoundError:
        return None
    with file:
        try:
            rows = pq.read_table(file, columns=TITLES_SCHEMA.names).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise ManifestError(
                f"{titles_uri(out)} cannot be read: {error}. Remove it; the next run writes it anew."
            ) from error
    return [TitleRecord(**row) for row in rows]
