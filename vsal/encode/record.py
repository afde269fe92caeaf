"""The record beside an encode: it is the commit, is written last, and counts only for the very files that it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from vsal import storage
from vsal.storage import SourceInfo

SUFFIX = ".encode.json"

Record = dict[str, Any]
Look = Callable[[str], SourceInfo | None]


def record_uri(dest: str, title_id: str) -> str:
    """Where the record of a title lies."""
    return storage.join(dest, f"{title_id}{SUFFIX}")


def read_record(dest: str, title_id: str) -> Record | None:
    """A title's record; None where there is none, or it is not one of this version.

    Raises:
        OSError: the place cannot be reached, so that nothing is known of the title.
    """
    try:
        record = json.loads(storage.read_bytes(record_uri(dest, title_id)))
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("outputs"), list) else None


def write_record(dest: str, title_id: str, record: Record) -> SourceInfo:
    """Commit: from here on the title is encoded. Tells the version of the record."""
    return storage.write_bytes(record_uri(dest, title_id), json.dumps(record, indent=1).encode())


def version_of(info: SourceInfo) -> dict[str, Any]:
    """A file by its name and version, as a record holds it."""
    return {
        "name": storage.name(info.uri) if info.uri else "",
        "size": info.size,
        "mtime_ns": info.mtime_ns,
        "etag": info.etag,
    }


def info_of(version: Mapping[str, Any]) -> SourceInfo:
    """The inverse of `version_of`, without the folder."""
    return SourceInfo(version["name"], version["size"], version["mtime_ns"], version["etag"])


def is_version(known: Mapping[str, Any], found: SourceInfo | None) -> bool:
    """Whether a file that lies there is the one that a record tells of."""
    if found is None:
        return False
    return info_of(known).same_version(found)


def holds(record: Mapping[str, Any], look: Look) -> bool:
    """Whether all files that a record names lie there as they were when it was written.

    A run that died between the output and the record leaves the new bytes beside the old record: that does not hold.

    Args:
        record: of a title.
        look: what lies under a name of the folder of the record.
    """
    try:
        return bool(record["outputs"]) and all(is_version(file, look(file["name"])) for file in record["outputs"])
    except (KeyError, TypeError):  # written by hand, or by another version
        return False


def looking_in(dest: str) -> Look:
    """Looks at one file after another of a folder, a request for each."""

    def look(name: str) -> SourceInfo | None:
        try:
            return storage.stat(storage.join(dest, name))
        except (FileNotFoundError, IsADirectoryError):
            return None

    return look
