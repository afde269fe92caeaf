"""Files of any place: what is there, reading, removing."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat as statfile
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, cast

from pyarrow import fs

from vsal.errors import SettingsError
from vsal.storage.patience import patiently
from vsal.storage.places import Place, filesystem, join, parse
from vsal.storage.ranges import RangeReader
from vsal.vitals import vitals

STAGING_PREFIX = ".vsal-staging-"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What tells one version of a file from another.

    Attributes:
        uri: absolute path, or the remote URI.
        size: bytes.
        mtime_ns: time of the last change since 1970, in ns; object stores give whole seconds.
        etag: the object store's mark of the content, without quotes; `stat` knows it, `list_versions` of S3 too, and
            `list_files` does not.
    """

    uri: str
    size: int
    mtime_ns: int | None = None
    etag: str | None = None

    def same_version(self, other: SourceInfo) -> bool:
        """Whether the two tell of the same content: as large, and with the same etag where both know it, else changed
        at the same time.
        """
        if self.etag and other.etag:
            return (self.size, self.etag) == (other.size, other.etag)
        return self.mtime_ns is not None and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


def stat(uri: str) -> SourceInfo:
    """Size and version of a file; one request for a remote one.

    Raises:
        FileNotFoundError: there is nothing.
        IsADirectoryError: it is a folder.
        OSError: it cannot be looked at, or is a pipe or a device, which would never end.
    """
    place = parse(uri)
    if place.scheme == "file":
        status = _stat_local(place)
        return SourceInfo(place.path, status.st_size, status.st_mtime_ns)
    with open_random(uri) as file:
        metadata: dict[str, str] = {key.lower(): value.decode() for key, value in (file.metadata() or {}).items()}
        etag = metadata.get("etag", "").strip('"') or None
        return SourceInfo(place.uri, int(file.size()), _mtime_ns(metadata.get("last-modified")), etag)


def _mtime_ns(timestamp: str | None) -> int | None:
    if timestamp is None:
        return None
    try:
        return int(datetime.fromisoformat(timestamp).timestamp()) * 10**9
    except ValueError:
        return None


def exists(uri: str) -> bool:
    """Whether there is a file or a folder. A remote folder exists while an object lies below it."""
    place = parse(uri)
    if place.scheme == "file":
        return "\0" not in place.path and os.path.exists(place.path)
    return bool(_look(place).type != fs.FileType.NotFound)


def is_folder(uri: str) -> bool:
    """Whether there is a folder; for a remote one, whether an object lies below it."""
    place = parse(uri)
    if place.scheme == "file":
        return "\0" not in place.path and os.path.isdir(place.path)
    return bool(_look(place).type == fs.FileType.Directory)


def list_files(uri: str, recursive: bool = True) -> list[SourceInfo]:
    """The files of a folder, sorted by URI; none where the folder does not exist.

    Unfinished files of writers are left out. Links to folders are not followed, so that a loop of links ends.

    Raises:
        NotADirectoryError: it is a file.
        OSError: the folder, or one below it, cannot be read.
    """
    place = parse(uri)
    found = _list_local(place.path, recursive) if place.scheme == "file" else _list_remote(place, recursive)
    return sorted(found, key=lambda info: info.uri)


def _list_local(folder: str, recursive: bool) -> list[SourceInfo]:
    found: list[SourceInfo] = []
    try:
        entries = list(os.scandir(folder)) if "\0" not in folder else []
    except FileNotFoundError:
        return []
    for entry in entries:
        if entry.name.startswith(STAGING_PREFIX):
            continue
        if entry.is_dir(follow_symlinks=False):
            if recursive:
                found.extend(_list_local(entry.path, recursive))
            continue
        try:
            status = entry.stat()
        except OSError:  # vanished meanwhile, or a link to nothing
            continue
        if entry.is_file():
            found.append(SourceInfo(entry.path, status.st_size, status.st_mtime_ns))
    return found


def _list_remote(place: Place, recursive: bool) -> list[SourceInfo]:
    selector = fs.FileSelector(place.path, recursive=recursive, allow_not_found=True)
    return [
        # Some stores list fractions of a second, and none tells them when one object is looked at.
        SourceInfo(
            place.at(info.path).uri, int(info.size), None if info.mtime is None else info.mtime_ns // 10**9 * 10**9
        )
        for info in patiently(place.uri, lambda: filesystem(place).get_file_info(selector))
        if info.type == fs.FileType.File
    ]


def _look(place: Place) -> Any:
    return patiently(place.uri, lambda: filesystem(place).get_file_info(place.path))


