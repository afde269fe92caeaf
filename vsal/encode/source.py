"""The frames that an encoder is given: every frame of a range, with the manifest's numbering and timestamps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av.error
from av.video.frame import PictureType, VideoFrame

from vsal.encode.source_facts import SourceFacts
from vsal.errors import Reason, TitleFailed
from vsal.video.container import describe
from vsal.video.decode import SegmentReader
from vsal.video.segments import Segment, SegmentBroken


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames of a title, in display order.

    Attributes:
        start: number of the first frame.
        end: one past the last frame; None for all that follow.
        start_pts: timestamp of the first frame; None to count from the beginning of the file.
    """

    start: int = 0
    end: int | None = None
    start_pts: int | None = None


WHOLE = FrameRange()


def frames(facts: SourceFacts, wanted: FrameRange = WHOLE) -> Iterator[VideoFrame]:
    """Decode a range exactly (with the loop filter), ready to be encoded, by the rules that made the manifest.

    Timestamps are whole and strictly rising; picture types are cleared, for an encoder takes the type of a decoded
    frame as an order to code it so.

    Raises:
        TitleFailed: the source does not decode, its picture changes size, or its frames are not those of the manifest.
    """
    info, number = facts.info, wanted.start
    segment = Segment(0, wanted.start_pts if wanted.start else None, None)
    reader = SegmentReader(info, segment, exact=True)
    try:
        for pts, frame in reader.frames():
            if (frame.width, frame.height) != (info.width, info.height):
                raise TitleFailed(
                    Reason.UNSUPPORTED,
                    f"{info.uri} changes its picture from {info.width}x{info.height} to {frame.width}x{frame.height} "
                    f"at frame {number}; one encode has one size: cut the source there",
                )
            frame.pts = pts
            frame.pict_type = PictureType.NONE
            yield frame
            number += 1
            if number == wanted.end:
                return
    except SegmentBroken as error:
        raise TitleFailed(
            Reason.DECODE_ERROR, f"frame {wanted.start} cannot be reached: {error}; encode the title with --no-chunked"
        ) from error
    except av.error.FFmpegError as error:
        raise TitleFailed(Reason.DECODE_ERROR, f"{info.uri} fails at frame {number}: {describe(error)}") from error
    if wanted.end is not None:
        raise TitleFailed(
            Reason.DECODE_ERROR,
            f"{info.uri} ends at frame {number}, its manifest at {wanted.end}: prepare the title again",
        )
