"""Catalogues: which titles there are, and what each is called."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq

from vsal import storage
from vsal.errors import SettingsError

# fmt: off
VIDEO_SUFFIXES = frozenset([
    "264", "265", "3g2", "3gp", "asf", "av1", "avi", "divx", "dv", "f4v", "flv", "gif", "h264", "h265", "hevc",
    "ivf", "m1v", "m2t", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts",
    "mxf", "nut", "obu", "ogg", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv", "y4m",
])
# fmt: on

# File systems allow 255 bytes a name; an id shares them with `.parquet` and what other tools append.
ID_BYTES = 180
_HASH_DIGITS = 12
_SHOWN = 5  # faults of one kind that a message lists


@dataclass(frozen=True, slots=True)
class Title:
    """One video of a catalogue.

    Attributes:
        title_id: unique in its catalogue, also where case does not count; at most 180 characters out of letters,
            digits, `.`, `_`, `-`, `~` and `%`: safe as the name of a file or object.
        uri: absolute path, or s3:// or gs:// URI. Whether there is such a file is not known yet.
    """

    title_id: str
    uri: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a list file, before it is known to be sound."""

    number: int
    uri: Any
    title_id: Any = None
    fault: str = ""


def read_catalog(source: str) -> list[Title]:
    """The titles that a catalogue names.

    Args:
        source: a video; a folder, of which the files with a video's suffix are taken at any depth, hidden ones left
            out; a pattern with `*`, `?`, `[...]` or `**`; or a list: .txt with a URI a line (blank lines and lines
            that begin with # are skipped), .csv with a header line, .jsonl or .parquet, with `uri` and optionally
            `title_id`. A relative path in a list is relative to the list.

    Returns:
        titles in the order of the list, or sorted by URI. The video of a title need not exist.

    Raises:
        SettingsError: the catalogue is missing or empty, a row is malformed, or two titles have the same id.
    """
    try:
        titles = _read(source)
    except OSError as error:
        raise SettingsError(f"cannot read the catalogue {source}: {error}") from error
    if not titles:
        raise SettingsError(
            f"the catalogue {source} is empty. Name a video, a folder or pattern that holds videos "
            f"(.mp4, .mkv, .webm, .ts, ...), or a list (.{', .'.join(_READERS)})."
        )
    _refuse_duplicates(titles)
    return titles


def _read(source: str) -> list[Title]:
    if storage.is_folder(source):
        files = storage.list_files(source)
        above = len(storage.local_path(source) or storage.parent(storage.join(source, "x")).partition("?")[0])
        return [_derived(file.uri) for file in files if _is_video(file.uri) and "/." not in file.uri[above:]]
    if storage.is_pattern(source) and not storage.exists(source):
        return [_derived(uri) for uri in storage.match_files(source)]
    suffix = _suffix(source)
    if suffix not in VIDEO_SUFFIXES and not storage.exists(source):
        raise SettingsError(f"there is no file or folder {source}")
    if suffix in _READERS:
        return _titles_of(source, _READERS[suffix](source))
    return [_derived(storage.join(source))]


def title_id(name: str) -> str:
    """A name as a title id.

    Bytes other than ASCII letters, digits and `._-~` are percent-encoded. So are a `.` or `_` at the beginning: file
    systems and Parquet readers hide such files. An id longer than 180 characters ends in a hash of the whole name.

    Args:
        name: text that is not empty; bytes of a file name that are no UTF-8 may stand in it as Python keeps them.
    """
    data = name.encode("utf-8", "surrogateescape")
    encoded = _quoted(data)
    if len(encoded) <= ID_BYTES:
        return encoded
    digest = hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]
    whole = re.match(r"(?:%..|[^%])*", encoded[: ID_BYTES - _HASH_DIGITS - 1])
    head = unquote_to_bytes(whole.group()) if whole else b""
    # The cut may have gone through a character of several bytes.
    return f"{_quoted(head.decode(errors='ignore').encode() or head)}-{digest}"


def _quoted(data: bytes) -> str:
    encoded = quote_from_bytes(data, safe="")
    return f"%{data[0]:02X}{encoded[1:]}" if encoded[0] in "._" else encoded


def _derived(uri: str) -> Title:
    name = storage.name(uri)
    stem, dot, suffix = name.rpartition(".")
    if dot and stem and suffix.lower() in VIDEO_SUFFIXES:
        name = stem
    return Title(title_id(name), uri)


def _suffix(uri: str) -> str:
    return storage.name(uri).rpartition(".")[2].lower()


