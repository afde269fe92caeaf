"""One pass over a segment: cut scores and motion of every frame, and the frames that a model will see."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from vsal.video.clock import SampleClock
from vsal.video.decode import SegmentReader
from vsal.video.earlier import REACH_S, EarlierFrames
from vsal.video.filling import Filling, MotionMaps, ScannedFrame, stacked, stacked_motion
from vsal.video.pixels import TINY_SIZE, InputMaker, Thumbnailer, tiny_picture
from vsal.video.probe import VideoInfo, check_size, display_aspect
from vsal.video.segments import Segment, SegmentBroken

SizeFor = Callable[[float], tuple[int, int]]
CHUNK_FRAMES = 256
SCORE_OF_NEW_SIZE = 255.0  # the highest there is: pictures of different sizes cannot be compared


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How a segment is scanned."""

    sample_rate: float  # frames a second that the model sees
    exact_decode: bool = False  # run the loop filter
    tiny: bool = False  # a 48x27 picture of every frame, for cut models
    motion: MotionMaps | None = None  # change of luma per pixel at model size, for video models
    window_frames: int = 16  # samples a chunk holds at most


class Past(NamedTuple):
    """The frame one past a segment's end, which is the first of the next segment."""

    pts: int
    score: float  # against the segment's last frame
    motion: float
    digest: bytes


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """What is known of a segment once it has been decoded; two segments meet where `past` is the next one's first."""

    frames: int
    decode_errors: int
    first_digest: bytes
    past: Past | None  # None at the title's end
    last_duration_pts: int  # of the last frame, as its packet tells; 0 where it does not
    interlaced: bool
    keyframes: int


@dataclass(slots=True)
class Chunk:
    """A run of a segment's frames, in display order; frames are numbered from the segment's first.

    Attributes:
        first: number of the first frame in it.
        score: float64 [n], cut score against the frame before; nan for a segment's first frame.
        motion: float32 [n], mean absolute luma change against the frame before, 0..255; 0 for a segment's first frame.
        sizes: (frame, width, height) of the segment's first frame and of each whose size differs from the one before.
        samples: int64 [m], the frames that the model sees. The last may be the frame one past the segment's end: it
            belongs to this segment, which knows both its neighbours, and not to the next. With signed motion so do all
            within REACH_S of the end, for the next segment does not know what was before them.
        frames: uint8 [m, h, w, 3] RGB, upright.
        motion_maps: uint8 [m, h, w], absolute luma change against the frame before; or int8 [m, 2, h, w] of signed.
        sample_motion: float32 [m].
        tiny: uint8 [n, 27, 48, 3] RGB.
        end: set on the segment's last chunk.
    """

    seq: int
    segment: int
    first: int
    pts: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    motion: npt.NDArray[np.float32]
    sizes: list[tuple[int, int, int]]
    samples: npt.NDArray[np.int64]
    frames: npt.NDArray[np.uint8]
    motion_maps: npt.NDArray[np.uint8 | np.int8] | None
    sample_motion: npt.NDArray[np.float32]
    tiny: npt.NDArray[np.uint8] | None
    end: SegmentEnd | None = None


def scan_segment(info: VideoInfo, segment: Segment, settings: ScanSettings, size_for: SizeFor) -> Iterator[Chunk]:
    """Decode a segment once and yield its chunks; scanned again, it yields the same chunks.

    Args:
        info: of the title.
        segment: one of `cut_segments(info)`, or WHOLE.
        settings: what to gather.
        size_for: width and height of the model's input for a display aspect ratio.

    Raises:
        SegmentBroken: the segment cannot be scanned on its own; scan the title as WHOLE.
        TitleFailed: the title cannot be scanned at all.
    """
    cv2.setNumThreads(1)  # parallel work is one segment a core
    return _Scan(info, segment, settings, size_for).chunks()