def open_input(uri: str) -> BinaryIO:
    """Open a file for reading and seeking; a remote one by range requests, never whole.

    Raises:
        FileNotFoundError, IsADirectoryError, OSError: as `stat` does.
    """
    place = parse(uri)
    if place.scheme == "file":
        _stat_local(place)
        return open(place.path, "rb")
    return cast(BinaryIO, RangeReader(open_random(uri), place.uri))


def open_random(uri: str) -> Any:
    """Open a file as a `pyarrow.NativeFile` with random access, which is what Parquet readers want.

    Raises:
        FileNotFoundError, IsADirectoryError, OSError: as `stat` does.
    """
    place = parse(uri)
    if place.scheme == "file":
        _stat_local(place)
    elif "\0" in place.path:
        raise FileNotFoundError(f"there is no {place.uri!r}")
    try:
        return patiently(place.uri, lambda: filesystem(place).open_input_file(place.path))
    except FileNotFoundError:
        if place.scheme != "file" and _look(place).type == fs.FileType.Directory:
            raise IsADirectoryError(f"{place.uri} is a folder") from None
        raise FileNotFoundError(f"there is no {place.uri}") from None


def read_bytes(uri: str) -> bytes:
    """A whole file.

    Raises:
        FileNotFoundError, IsADirectoryError, OSError: as `stat` does.
    """

    def whole() -> bytes:
        with open_random(uri) as file:
            data: bytes = file.read()
            return data

    read = patiently(uri, whole)
    vitals.moved_bytes += len(read)
    return read


def remove(uri: str) -> None:
    """Remove a file; nothing happens where there is none.

    Raises:
        OSError: it cannot be removed.
    """
    place = parse(uri)
    try:
        if place.scheme == "file":
            os.unlink(place.path)
        else:
            patiently(place.uri, lambda: filesystem(place).delete_file(place.path))
    except FileNotFoundError:
        return


def remove_folder(uri: str) -> None:
    """Remove a folder with all that lies in it; nothing happens where there is none.

    A store that knows folders only by what lies in them keeps no empty object for this one, though it may get one for
    the folder above.

    Raises:
        OSError: something of it cannot be removed.
    """
    place = parse(uri)
    try:
        if place.scheme == "file":
            shutil.rmtree(place.path)
        else:
            patiently(place.uri, lambda: filesystem(place).delete_dir(place.path))
    except FileNotFoundError:
        return


def prune(uri: str, recursive: bool = True) -> None:
    """Remove a folder, and those below it where that is asked for, as far as no file lies in them.

    Raises:
        OSError: it cannot be looked at, or may not be removed.
    """
    place = parse(uri)
    if place.scheme != "file":
        # A store has no folders; but it may hold empty objects that stand for them.
        if not list_files(uri):
            remove_folder(uri)
        return
    folders = [folder for folder, _, _ in os.walk(place.path, topdown=False)] if recursive else [place.path]
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise


def check_writable(uri: str) -> None:
    """Make sure that files can be written below a folder, which is made if it is missing.

    Raises:
        SettingsError: they cannot; the text says why and what to do.
    """
    place = parse(uri)
    if place.scheme == "file":
        _check_local(place.path)
        return
    probe = parse(join(uri, f"{STAGING_PREFIX}check-{secrets.token_hex(6)}"))
    try:
        with filesystem(probe).open_output_stream(probe.path) as stream:
            stream.write(b"vsal checks that it may write here")
    except OSError as error:
        raise SettingsError(
            f"cannot write to {place.uri}: {error}. Check bucket, credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, "
            "GOOGLE_APPLICATION_CREDENTIALS), AWS_REGION and AWS_ENDPOINT_URL, and that objects may be put there."
        ) from error
    try:
        remove(probe.uri)
    except OSError:  # a policy that forbids deleting is no hindrance: a run only adds
        return


def _check_local(folder: str) -> None:
    try:
        if "\0" in folder:
            raise ValueError("a path cannot hold a NUL character")
        os.makedirs(folder, exist_ok=True)
        probe = os.path.join(folder, f"{STAGING_PREFIX}check-{secrets.token_hex(6)}")
        with open(probe, "wb") as file:
            file.write(b"vsal")
        os.unlink(probe)
    except FileExistsError as error:
        raise SettingsError(f"cannot write below {folder}: it, or a part of its path, is a file") from error
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"cannot write below {folder}: {error}. Choose a folder that this user may write to, with space left."
        ) from error


def _stat_local(place: Place) -> os.stat_result:
    if "\0" in place.path:  # no file can have such a name
        raise FileNotFoundError(f"there is no {place.path!r}")
    try:
        status = os.stat(place.path)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"there is no {place.path}") from None
    if statfile.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{place.path} is a folder")
    if not statfile.S_ISREG(status.st_mode):
        raise OSError(f"{place.path} is no regular file")
    return status
