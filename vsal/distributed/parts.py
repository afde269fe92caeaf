"""The parts of journals: rows of outcomes in Parquet files that name what they replace, and what all of them tell.

    PLACE/journal/<run_id>/000120-000129.parquet    what ten parts held, under their numbers
    PLACE/journal/<run_id>/000130-000130.parquet    one part
    PLACE/journal/<run_id>/base-00.parquet          what all parts of all runs tell that its metadata names

A part whose numbers lie within those of another is replaced, and read no more, whether or not it is still there. A
title's newest row counts, so a row that is read twice does no harm, and runs may write at the same time.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from vsal import storage
from vsal.distributed.outcomes import Outcome
from vsal.errors import Reason
from vsal.storage import SourceInfo

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("title_id", pa.string()),
        ("uri", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("path", pa.string()),
        ("frames", pa.int64()),
        ("duration_s", pa.float64()),
        ("seconds", pa.float64()),
        ("attempts", pa.int32()),
        ("ended_ns", pa.int64()),  # since 1970, by the clock of the driver
        ("fingerprint", pa.string()),  # of what was committed; null where nothing was
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("mtime_ns", pa.int64()),
        ("figures", pa.string()),  # JSON
        ("trace", pa.string()),
    ]
)
REPLACES = b"vsal.replaces"
READERS = 16  # parts read at a time
LOOKS = 5  # at a listing whose parts are merged and removed while they are read
_NAME = re.compile(r"journal/([^/]+)/(?:([0-9]{6,})-([0-9]{6,})|base-([0-9]{2,}))\.parquet$")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """One part by its name: numbers `first` to `last` of a run; or its base of that number."""

    run_id: str
    first: int
    last: int
    base: bool = False

    @property
    def name(self) -> str:
        """Below the journal, without a suffix."""
        numbers = f"base-{self.first:02d}" if self.base else f"{self.first:06d}-{self.last:06d}"
        return f"{self.run_id}/{numbers}"

    def uri(self, place: str) -> str:
        """Where it lies."""
        return storage.join(place, "journal", f"{self.name}.parquet")

    def replaces(self, other: Part) -> bool:
        """Whether it holds all that another part of its run does."""
        same = self.run_id == other.run_id and not self.base and not other.base and self != other
        return same and self.first <= other.first and other.last <= self.last


def part_of(uri: str) -> Part | None:
    """The part that a URI names, if it does."""
    match = _NAME.search(uri.partition("?")[0])
    if match is None:
        return None
    run_id, first, last, base = match.groups()
    return Part(run_id, int(base), int(base), True) if base else Part(run_id, int(first), int(last))


def list_parts(place: str) -> set[Part]:
    """All parts of all runs, replaced ones among them; one listing."""
    files = storage.list_files(storage.join(place, "journal"))
    return {part for info in files if (part := part_of(info.uri)) is not None}


def current(parts: Iterable[Part]) -> list[Part]:
    """Those that no other part of their run replaces."""
    found: list[Part] = []
    # By their first number, the longest first: what is replaced follows what replaces it.
    for part in sorted(parts, key=lambda part: (part.run_id, part.base, part.first, -part.last)):
        if not (found and found[-1].replaces(part)):
            found.append(part)
    return found


@dataclass(frozen=True, slots=True)
class Rows:
    """What the journals of all runs hold.

    Attributes:
        table: of SCHEMA; a title may have several rows.
        listed: all parts that were there.
        read: how many of them had to be read.
    """

    table: Any
    listed: set[Part]
    read: int


def read_all(place: str) -> Rows:
    """The rows of all runs.

    Raises:
        OSError: the place cannot be read.
    """
    for _ in range(LOOKS):
        try:
            return _read(place, list_parts(place))
        except FileNotFoundError:  # merged meanwhile
            continue
    raise OSError(f"the parts of {storage.join(place, 'journal')} vanish while they are read, {LOOKS} times in a row")


def _read(place: str, listed: set[Part]) -> Rows:
    left, tables = current(listed), []
    while bases := [part for part in left if part.base]:
        last = max(bases, key=lambda part: (part.run_id, part.first))
        table = read_part(place, last)
        named = {part for name in _named(table) if (part := part_of(f"journal/{name}.parquet")) is not None}
        tables.append(table)
        left = [part for part in left if part != last and part not in named and not _within(part, named)]
    with ThreadPoolExecutor(READERS, thread_name_prefix="vsal-journal") as pool:
        tables += list(pool.map(lambda part: read_part(place, part), left))
    rows = [table.replace_schema_metadata(None) for table in tables]
    return Rows(pa.concat_tables(rows) if rows else SCHEMA.empty_table(), listed, len(tables))


def _within(part: Part, named: Iterable[Part]) -> bool:
    return any(other.replaces(part) for other in named)


def read_part(place: str, part: Part) -> Any:
    """The rows of one part; none where it is damaged, which is told.

    Raises:
        FileNotFoundError: it is gone.
        OSError: it cannot be read.
    """
    data = storage.read_bytes(part.uri(place))
    try:
        return pq.ParquetFile(pa.BufferReader(data)).read(columns=SCHEMA.names, use_threads=False)
    except (pa.ArrowException, KeyError, OSError) as error:
        log.warning("%s cannot be read, and what it tells is looked up elsewhere: %s", part.uri(place), error)
        return SCHEMA.empty_table()


def _named(table: Any) -> list[str]:
    names: list[str] = json.loads((table.schema.metadata or {}).get(REPLACES, b"[]"))
    return names


def write_part(place: str, part: Part, table: Any, replaces: Iterable[Part] = ()) -> None:
    """Writes a part, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    metadata = {REPLACES: json.dumps(sorted(other.name for other in replaces)).encode()}
    storage.write_bytes(part.uri(place), as_bytes(table.replace_schema_metadata(metadata)))


