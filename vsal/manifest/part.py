"""Some rows of a title in a file of their own: what a run keeps of a title that is not finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from vsal.manifest.schema import SCHEMA, ManifestError, MapRow
from vsal.manifest.title import map_rows
from vsal.manifest.writer import record_batch


def part_bytes(rows: Sequence[MapRow], metadata: Mapping[str, bytes]) -> bytes:
    """Rows, which may be none, and what else is to be kept with them, as an Arrow file."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, SCHEMA.with_metadata(dict(metadata)), options=options) as writer:
        if rows:
            writer.write_batch(record_batch(rows))
    return bytes(sink.getvalue())


def read_part(data: bytes, uri: str) -> tuple[list[MapRow], dict[str, bytes]]:
    """What `part_bytes` was given.

    Raises:
        ManifestError: the bytes are no such file; the text names `uri`.
    """
    try:
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            metadata: dict[Any, bytes] = reader.schema.metadata or {}
            table = reader.read_all()
        rows = map_rows(table, uri) if table.num_rows else []
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ManifestError(f"{uri} holds no rows of a title: {error}") from error
    return rows, {key.decode(): value for key, value in metadata.items()}
