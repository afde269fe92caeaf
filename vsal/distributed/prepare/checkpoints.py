"""What is kept of long titles while they are scanned: the rows so far, the state at their end, where to go on.

A checkpoint is one file below OUT/checkpoints/KEY, KEY being the fingerprint of the manifest that the title will have:
the rows since the checkpoint before, and the state of the assembly at a join. The files are named by the frames from
and to which they reach, so the checkpoints of a title are the chain of files that begins at frame 0, whoever wrote
them: what a title's rows are, its fingerprint says. A file appears whole or not at all, so a chain is never torn.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from vsal import storage
from vsal.assembly import TitleAssembly
from vsal.assembly.packing import StateDamaged, unpack
from vsal.manifest import ManifestError, MapRow
from vsal.manifest.part import part_bytes, read_part
from vsal.video.segments import Segment

EVERY_FRAMES = 600  # at least, from one checkpoint to the next: less than a segment of 30 s has
STATE_BYTES_PER_FRAME = 1000  # at most: one a second of 25 frames writes half as much as the masks are
LEAST_S = 120.0  # shorter titles have none: doing them again takes no longer than a few requests each would together
STALE_AFTER_S = 7 * 24 * 3600.0  # since the last one of a title that no run has finished
_AT_A_TIME = 16  # files that are read at once
_NAME = re.compile(r"(?P<start>[0-9]{9})-(?P<end>[0-9]{9})\.arrow")
_NEXT_PTS, _STATE = "vsal.next_pts", "vsal.state"


class CheckpointDamaged(RuntimeError):
    """A checkpoint cannot be taken up; the title begins anew."""


@dataclass(frozen=True, slots=True)
class _Part:
    start: int  # frames before its rows' state, and
    end: int  # up to it
    uri: str


class Prefix:
    """The checkpoints of a title, as a chain: what it is made of, and how it goes on.

    Attributes:
        frames: that have been joined; none of them has to be decoded again.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts
        self.frames = parts[-1].end

    @cached_property
    def _last(self) -> dict[str, bytes]:
        uri = self._parts[-1].uri
        try:
            return read_part(storage.read_bytes(uri), uri)[1]
        except (ManifestError, FileNotFoundError) as error:
            raise CheckpointDamaged(str(error)) from error

    def restore(self, assembly: TitleAssembly) -> None:
        """Puts the state at its end into an assembly that has seen nothing yet.

        Raises:
            CheckpointDamaged: it is of another version of vsal.
        """
        try:
            assembly.restore(unpack(self._last[_STATE]))
        except (StateDamaged, KeyError) as error:
            raise CheckpointDamaged(f"{self._parts[-1].uri}: {error}") from error

    def rest(self, segments: Sequence[Segment]) -> list[Segment]:
        """What is left to be scanned: from the end of the prefix, where a keyframe lies, and then as it was cut now."""
        try:
            at = int(self._last[_NEXT_PTS])
        except (KeyError, ValueError) as error:
            raise CheckpointDamaged(f"{self._parts[-1].uri}: {error}") from error
        later = [s.start_pts for s in segments if s.start_pts is not None and s.start_pts > at]
        return [Segment(i, start, end) for i, (start, end) in enumerate(pairwise([at, *later, None]))]

    def rows(self) -> Iterator[list[MapRow]]:
        """All rows so far, in order.

        Raises:
            CheckpointDamaged: one cannot be read, or is gone.
        """
        uris = [part.uri for part in self._parts]
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            for first in range(0, len(uris), _AT_A_TIME):
                some = uris[first : first + _AT_A_TIME]
                try:
                    for uri, data in zip(some, pool.map(storage.read_bytes, some), strict=True):
                        yield read_part(data, uri)[0]
                except (ManifestError, FileNotFoundError) as error:
                    raise CheckpointDamaged(str(error)) from error


class Checkpoints:
    """Of one title.

    Args:
        out: root of the manifest.
        key: fingerprint of the title's manifest.
    """

    def __init__(self, out: str, key: str) -> None:
        self._folder = storage.join(_root(out), key)
        self._kept = 0  # frames up to the last one
        self._due = EVERY_FRAMES
        self._rows: list[MapRow] = []  # since then

    def load(self) -> Prefix | None:
        """Those that are there, and what comes is added to them; None where there are none.

        Raises:
            OSError: the place cannot be read.
        """
        reached: dict[int, list[_Part]] = {0: []}
        parts = [_Part(int(m["start"]), int(m["end"]), uri) for uri in _files(self._folder) if (m := _match(uri))]
        for part in sorted(parts, key=lambda part: (part.start, part.end)):
            if part.start in reached and part.start < part.end:
                reached[part.end] = [*reached[part.start], part]
        self._kept = max(reached)
        self._due = self._kept + EVERY_FRAMES
        return Prefix(reached[self._kept]) if self._kept else None

    def note(self, rows: Sequence[MapRow]) -> None:
        """Rows that have become final since the last call."""
        self._rows += rows

    def due(self, frames: int) -> bool:
        """Whether enough frames have been joined since the last one."""
        return frames >= self._due

    def save(self, frames: int, next_pts: int, state: bytes) -> None:
        """Keeps the rows noted so far.

        Args:
            frames: that have been joined.
            next_pts: of the frame that comes next.
            state: of the assembly there, packed.

        Raises:
            OSError: it could not be written.
        """
        data = part_bytes(self._rows, {_NEXT_PTS: str(next_pts).encode(), _STATE: state})
        storage.write_bytes(storage.join(self._folder, f"{self._kept:09d}-{frames:09d}.arrow"), data)
        self._rows.clear()
        self._kept = frames
        # A large state, as a shot without end has with one map a shot, is written less often.
        self._due = frames + max(EVERY_FRAMES, len(state) // STATE_BYTES_PER_FRAME)

    def discard(self) -> None:
        """Removes them all. What cannot be removed is no failure: it goes with the stale ones, or harms nobody."""
        with contextlib.suppress(OSError):
            storage.remove_folder(self._folder)
        self._kept, self._due = 0, EVERY_FRAMES
        self._rows.clear()


def sweep_checkpoints(out: str, finished: Collection[str]) -> None:
    """Removes what nobody will ask for any more: of titles that are committed, and of those that all runs have left.

    Args:
        out: root of the manifest.
        finished: fingerprints of the titles that are known to be committed.
    """
    newest: dict[str, float] = {}
    with contextlib.suppress(OSError):
        for info in storage.list_files(_root(out)):
            folder = storage.parent(info.uri)
            newest[folder] = max(newest.get(folder, 0.0), (info.mtime_ns or 0) / 1e9)
    for folder, written_s in newest.items():
        if storage.name(folder) in finished or time.time() - written_s > STALE_AFTER_S:
            with contextlib.suppress(OSError):
                storage.remove_folder(folder)
    with contextlib.suppress(OSError):
        storage.prune(_root(out))


def _root(out: str) -> str:
    return storage.join(out, "checkpoints")


def _files(folder: str) -> list[str]:
    return [info.uri for info in storage.list_files(folder, recursive=False)]


def _match(uri: str) -> re.Match[str] | None:
    return _NAME.fullmatch(storage.name(uri))