def as_bytes(table: Any) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


# --- Rows


def rows_of(kind: str, ended: Sequence[tuple[Outcome, int]]) -> Any:
    """A table of outcomes, each with the time of its end in ns since 1970."""
    return pa.Table.from_pylist([_row(kind, outcome, ended_ns) for outcome, ended_ns in ended], schema=SCHEMA)


def _row(kind: str, outcome: Outcome, ended_ns: int) -> dict[str, Any]:
    file = outcome.file
    return {
        "kind": kind,
        "title_id": outcome.title_id,
        "uri": _text(outcome.uri),
        "status": outcome.status,
        "reason": None if outcome.reason is None else str(outcome.reason),
        "detail": _text(outcome.detail),
        "path": outcome.path,
        "frames": outcome.frames,
        "duration_s": outcome.duration_s,
        "seconds": outcome.seconds,
        "attempts": outcome.attempts,
        "ended_ns": ended_ns,
        "fingerprint": outcome.fingerprint or None,
        "size": None if file is None else file.size,
        "etag": None if file is None else file.etag,
        "mtime_ns": None if file is None else file.mtime_ns,
        "figures": json.dumps(dict(outcome.figures), default=str),
        "trace": _text(outcome.trace),
    }


def _text(value: str) -> str:
    # A file name may hold bytes that are no UTF-8, which Python keeps as lone surrogates and Parquet cannot.
    return value.encode("utf-8", "backslashreplace").decode()


def outcomes_in(table: Any) -> Iterator[tuple[Outcome, int]]:
    """The rows as outcomes, each with the time of its end."""
    for batch in table.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            reason = row["reason"]
            file = None if row["size"] is None else SourceInfo("", row["size"], row["mtime_ns"], row["etag"])
            same = {name: row[name] for name in _SAME}
            yield (
                Outcome(
                    reason=None if reason is None else Reason(reason), fingerprint=row["fingerprint"] or "", file=file,
                    figures=json.loads(row["figures"] or "{}"), **same,
                ),
                row["ended_ns"],
            )  # fmt: skip


_SAME = (
    "title_id", "uri", "status", "detail", "path", "frames", "duration_s", "seconds", "attempts", "trace",
)  # fmt: skip


def newest(table: Any) -> Any:
    """Of each kind and title the row that ended last."""
    if not table.num_rows:
        return table
    table = table.sort_by([("ended_ns", "ascending"), ("status", "ascending"), ("reason", "ascending")])
    keys = pa.compute.binary_join_element_wise(table["kind"], table["title_id"], "/")
    codes = keys.combine_chunks().dictionary_encode()
    last = np.zeros(len(codes.dictionary), np.int64)
    last[codes.indices.to_numpy()] = np.arange(table.num_rows)  # of several the last assignment stays
    return table.take(np.sort(last)).combine_chunks()


def committed(table: Any) -> Any:
    """Of each kind and title the newest row that tells of a committed file, whatever came after it."""
    return newest(table.filter(pa.compute.is_valid(table["fingerprint"])))


def condensed(table: Any) -> Any:
    """All rows that `newest` and `committed` need."""
    return pa.concat_tables([newest(table), committed(table)])
