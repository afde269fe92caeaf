"""What of a title is encoded and measured: its facts, and the frames by number and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vsal.encode.source import FrameRange, frames
from vsal.encode.source_facts import SourceFacts, read_source_facts
from vsal.errors import Reason, TitleFailed


@dataclass(frozen=True, slots=True)
class Stretch:
    """Frames that are encoded on their own; `start_pts` is the first one's time, where it is not the title's first."""

    start: int
    end: int  # one past the last frame
    start_pts: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """The part of a title that is judged.

    Attributes:
        title_id: of the title.
        group: of titles that are like each other; alone it is the title's own.
        facts: of the source.
        stretches: in order, not overlapping.
        pts: int64 [n], of the frames of all stretches, in order.
    """

    title_id: str
    group: str
    facts: SourceFacts
    stretches: tuple[Stretch, ...]
    pts: npt.NDArray[np.int64]

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """Of the frames in their title: int64 [n]."""
        return np.concatenate([np.arange(s.start, s.end) for s in self.stretches])

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Of the frames, on the title's clock, which begins with its first frame: float64 [n]."""
        info = self.facts.info
        times: npt.NDArray[np.float64] = (self.pts - info.zero_pts) * np.float64(info.time_base)
        return times

    @property
    def duration_s(self) -> float:
        """Of all stretches together."""
        return len(self.pts) / float(self.facts.fps)

    def source(self, stretch: Stretch) -> Iterator[VideoFrame]:
        """Decoded frames of a stretch."""
        return frames(self.facts, FrameRange(stretch.start, stretch.end, stretch.start_pts))


def first_seconds(uri: str, title_id: str, group: str, seconds: float | None) -> Clip:
    """The beginning of a title, or all of it.

    Args:
        uri: of the source.
        title_id: of the title.
        group: of titles like it.
        seconds: of its time; None for the whole title.

    Raises:
        TitleFailed: it cannot be read.
    """
    facts = read_source_facts(uri)
    info, pts = facts.info, []
    for frame in frames(facts):
        at = int(frame.pts or 0)
        if seconds is not None and (at - info.zero_pts) * float(info.time_base) >= seconds - 1e-9:
            break
        pts.append(at)
    if not pts:
        raise TitleFailed(Reason.DECODE_ERROR, f"{uri} has no frame in its first {seconds} s")
    return Clip(title_id, group, facts, (Stretch(0, len(pts)),), np.array(pts, np.int64))


def some_shots(whole: Clip, shots: Sequence[tuple[int, int]], most: int, seconds: float | None) -> Clip:
    """Shots of a title, spread evenly over it, each from its beginning.

    Args:
        whole: the whole title.
        shots: (first frame, one past the last) of each.
        most: how many are taken.
        seconds: of each at most.
    """
    at = np.linspace(0, len(shots) - 1, min(most, len(shots))).round().astype(int).tolist()
    longest = None if seconds is None else max(1, round(seconds * float(whole.facts.fps)))
    stretches = []
    for start, end in (shots[i] for i in at):
        last = min(end, len(whole.pts)) if longest is None else min(end, start + longest, len(whole.pts))
        if start < last:
            stretches.append(Stretch(start, last, int(whole.pts[start]) if start else None))
    pts = np.concatenate([whole.pts[s.start : s.end] for s in stretches])
    return Clip(whole.title_id, whole.group, whole.facts, tuple(stretches), pts)
