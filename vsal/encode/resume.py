"""What of a catalogue is encoded already: known from listings and journals, and from records where these do not tell.

No title is opened whose files and manifest lie there as they did when its encode was committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vsal import manifest, storage
from vsal.encode.keys import asked_key, settings_key
from vsal.encode.record import SUFFIX, Record, holds, is_version, read_record, version_of
from vsal.encode.settings import EncodeSettings
from vsal.storage import SourceInfo

THREADS = 25  # records are waited for, not computed: as many as pyarrow's client has connections

Commit = Mapping[str, Any]


def commit_of(record: Record) -> dict[str, Any]:
    """What of a record, as it is read or written, tells whether a title is encoded: for whoever keeps it where it is
    read with others.
    """
    return {name: record[name] for name in ("asked", "manifest", "outputs", "record")}


class Encoded:
    """Which titles are encoded with some settings.

    Args:
        out: where `vsal prepare` wrote.
        dest: folder of the finished files; it is listed here, once.
        settings: of the encodes.
        manifests: the manifest files of the titles, as they were listed.

    Raises:
        OSError: DEST cannot be listed.
        SettingsError: the encoder is not there.
    """

    def __init__(self, out: str, dest: str, settings: EncodeSettings, manifests: Mapping[str, SourceInfo]) -> None:
        self._out, self._dest, self._manifests = out, dest, manifests
        self._settings_key = settings_key(settings)
        self._files = {storage.name(info.uri): info for info in storage.list_versions(dest, recursive=False)}

    def known(self, commits: Mapping[str, Commit]) -> set[str]:
        """Titles of which it is known without a single request.

        Args:
            commits: by title, as `commit_of` gave them; what is not one is of a title that is not known.
        """
        return {title_id for title_id, commit in commits.items() if self._is_known(title_id, commit)}

    def _is_known(self, title_id: str, commit: Commit) -> bool:
        try:
            return (
                is_version(commit["manifest"], self._manifests.get(title_id))
                and is_version(commit["record"], self._files.get(f"{title_id}{SUFFIX}"))
                and self._stands(commit, commit["manifest"]["fingerprint"])
            )
        except (LookupError, TypeError):
            return False

    def read(self, title_ids: list[str]) -> dict[str, Record]:
        """Records of those titles that are encoded, each with the version of its file as `record`; many are read at a
        time.
        """
        with ThreadPoolExecutor(THREADS, thread_name_prefix="vsal-records") as pool:
            records = zip(title_ids, pool.map(self._read, title_ids), strict=True)
            return {title_id: record for title_id, record in records if record is not None}

    def _read(self, title_id: str) -> Record | None:
        written = self._files.get(f"{title_id}{SUFFIX}")
        if written is None:
            return None
        try:
            record = read_record(self._dest, title_id)
            if record is None or not holds(record, self._files.get):
                return None
            # The file may have been written anew, with the very same maps.
            same = is_version(record["manifest"], self._manifests[title_id])
            fingerprint = record["manifest"]["fingerprint"] if same else None
            fingerprint = fingerprint or manifest.read_fingerprint(self._out, title_id)
            return record | {"record": version_of(written)} if self._stands(record, fingerprint) else None
        except (OSError, LookupError, TypeError):  # the title's plan looks again, and says what is wrong
            return None

    def _stands(self, commit: Commit, fingerprint: str | None) -> bool:
        if fingerprint is None or commit["asked"] != asked_key(fingerprint, self._settings_key):
            return False
        return holds(commit, self._files.get)
