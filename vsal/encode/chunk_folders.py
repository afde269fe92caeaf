"""Where chunks lie until they are joined, who is at work on them, and when they go.

DEST/.chunks/<settings>/<title>.<key>/ holds the chunks of one title under one key, which names all that they depend on.
Whoever encodes holds a lease beside these folders, DEST/.chunks/<settings>/lease-..., and writes it anew every few
seconds: what others are at work on is left alone. What cannot be removed costs space and nothing else.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType

from vsal import storage
from vsal.encode.record import holds, looking_in, read_record
from vsal.storage import SourceInfo

FOLDER = ".chunks"
RENEW_S = 20.0
LEASE_S = 120.0  # without a new word of it: six were missed
SKEW_S = 3600.0  # by which the clock of this machine may be ahead of that of the place
KEPT_S = 7 * 24 * 3600.0  # for whoever goes back to other settings, or to titles that failed

_LEASE = re.compile(r"lease-(?P<mark>[0-9a-f]{8}-[0-9]+)-.+")
log = logging.getLogger(__name__)


def folder_of(dest: str, settings_key: str, title_id: str, key: str) -> str:
    """The folder of the chunks of a title."""
    return storage.join(dest, FOLDER, settings_key, f"{title_id}.{key}")


class Lease:
    """Says for as long as it is held that somebody encodes under these settings into DEST.

    A place that refuses it loses nothing but that protection.

    Args:
        dest: folder of the finished files.
        settings_key: of the settings.
        run_id: of the run, unlike that of any other.
    """

    def __init__(self, dest: str, settings_key: str, run_id: str) -> None:
        self.name = f"lease-{storage.process_mark()}-{run_id}"
        self._dest, self._settings_key = dest, settings_key
        self._uri = storage.join(dest, FOLDER, settings_key, self.name)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="vsal-lease", daemon=True)

    def __enter__(self) -> Lease:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(RENEW_S)
        _removed(storage.remove, self._uri)
        if not _others(storage.parent(self._uri), self.name):
            _removed(_prune, storage.parent(self._uri))
        _removed(_prune_root, storage.join(self._dest, FOLDER))

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            self._write()

    def _write(self) -> None:
        try:
            storage.write_bytes(self._uri, b"in use")
        except OSError as error:
            log.warning("%s cannot be written: other runs do not see that chunks are in use here: %s", self._uri, error)

    def sweep(self) -> int:
        """As the function of that name, for whoever holds this lease."""
        self._write()
        return sweep(self._dest, self._settings_key, self.name)


def sweep(dest: str, settings_key: str, lease: str = "") -> int:
    """Remove what nobody needs any more, of any settings; the number of folders removed.

    Those are chunks of titles that are encoded with one's own settings, and such as have not been touched for KEPT_S.
    Nothing goes that others are at work on. A place that forbids deleting is asked once.

    Args:
        dest: folder of the finished files.
        settings_key: of one's own settings.
        lease: name of one's own lease.
    """
    leases: dict[str, list[SourceInfo]] = {settings_key: []}
    folders: dict[str, dict[str, list[SourceInfo]]] = {}
    for info in storage.list_files(storage.join(dest, FOLDER)):
        folder = storage.parent(info.uri)
        if _LEASE.fullmatch(storage.name(info.uri)):
            leases.setdefault(storage.name(folder), []).append(info)
        else:
            of_settings = folders.setdefault(storage.name(storage.parent(folder)), {})
            of_settings.setdefault(folder, []).append(info)
    now_ns, removed = _now_ns(leases[settings_key], lease), 0
    try:
        for key in leases.keys() | folders.keys():
            others = [info for info in leases.get(key, []) if storage.name(info.uri) != lease]
            if any(_held(info, now_ns, bool(lease)) for info in others):
                continue
            for info in others:
                storage.remove(info.uri)
            for folder, infos in folders.get(key, {}).items():
                idle_s = (now_ns - max(info.mtime_ns or now_ns for info in infos)) / 1e9
                if idle_s > KEPT_S or _is_encoded(dest, storage.name(folder).rpartition(".")[0], settings_key):
                    storage.remove_folder(folder)
                    removed += 1
            _prune(storage.join(dest, FOLDER, key))
        if leases.keys() | folders.keys() != {settings_key}:
            _prune_root(storage.join(dest, FOLDER))
    except OSError as error:
        log.info("of %s not all can be removed that nobody needs: %s", storage.join(dest, FOLDER), error)
    return removed


def _is_encoded(dest: str, title_id: str, settings_key: str) -> bool:
    record = read_record(dest, title_id)
    return record is not None and record.get("settings_key") == settings_key and holds(record, looking_in(dest))


def clear(folder: str, lease: str = "") -> None:
    """Remove a title's chunks, unless others are at work under the same settings: they may be encoding it too.

    Args:
        folder: as `folder_of` gives it.
        lease: name of one's own lease.
    """
    if not _others(storage.parent(folder), lease):
        _removed(storage.remove_folder, folder)


def _others(folder: str, lease: str) -> bool:
    """Whether anybody else holds a lease there, or that cannot be known."""
    try:
        found = storage.list_files(folder, recursive=False)
    except OSError as error:
        log.warning("%s cannot be listed, and what lies there stays for now: %s", folder, error)
        return True
    now_ns = _now_ns(found, lease)
    return any(_held(info, now_ns, bool(lease)) for info in found if storage.name(info.uri) != lease)


def _now_ns(found: Collection[SourceInfo], lease: str) -> int:
    """The time by the clock of the place, as one's own lease has it; else that of this machine."""
    own = next((info for info in found if storage.name(info.uri) == lease), None)
    return own.mtime_ns if own is not None and own.mtime_ns else time.time_ns()


def _held(info: SourceInfo, now_ns: int, same_clock: bool) -> bool:
    match = _LEASE.fullmatch(storage.name(info.uri))
    if match is None or storage.is_gone(match["mark"]):
        return False
    age_s = (now_ns - (info.mtime_ns or now_ns)) / 1e9
    return age_s < (LEASE_S if same_clock else LEASE_S + SKEW_S)


def _prune(folder: str) -> None:
    """Remove the folders in which nothing lies but what killed writers left."""
    local = storage.local_path(folder)
    for below in [] if local is None else [path for path, _, _ in os.walk(local)]:
        storage.sweep(below)
    storage.prune(folder)


def _prune_root(folder: str) -> None:
    # Not those below it: others may have made one just now, to write into it.
    storage.prune(folder, recursive=False)


def _removed(remove: Callable[[str], None], uri: str) -> bool:
    """Whether it is gone. A place that forbids it is no failure: what stays costs space."""
    try:
        remove(uri)
    except OSError as error:
        log.info("%s cannot be removed, and stays: %s", uri, error)
        return False
    return True
