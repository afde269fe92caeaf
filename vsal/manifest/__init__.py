"""The manifest: one Parquet file of block maps a title, and a table of titles.

from vsal.manifest import read_manifest

for record in read_manifest("out").titles():
    print(record.title_id, record.status, record.maps)
"""

from __future__ import annotations

from vsal.manifest.fingerprints import SCHEMA_VERSION, fingerprint
from vsal.manifest.marked import marked
from vsal.manifest.reader import Manifest, read_commit, read_fingerprint, read_manifest
from vsal.manifest.remap import mapping_settings, remap
from vsal.manifest.schema import (
    KEY_DECODE_ERRORS,
    KEY_REGIONS,
    KEY_VIDEO,
    KEYS,
    SCHEMA,
    ManifestError,
    MapRow,
    file_metadata,
    maps_uri,
    runs_uri,
    titles_uri,
)
from vsal.manifest.title import TitleManifest
from vsal.manifest.titles import TITLES_SCHEMA, TitleRecord, write_titles
from vsal.manifest.validate import validate
from vsal.manifest.writer import ManifestWriter

__all__ = [
    "KEYS",
    "KEY_DECODE_ERRORS",
    "KEY_REGIONS",
    "KEY_VIDEO",
    "SCHEMA",
    "SCHEMA_VERSION",
    "TITLES_SCHEMA",
    "Manifest",
    "ManifestError",
    "ManifestWriter",
    "MapRow",
    "TitleManifest",
    "TitleRecord",
    "file_metadata",
    "fingerprint",
    "mapping_settings",
    "maps_uri",
    "marked",
    "read_commit",
    "read_fingerprint",
    "read_manifest",
    "remap",
    "runs_uri",
    "titles_uri",
    "validate",
    "write_titles",
]
