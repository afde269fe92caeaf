"""Reading a remote object by ranges, as a file that FFmpeg can seek in."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from vsal.storage.patience import patiently
from vsal.vitals import vitals

FIRST_WINDOW = 64 * 1024  # a header or an index entry: what a jump usually wants
LARGEST_WINDOW = 4 * 1024 * 1024  # at 100 MB/s and 30 ms latency three quarters of the time go into transfer
WINDOWS = 4  # video, audio and index of a badly interleaved file each keep their place


@dataclass(slots=True)
class _Window:
    start: int
    data: bytes
    reach: int  # bytes asked for

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class RangeReader(io.RawIOBase):
    """A seekable file over range requests, never holding more than a few windows of it.

    A jump fetches 64 KB; reading on from where a window ends fetches twice as much each time, up to 4 MB. So probing
    a header costs little, and reading a whole video costs few requests. At most 4 windows (16 MB) are in memory.

    Not for use by several threads at once.
    """

    def __init__(self, file: Any, uri: str) -> None:
        """Read a file from its beginning.

        Args:
            file: random-access `pyarrow.NativeFile`, which belongs to the reader from here on.
            uri: of the file.
        """
        super().__init__()
        self._file, self._uri = file, uri
        self._size = int(file.size())
        self._position = 0
        self._windows: list[_Window] = []  # least recently used first

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self._size

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position of the next read, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position, without a request."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to byte {base + offset}, before the beginning")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly `size` bytes, or what is left before the end; all that is left for -1 or None."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > LARGEST_WINDOW:
            return self._read_through(wanted)
        parts = []
        while wanted:
            part = self._from_window(wanted)
            parts.append(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as the file reaches; the number of bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let go of the windows and of the connection."""
        if not self.closed:
            self._windows.clear()
            self._file.close()
        super().close()

    def _from_window(self, wanted: int) -> bytes:
        at = self._position
        window = next((w for w in self._windows if w.start <= at < w.end), None)
        if window is None:
            window = self._fetch(at, wanted)
        elif window is not self._windows[-1]:
            self._windows.remove(window)
            self._windows.append(window)
        begin = at - window.start
        part = window.data[begin : begin + wanted]
        self._position += len(part)
        return part

    def _fetch(self, at: int, wanted: int) -> _Window:
        before = next((w for w in self._windows if w.end == at), None)
        reach = FIRST_WINDOW if before is None else min(2 * before.reach, LARGEST_WINDOW)
        reach = max(reach, wanted)
        if before is not None:
            self._windows.remove(before)
        elif len(self._windows) == WINDOWS:
            del self._windows[0]
        window = _Window(at, self._range(at, min(reach, self._size - at)), reach)
        self._windows.append(window)
        return window

    def _read_through(self, wanted: int) -> bytes:
        data = self._range(self._position, wanted)
        self._position += len(data)
        return data

    def _range(self, at: int, length: int) -> bytes:
        with vitals.storage():
            # A store that stutters is asked for the same range again: the decoder behind never learns of it.
            data: bytes = patiently(self._uri, lambda: self._file.read_at(length, at))
        vitals.moved_bytes += len(data)
        if len(data) != length:
            raise OSError(f"asked for bytes {at} to {at + length} of {self._size} and got {len(data)}")
        return data
