"""One way to any place that holds videos or manifests: a local path, `file://`, `s3://` or `gs://`.

Everything takes URI strings. A local URI is an absolute or relative path, taken literally, or a `file://` URI, which is
percent-decoded. An `s3://bucket/key` or `gs://bucket/key` is taken literally too: a `%20` in it is a part of the key.

A file appears under its name whole or not at all: `publish` and `write_bytes` write elsewhere first. A store that is
busy or out of reach is waited for, half a minute, by the very access that met it.
"""

from __future__ import annotations

from vsal.storage.files import (
    SourceInfo,
    check_writable,
    exists,
    is_folder,
    list_files,
    open_input,
    open_random,
    prune,
    read_bytes,
    remove,
    remove_folder,
    stat,
)
from vsal.storage.listing import list_versions, told_by_listings
from vsal.storage.passing import is_denied, is_full, is_passing
from vsal.storage.patience import patiently
from vsal.storage.patterns import is_pattern, match_files
from vsal.storage.places import is_local, join, local_path, name, parent, resolve
from vsal.storage.ranges import RangeReader
from vsal.storage.staging import (
    TemporaryFolder,
    claim,
    discard,
    is_gone,
    process_mark,
    publish,
    staging_file,
    sweep,
    sweep_temporary,
    write_bytes,
)

__all__ = [
    "RangeReader",
    "SourceInfo",
    "TemporaryFolder",
    "check_writable",
    "claim",
    "discard",
    "exists",
    "is_denied",
    "is_folder",
    "is_full",
    "is_gone",
    "is_local",
    "is_passing",
    "is_pattern",
    "join",
    "list_files",
    "list_versions",
    "local_path",
    "match_files",
    "name",
    "open_input",
    "open_random",
    "parent",
    "patiently",
    "process_mark",
    "prune",
    "publish",
    "read_bytes",
    "remove",
    "remove_folder",
    "resolve",
    "staging_file",
    "stat",
    "sweep",
    "sweep_temporary",
    "told_by_listings",
    "write_bytes",
]
