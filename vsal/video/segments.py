"""Cutting a title at keyframes into segments that are scanned independently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import av.error
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from vsal.errors import VsalError
from vsal.video.container import open_container
from vsal.video.probe import VideoInfo
from vsal.vitals import vitals

SHORTEST_CUT = 1.5  # titles shorter than this many segments stay whole
LAST_SHARE = 0.25  # of a full segment: the least that the last ones shrink to, since each costs a seek and 40 ms
KEYFRAME_SEARCH_PACKETS = 600  # where a container lands between keyframes: 20 s at 30 frames a second


class SegmentBroken(VsalError):
    """A segment cannot be scanned on its own: the title must be scanned as one, as `WHOLE`."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The frames of a title from one keyframe to another.

    A segment begins with a keyframe. Frames that are shown before that keyframe but stored after it (the leading
    pictures of an open GOP) belong to the segment before.
    """

    index: int
    start_pts: int | None  # of the keyframe; None: from the beginning
    end_pts: int | None  # of the first frame that is not in it; None: to the end

    @property
    def whole(self) -> bool:
        """Whether the segment is the title."""
        return self.start_pts is None and self.end_pts is None


WHOLE = Segment(0, None, None)


def cut_segments(info: VideoInfo, segment_s: float, workers: int = 1) -> list[Segment]:
    """Segments of about `segment_s` seconds each, found by seeking; nothing is decoded.

    Args:
        info: of the title.
        segment_s: length of a full segment; the last ones are shorter.
        workers: how many segments are scanned at a time.

    Raises:
        TitleFailed: the file can no longer be opened.
    """
    if segment_s <= 0:
        raise ValueError(f"a segment needs a length above 0 s, not {segment_s}")
    if not info.segmentable or not info.duration_s or info.duration_s < SHORTEST_CUT * segment_s:
        return [WHOLE]
    starts_s = segment_starts_s(info.duration_s, segment_s, workers)
    with open_container(info.uri) as container:
        stream = container.streams[info.stream_index]
        if not isinstance(stream, VideoStream):
            return [WHOLE]
        discard_others(container, stream)
        targets = (info.zero_pts + round(start_s / info.time_base) for start_s in starts_s[1:])
        starts = sorted({key for target in targets if (key := _keyframe_near(container, stream, target)) is not None})
    inner = [pts for pts in starts if pts > info.zero_pts]
    bounds = [None, *inner, None]
    return [Segment(i, start, end) for i, (start, end) in enumerate(pairwise(bounds))]


def segment_starts_s(duration_s: float, segment_s: float, workers: int) -> list[float]:
    """Where segments should begin, in seconds, the first at 0.

    Towards the end they shrink with what is left for each worker, so that none scans a full segment while the others
    have nothing more to do (guided self-scheduling, Polychronopoulos and Kuck 1987).
    """
    starts, at = [0.0], 0.0
    while True:
        left = duration_s - at
        length = min(segment_s, max(left / (2 * workers), segment_s * LAST_SHARE))
        if left < SHORTEST_CUT * length:
            return starts
        at += length
        starts.append(at)


def discard_others(container: InputContainer, stream: VideoStream) -> None:
    """Have the demuxer drop the packets of all other streams."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def seek_before(container: InputContainer, stream: VideoStream, pts: int) -> None:
    """Go to the last keyframe at or before a time; FFmpegError where the container cannot."""
    container.seek(pts, stream=stream, backward=True)


def packets_from(container: InputContainer, stream: VideoStream) -> Iterator[tuple[int | None, bool]]:
    """(pts, keyframe?) of the packets that follow, without the one that marks the end."""
    for packet in container.demux(stream):
        if packet.size:
            vitals.bytes += packet.size
            yield packet.pts, packet.is_keyframe


def _keyframe_near(container: InputContainer, stream: VideoStream, target: int) -> int | None:
    """The pts of the keyframe at which a seek to `target` lands, or of the next one."""
    try:
        seek_before(container, stream, target)
        for pts, keyframe in islice(packets_from(container, stream), KEYFRAME_SEARCH_PACKETS):
            if keyframe:
                return pts
    except (av.error.FFmpegError, OSError):
        return None  # no cut there; the segment before runs on
    return None