class _Scan:
    """The state of one pass over a segment."""

    def __init__(self, info: VideoInfo, segment: Segment, settings: ScanSettings, size_for: SizeFor) -> None:
        self._info, self._segment, self._settings, self._size_for = info, segment, settings, size_for
        self._reader = SegmentReader(info, segment, settings.exact_decode)
        self._clock = SampleClock(settings.sample_rate, info.time_base, info.zero_pts)
        signed = settings.motion == "signed"
        self._earlier = EarlierFrames(settings.sample_rate, info.time_base, info.zero_pts) if signed else None
        self._reach = round(REACH_S / info.time_base) if signed else 0
        self._thumbnails: Thumbnailer | None = None
        self._maker: InputMaker | None = None
        self._size: tuple[int, int] | None = None  # of the frames in the chunk being filled
        self._filling = Filling(0)
        self._seq = 0
        self._seen = 0  # frames decoded
        self._frames = 0  # those of them that are the segment's
        self._interlaced = False
        self._duration = 0
        self._first_digest = b""
        self._past: Past | None = None

    def chunks(self) -> Iterator[Chunk]:
        earlier: ScannedFrame | None = None
        before: ScannedFrame | None = None  # the frame ahead of `earlier`, kept for motion maps only
        source = self._reader.frames()
        try:
            for pts, picture in source:
                if earlier is None:
                    frame = self._measured(pts, picture)
                    # Otherwise the segment before decides on it.
                    frame.wanted = frame.held = self._segment.start_pts is None
                else:
                    at_earlier, at_this = self._clock.pick(earlier.pts, pts)
                    earlier.wanted |= at_earlier and self._owns(earlier)
                    held_later = False
                    if self._earlier is not None:
                        hold, held_later = self._earlier.pick(earlier.pts, pts)
                        earlier.held |= hold
                    if self._past is not None and pts > self._past.pts + self._reach:
                        break  # past all samples that are the segment's: this frame was needed to know the last of them
                    yield from self._commit(earlier, before)
                    frame = self._measured(pts, picture)
                    frame.wanted, frame.held = at_this and self._owns(frame), held_later
                before = earlier if earlier and self._settings.motion else None
                earlier = frame
                self._note_end(frame)
        finally:
            source.close()
        if self._segment.end_pts is not None and self._past is None:
            raise self._broken(f"ends before the next begins, at pts {self._segment.end_pts}")
        if earlier is not None:
            yield from self._commit(earlier, before)
        yield self._flush(last=True)

    def _owns(self, frame: ScannedFrame) -> bool:
        """Whether the frame, if it is a sample, is this segment's and not that of the one before."""
        start = self._segment.start_pts
        return start is None or frame.pts > start + self._reach

    def _measured(self, pts: int, picture: VideoFrame) -> ScannedFrame:
        """The frame with its score and motion against the one before."""
        number, self._seen = self._seen, self._seen + 1
        thumbnails = self._thumbnails
        if thumbnails is None or thumbnails.picture_size != (picture.width, picture.height):
            check_size(picture.width, picture.height, self._info.uri)
            thumbnails = self._thumbnails = Thumbnailer(picture)
            thumbnails.add(picture)
            score, motion = (SCORE_OF_NEW_SIZE, 0.0) if number else (math.nan, 0.0)
        else:
            score, motion = thumbnails.add(picture)
        if number == 0:
            self._first_digest = thumbnails.digest(pts)
        if self._past is None:
            self._frames += 1
            self._interlaced |= picture.interlaced_frame
        tiny = tiny_picture(picture) if self._settings.tiny else None
        return ScannedFrame(number, pts, picture, score, motion, tiny)

    def _note_end(self, frame: ScannedFrame) -> None:
        """Recognises the frame one past the segment's end."""
        end_pts = self._segment.end_pts
        if self._past is not None:
            return
        if end_pts is None or frame.pts < end_pts:
            timed = frame.picture.pts is not None  # durations of frames without a time are made up
            self._duration = frame.picture.duration if timed else 0
            return
        if frame.pts != end_pts:
            raise self._broken(f"should end at pts {end_pts}, but the frame there is at pts {frame.pts}")
        self._frames -= 1
        assert self._thumbnails is not None
        self._past = Past(frame.pts, frame.score, frame.motion, self._thumbnails.digest(frame.pts))

    def _commit(self, frame: ScannedFrame, before: ScannedFrame | None) -> Iterator[Chunk]:
        """Puts a frame into the chunk being filled, and gives that out when it is full."""
        size = (frame.picture.width, frame.picture.height)
        if size != self._size:
            if self._filling.pts:
                yield self._flush()
            self._size = size
            aspect = display_aspect(*size, self._info.sample_aspect_ratio, self._info.orientation)
            self._maker = InputMaker(frame.picture, self._size_for(aspect), self._info.orientation)
            if self._earlier is not None:
                self._earlier.forget()
            if frame.number < self._frames:
                self._filling.sizes.append((frame.number, *size))
        filling = self._filling
        if frame.number < self._frames:  # not the one past the end
            filling.pts.append(frame.pts)
            filling.score.append(frame.score)
            filling.motion.append(frame.motion)
            if frame.tiny is not None:
                filling.tiny.append(frame.tiny)
        if frame.wanted:
            self._sample(frame, before)
        if self._earlier is not None and frame.held:
            assert self._maker is not None
            self._earlier.hold(frame.pts, self._maker.luma(frame.picture))
        if len(filling.samples) >= self._settings.window_frames or len(filling.pts) >= CHUNK_FRAMES:
            yield self._flush()

    def _sample(self, frame: ScannedFrame, before: ScannedFrame | None) -> None:
        filling, maker = self._filling, self._maker
        assert maker is not None
        filling.samples.append(frame.number)
        filling.frames.append(maker.rgb(frame.picture))
        filling.sample_motion.append(frame.motion)
        if before is not None and (before.picture.width, before.picture.height) != self._size:
            before = None
        if self._earlier is not None:
            last = None if before is None else (before.pts, partial(maker.luma, before.picture))
            filling.motion_maps.append(self._earlier.changes(frame.pts, maker.luma(frame.picture), last))
        elif self._settings.motion:
            still = np.zeros(maker.size[::-1], np.uint8)
            filling.motion_maps.append(still if before is None else maker.change(frame.picture, before.picture))

    def _flush(self, last: bool = False) -> Chunk:
        filling, size = self._filling, (0, 0) if self._maker is None else self._maker.size
        self._filling = Filling(filling.first + len(filling.pts))
        chunk = Chunk(
            seq=self._seq,
            segment=self._segment.index,
            first=filling.first,
            pts=np.array(filling.pts, np.int64),
            score=np.array(filling.score, np.float64),
            motion=np.array(filling.motion, np.float32),
            sizes=filling.sizes,
            samples=np.array(filling.samples, np.int64),
            frames=stacked(filling.frames, (*size[::-1], 3)),
            motion_maps=stacked_motion(filling.motion_maps, size[::-1], self._settings.motion),
            sample_motion=np.array(filling.sample_motion, np.float32),
            tiny=stacked(filling.tiny, (*TINY_SIZE[::-1], 3)) if self._settings.tiny else None,
            end=self._end() if last else None,
        )
        self._seq += 1
        return chunk

    def _end(self) -> SegmentEnd:
        return SegmentEnd(
            frames=self._frames,
            decode_errors=self._reader.decode_errors,
            first_digest=self._first_digest,
            past=self._past,
            last_duration_pts=self._duration,
            interlaced=self._interlaced,
            keyframes=self._reader.keyframes,
        )

    def _broken(self, why: str) -> SegmentBroken:
        return SegmentBroken(f"segment {self._segment.index} of {self._info.uri} {why}")
