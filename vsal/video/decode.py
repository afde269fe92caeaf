"""The frames of a segment in display order, from a single-threaded decoder, whatever the state of the file."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsal.errors import Reason, TitleFailed
from vsal.video.container import MAX_PIXELS, describe, error_lines, open_container
from vsal.video.probe import VideoInfo
from vsal.video.segments import Segment, SegmentBroken, discard_others, seek_before
from vsal.video.times import TimeDisorder, Timestamps
from vsal.vitals import vitals

READ_ERRORS = 16  # in a row: a demuxer that gets no further is at the file's end
PACKETS_WITHOUT_PICTURE = 3000  # at the beginning: two minutes in which nothing decodes are not a video
SEEK_STEPS_BACK_S = (1, 4, 16, 64)  # how much earlier to aim when a seek lands too late


class SegmentReader:
    """Decodes one segment.

    Attributes:
        decode_errors: packets in which damage was met, by an error or by concealment that the decoder reported; reading
            failures count as one each.
        keyframes: keyframe packets of the segment.
    """

    def __init__(self, info: VideoInfo, segment: Segment, exact: bool = False) -> None:
        self._info, self._segment, self._exact = info, segment, exact
        # Times by coding order are counted from the file's first packet: nothing is sought.
        self._seeks = segment.start_pts is not None and not info.timed_by_coding
        strict = not segment.whole and not info.timed_by_coding
        self._clock = Timestamps(info.frame_duration, strict, info.timed_by_coding)
        self.decode_errors = 0
        self.keyframes = 0

    def frames(self) -> Generator[tuple[int, VideoFrame], None, None]:
        """(pts, frame) from the segment's first frame on, pts strictly increasing; runs on past the segment's end.

        Raises:
            SegmentBroken: the first frame is not at the segment's beginning, or frames carry no dependable times.
            TitleFailed: the file cannot be read, or nothing in it decodes.
        """
        try:
            yield from self._frames()
        except (av.error.FFmpegError, OSError) as error:  # OSError: a remote read that failed
            raise TitleFailed(Reason.UNREADABLE, f"reading {self._info.uri} failed: {describe(error)}") from error

    def _frames(self) -> Iterator[tuple[int, VideoFrame]]:
        start = self._segment.start_pts
        with open_container(self._info.uri) as container:
            stream = container.streams[self._info.stream_index]
            if not isinstance(stream, VideoStream):
                raise TitleFailed(Reason.NO_VIDEO, f"stream {stream.index} of {self._info.uri} is no longer a video")
            discard_others(container, stream)
            decoder = _configure(stream, self._exact)
            if start is not None and self._seeks:
                self._seek(container, stream, start)
            begun = False
            for frame in self._decoded(container, stream, decoder):
                early = start is not None and frame.pts is not None and frame.pts < start
                if early and not begun and self._seeks:
                    continue
                try:
                    pts = self._clock.next(frame)
                except TimeDisorder as error:
                    raise self._broken(str(error)) from error
                if start is not None and not begun and pts != start:
                    if pts < start:
                        continue
                    raise self._broken(f"its first frame is at pts {pts}")
                begun = True
                yield pts, frame
            if not begun and start is not None:
                raise self._broken("no frame of it decodes")
            if not begun:
                raise TitleFailed(
                    Reason.DECODE_ERROR,
                    f"no frame of {self._info.uri} could be decoded ({self.decode_errors} damaged packets)",
                )

    def _broken(self, why: str) -> SegmentBroken:
        start = self._segment.start_pts
        return SegmentBroken(f"segment {self._segment.index} of {self._info.uri} begins at pts {start}, but {why}")

    def _seek(self, container: InputContainer, stream: VideoStream, start: int) -> None:
        """Go to the segment's keyframe, or anywhere before it."""
        for back_s in (0, *SEEK_STEPS_BACK_S):
            try:
                seek_before(container, stream, start - round(back_s / self._info.time_base))
                landed = next((p.pts for p in container.demux(stream) if p.is_keyframe), None)
                if landed is not None and landed <= start:
                    seek_before(container, stream, start - round(back_s / self._info.time_base))
                    return
            except av.error.FFmpegError:
                continue
        raise self._broken("the container cannot seek there")

    def _decoded(
        self, container: InputContainer, stream: VideoStream, decoder: VideoCodecContext
    ) -> Iterator[VideoFrame]:
        shown = False
        for seen, packet in enumerate(self._packets(container, stream)):
            lines = error_lines()
            mine = self._counts(packet)
            if packet.size:
                self._clock.feed(packet)
            try:
                frames = decoder.decode(packet)
            except (av.error.FFmpegError, ValueError):
                frames = []
                self.decode_errors += mine
            else:
                self.decode_errors += mine and error_lines() > lines
            self.keyframes += mine and packet.is_keyframe
            shown = shown or bool(frames)
            vitals.frames += len(frames)
            vitals.bytes += packet.size
            if not shown and seen > PACKETS_WITHOUT_PICTURE:
                return
            yield from frames

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[Any]]:
        """Packets to the end of the file and the empty one that flushes, going on after reading failures."""
        failures = 0
        while True:
            try:
                for packet in container.demux(stream):
                    if packet.size:
                        failures = 0
                    yield packet
                return
            except av.error.FFmpegError:
                self.decode_errors += 1 if failures == 0 else 0
                failures += 1
                if failures > READ_ERRORS:
                    break
        yield Packet()

    def _counts(self, packet: Packet[Any]) -> bool:
        """Whether the packet is the segment's own: those on both sides that it also decodes count elsewhere."""
        pts, start, end = packet.pts, self._segment.start_pts, self._segment.end_pts
        if pts is None or not packet.size:
            return self._segment.whole or not packet.size
        return (start is None or pts >= start) and (end is None or pts < end)


def _configure(stream: VideoStream, exact: bool) -> VideoCodecContext:
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_PIXELS)} | ({} if exact else {"skip_loop_filter": "all"})
    return decoder
