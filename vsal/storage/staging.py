"""Writing a file so that it appears whole or not at all.

Local: a temporary file beside the target, synced, then renamed. Remote: a temporary file on the local disk, then one
upload, which an object store shows when it is complete. A killed writer leaves its temporary file behind, under a name
that nothing reads; the next writer in that folder removes it, once its owner is known to be gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from functools import lru_cache

from vsal.storage.files import STAGING_PREFIX, SourceInfo, stat
from vsal.storage.patience import patiently
from vsal.storage.places import Place, filesystem, join, parse
from vsal.vitals import vitals

COPY_BYTES = 64 * 1024 * 1024
CLAIMED_BYTES = 256 * 1024  # a disk without them is full: the smallest title needs as much sooner or later
ABANDONED_AFTER_S = 24 * 3600  # of a writer on another machine, of which nothing else can be known
REUSED_AFTER_S = 30 * 24 * 3600  # without a change: the process of that number is hardly the writer any more

_NAME = re.compile(re.escape(STAGING_PREFIX) + r"(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)-(?:[0-9a-f]{16}|[a-z0-9]+-\w+)")
_own: set[str] = set()  # paths that this process is writing
_swept: set[str] = set()  # folders that this process has cleaned


def staging_file(uri: str) -> str:
    """A new local path to write to before `publish`: beside a local target, in the folder for temporary files else.

    The folder is made; the file is not. `publish` or `discard` ends its life.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = _staging_folder(parse(uri))
    os.makedirs(folder, exist_ok=True)
    _sweep_once(folder)
    path = os.path.join(folder, f"{STAGING_PREFIX}{process_mark()}-{secrets.token_hex(8)}")
    _own.add(path)
    return path


def claim(local_file: str) -> None:
    """Make sure that a staging file can be written at all, before work is done for it; what is written is given back.

    Raises:
        OSError: it cannot: no space, no right to.
    """
    try:
        with open(local_file, "wb") as file:
            file.write(bytes(CLAIMED_BYTES))
        with open(local_file, "wb"):
            pass
    except OSError as error:
        discard(local_file)
        raise OSError(error.errno, error.strerror, local_file) from error


def publish(local_file: str, uri: str) -> SourceInfo:
    """Give a finished local file its name, replacing what was there; the local file is gone afterwards.

    Returns:
        Size and version of what now lies there.

    After a return the file is complete under its name and survives a power cut. Before it, or after an error, the name
    holds what it held before. Two writers of one name may race: one of them wins whole.

    Raises:
        OSError: it cannot be written, or an object store holds another number of bytes than were sent.
    """
    place = parse(uri)
    if place.scheme == "file":
        published = _publish_local(local_file, place.path)
    else:
        published = patiently(place.uri, lambda: _upload(local_file, place))
        os.unlink(local_file)
    _own.discard(local_file)
    return published


def write_bytes(uri: str, data: bytes) -> SourceInfo:
    """Write a small file, whole or not at all.

    Returns:
        Size and version of what now lies there.

    Raises:
        OSError: it cannot be written.
    """
    path = staging_file(uri)
    try:
        with open(path, "wb") as file:
            file.write(data)
        return publish(path, uri)
    except BaseException:
        discard(path)
        raise


def discard(local_file: str) -> None:
    """Give up a staging file."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(local_file)
    _own.discard(local_file)


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """A folder among the temporary files that is gone after use, or with the next sweep after its process was killed.

    Args:
        what: it is for, in lower case, as people may see it.
    """

    def __init__(self, what: str) -> None:
        _sweep_once(tempfile.gettempdir())
        super().__init__(prefix=f"{STAGING_PREFIX}{process_mark()}-{what}-")
        _own.add(self.name)

    def cleanup(self) -> None:
        """Remove it."""
        super().cleanup()
        _own.discard(self.name)


def sweep_temporary() -> int:
    """Remove what killed processes left among the temporary files of this machine; how much was removed."""
    return _sweep_local(tempfile.gettempdir())


def sweep(uri: str) -> int:
    """Remove what killed writers left in a folder; the number of files removed.

    A file goes if its writer's process is gone from this machine, or if nobody has touched it for a day.
    """
    return _sweep_local(_staging_folder(parse(join(uri, "any"))))


def process_mark() -> str:
    """Names this process among all that write to a place; `is_gone` reads it."""
    return f"{_host()}-{os.getpid()}"


def is_gone(mark: str) -> bool:
    """Whether the process of that mark is known to have ended; of one on another machine nothing is known."""
    host, _, pid = mark.partition("-")
    return _gone(host, int(pid), time.time())


def _staging_folder(place: Place) -> str:
    if place.scheme == "file":
        return os.path.dirname(place.path)
    return tempfile.gettempdir()


def _publish_local(source: str, target: str) -> SourceInfo:
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    if os.stat(source).st_dev != os.stat(folder).st_dev:  # only a file of the same disk can be renamed
        copy = staging_file(target)
        shutil.copyfile(source, copy)
        os.unlink(source)
        source = copy
    _sync(source)
    status = os.stat(source)  # before others may replace it
    os.replace(source, target)
    _sync(folder)
    _own.discard(source)
    return SourceInfo(target, status.st_size, status.st_mtime_ns)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _upload(local_file: str, place: Place) -> SourceInfo:
    size = os.path.getsize(local_file)
    with open(local_file, "rb") as file, vitals.storage():
        # Closing a stream, all that pyarrow offers after an error, completes the object: so what can fail here is done
        # before it is begun, for all but the largest files.
        part = file.read(COPY_BYTES)
        with filesystem(place).open_output_stream(place.path) as stream:
            while part:
                stream.write(part)
                vitals.moved_bytes += len(part)
                part = file.read(COPY_BYTES)
    stored = stat(place.uri)
    if stored.size != size:
        raise OSError(f"{place.uri} holds {stored.size} bytes after an upload of {size}")
    return stored


def _sweep_once(folder: str) -> None:
    if folder not in _swept:
        _swept.add(folder)
        _sweep_local(folder)


def _sweep_local(folder: str) -> int:
    removed = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if match is None or entry.path in _own:
            continue
        with contextlib.suppress(OSError):
            # Not in _own, so what bears this process's number was left by an earlier one of that number.
            left = match["host"] == _host() and int(match["pid"]) == os.getpid()
            if left or _gone(match["host"], int(match["pid"]), entry.stat().st_mtime):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
                removed += 1
    return removed


def _gone(host: str, pid: int, mtime: float) -> bool:
    idle_s = time.time() - mtime
    if host != _host():
        return idle_s > ABANDONED_AFTER_S
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return idle_s > REUSED_AFTER_S


@lru_cache(maxsize=1)
def _host() -> str:
    """Eight hex digits for this machine and its process numbers, which containers of one name do not share."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{socket.gethostname()} {numbers}".encode()).hexdigest()[:8]