def _is_video(uri: str) -> bool:
    return "." in storage.name(uri) and _suffix(uri) in VIDEO_SUFFIXES


def _titles_of(source: str, rows: Iterable[_Row]) -> list[Title]:
    folder = storage.parent(source)
    titles, faults = [], []
    for row in rows:
        try:
            titles.append(_title(folder, row))
        except (SettingsError, ValueError) as error:
            faults.append(f"row {row.number}: {error}")
    if faults:
        more = len(faults) - _SHOWN
        shown = faults[:_SHOWN] + ([f"and {more} rows more"] if more > 0 else [])
        raise SettingsError(
            f"{len(faults)} of the rows of {source} name no title. Correct or remove them:\n" + "\n".join(shown)
        )
    return titles


def _title(folder: str, row: _Row) -> Title:
    if row.fault:
        raise ValueError(row.fault)
    if not isinstance(row.uri, str) or not row.uri:
        raise ValueError(f"uri is {row.uri!r}, and has to be the path or URI of a video")
    if "\0" in row.uri:
        raise ValueError("uri holds a NUL character, which no path can: is the list really UTF-8?")
    given = row.title_id
    if not (_is_text(row.uri) and (not isinstance(given, str) or _is_text(given))):
        raise ValueError("uri or title_id holds half a character (a lone surrogate)")
    uri = storage.resolve(folder, row.uri)
    if given is None or given == "":
        return _derived(uri)
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise ValueError(f"title_id is {given!r}, and has to be text or a whole number")
    return Title(title_id(str(given)), uri)


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _text_lines(source: str) -> io.StringIO:
    # Bytes that are no UTF-8 stay what they are: file names may hold them.
    return io.StringIO(storage.read_bytes(source).decode("utf-8-sig", "surrogateescape"), newline="")


def _txt_rows(source: str) -> Iterator[_Row]:
    for number, line in enumerate(_text_lines(source).read().splitlines(), start=1):
        uri = line.strip()
        if uri and not uri.startswith("#"):
            yield _Row(number, uri)


def _csv_rows(source: str) -> Iterator[_Row]:
    reader = csv.reader(_text_lines(source), skipinitialspace=True)
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        if "uri" not in header:
            raise SettingsError(f"{source} begins with the columns {header}: a catalogue in CSV needs a column `uri`")
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            named = dict(zip(header, (field.strip() for field in fields), strict=False))
            fault = ""
            if len(fields) > len(header):
                fault = f"{len(fields)} fields, but {len(header)} columns: put a field that holds a comma in quotes"
            yield _Row(reader.line_num, named.get("uri"), named.get("title_id"), fault)
    except csv.Error as error:
        yield _Row(reader.line_num, None, fault=f"no CSV: {error}")


def _jsonl_rows(source: str) -> Iterator[_Row]:
    for number, line in enumerate(_text_lines(source).read().split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield _Row(number, None, fault=f"no JSON: {error}")
            continue
        if isinstance(entry, dict):
            yield _Row(number, entry.get("uri"), entry.get("title_id"))
        else:
            yield _Row(number, None, fault='not a JSON object: write {"uri": "title.mp4"}')


def _parquet_rows(source: str) -> Iterator[_Row]:
    with storage.open_random(source) as file:
        try:
            table = pq.ParquetFile(file)
            names = table.schema_arrow.names
            if "uri" not in names:
                raise SettingsError(f"{source} has the columns {names}: a catalogue in Parquet needs a column `uri`")
            number = 0
            for batch in table.iter_batches(columns=[name for name in ("uri", "title_id") if name in names]):
                for entry in batch.to_pylist():
                    number += 1
                    yield _Row(number, entry["uri"], entry.get("title_id"))
        except pa.ArrowException as error:
            raise SettingsError(f"{source} cannot be read as Parquet: {error}") from error


_READERS: dict[str, Callable[[str], Iterator[_Row]]] = {
    "txt": _txt_rows,
    "csv": _csv_rows,
    "jsonl": _jsonl_rows,
    "parquet": _parquet_rows,
}


def _refuse_duplicates(titles: Iterable[Title]) -> None:
    first: dict[str, Title] = {}
    pairs = []
    for title in titles:
        other = first.setdefault(title.title_id.lower(), title)
        if other is not title:
            pairs.append(f"{other.title_id}: {other.uri}\n{title.title_id}: {title.uri}")
    if pairs:
        more = f"\nand {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
        raise SettingsError(
            "two titles have the same id (case does not count, as on many file systems). Name the videos differently, "
            "or list them in a .csv with columns uri and title_id:\n" + "\n".join(pairs[:_SHOWN]) + more
        )
