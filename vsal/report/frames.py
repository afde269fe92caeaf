"""The pictures of chosen frames: of a title only the segments are decoded in which they lie."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from vsal.errors import Reason, TitleFailed
from vsal.report.overlay import Rgb
from vsal.video.decode import SegmentReader
from vsal.video.pixels import InputMaker
from vsal.video.probe import VideoInfo
from vsal.video.segments import WHOLE, Segment, SegmentBroken, cut_segments

# Short, because a segment is decoded from its beginning to the last frame wanted in it.
SEGMENT_S = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A frame to be had. Files know times, not frame numbers: it is counted from a frame whose time is known."""

    frame: int
    anchor: int  # number of a frame at or before it
    anchor_pts: int
    size: tuple[int, int]  # (width, height) of the picture, upright


def pictures_at(info: VideoInfo, wanted: Sequence[Wanted]) -> dict[int, tuple[int, Rgb]]:
    """The pictures of frames, upright: frame number -> (pts, uint8 RGB [h, w, 3]).

    Raises:
        TitleFailed: the file cannot be read, or is not the one that the frames were counted in.
    """
    segments = cut_segments(info, SEGMENT_S)
    starts = [segment.start_pts for segment in segments if segment.start_pts is not None]
    parts: dict[int, list[Wanted]] = {}
    for item in sorted(wanted, key=lambda item: item.frame):
        parts.setdefault(bisect_right(starts, item.anchor_pts), []).append(item)
    found: dict[int, tuple[int, Rgb]] = {}
    for place, items in parts.items():
        try:
            found |= _decode(info, segments[place], items)
        except SegmentBroken:
            found |= _decode(info, WHOLE, items)
    missing = [item.frame for item in wanted if item.frame not in found]
    if missing:
        detail = f"{info.uri} has no frame {missing[0]}: it is not the video that was prepared"
        raise TitleFailed(Reason.DECODE_ERROR, detail)
    return found


def _decode(info: VideoInfo, segment: Segment, items: Sequence[Wanted]) -> dict[int, tuple[int, Rgb]]:
    found: dict[int, tuple[int, Rgb]] = {}
    open_items = list(items)
    anchored: dict[int, int] = {}  # anchor -> frames decoded since
    for pts, frame in SegmentReader(info, segment, exact=True).frames():
        for anchor in anchored:
            anchored[anchor] += 1
        for item in open_items:
            if pts >= item.anchor_pts:
                anchored.setdefault(item.anchor, 0)
        hits = [item for item in open_items if anchored.get(item.anchor) == item.frame - item.anchor]
        for item in hits:
            found[item.frame] = (pts, InputMaker(frame, item.size, info.orientation).rgb(frame))
            open_items.remove(item)
        if not open_items:
            break
    return found
