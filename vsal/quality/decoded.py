"""Decoded frames of an encode in step with its source, with the QPs of their blocks where the decoder reports them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import av.error
import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vsal.errors import Reason, TitleFailed
from vsal.video.colour import FULL_RANGE
from vsal.video.container import MAX_PIXELS, describe, open_container
from vsal.video.probe import VideoInfo, best_video_stream

_STEPS_BACK_S = (0.0, 2.0, 15.0)  # how much earlier to aim when a seek lands too late
_RATE_TOLERANCE = 0.005  # 23.976 and 24 are 0.1 % apart, and average rates of short files as much; 24 and 25 are 4 %
INTRA = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded frame of an encode; `qp` is int [rows, cols] per 16x16 block where the decoder reports it (H.264)."""

    time_s: float
    intra: bool
    frame: VideoFrame
    qp: NDArray[np.int32] | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A frame of the source, and the frame that the encode shows in its place.

    Attributes:
        time_s: of the source's frame, on the source's clock.
        source: its frame.
        encoded: the encode's; None where it shows none while the source's frame is on.
    """

    time_s: float
    source: VideoFrame
    encoded: Decoded | None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something in which an encode and its source differ, so that a comparison would mislead."""

    kind: Literal["size", "rate", "range"]
    detail: str  # a sentence with the numbers and the remedy


def decoded_from(uri: str, time_s: float | None = None) -> Iterator[Decoded]:
    """Frames of an encode in display order, from one at or before a time on, its beginning if there is none or None.

    Times are those of the container: seconds, as precise as its time base (Matroska's is a millisecond).

    Raises:
        TitleFailed: the encode cannot be read, or stops decoding.
    """
    if time_s is not None:
        for back_s in _STEPS_BACK_S:
            found = _decoded(uri, time_s - back_s)
            try:
                first = next(found, None)
            except TitleFailed:  # containers without an index (IVF) seek into the middle of a group of pictures
                continue
            if first is not None and first.time_s <= time_s:
                yield first
                yield from found
                return
    yield from _decoded(uri, None)


def in_step(source: Iterable[VideoFrame], encoded: Iterable[Decoded], shift_s: float = 0.0) -> Iterator[Pair]:
    """Each frame of a source with the encode's frame that lies nearest to it, by their times.

    A frame of the encode belongs to the source's frame whose time it is nearest to, so the slack is half of that
    frame's own duration: wide enough for times that a container rounds, and for no more than one frame where frames
    follow each other faster than on average. Frames of the encode beside the nearest are passed over.

    Args:
        source: frames with strictly rising `pts`, in their `time_base`.
        encoded: frames of the encode in display order; those before the source's first are passed over.
        shift_s: what is added to a source's time to get the encode's.

    Yields:
        A pair for each frame of the source, also where the encode has none.
    """
    frames = iter(encoded)
    waiting = next(frames, None)
    for frame, time_s, begin_s, end_s in _with_bounds(source):
        nearest: Decoded | None = None
        while waiting is not None and waiting.time_s - shift_s < end_s:
            away_s = abs(waiting.time_s - shift_s - time_s)
            if waiting.time_s - shift_s >= begin_s and (
                nearest is None or away_s < abs(nearest.time_s - shift_s - time_s)
            ):
                nearest = waiting
            waiting = next(frames, None)
        yield Pair(time_s, frame, nearest)


def _with_bounds(source: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, float, float, float]]:
    """Frames with their time and the halves of the way to the frames before and after, in seconds.

    The first has no frame before it, so it reaches as far back as forward; the last likewise, and one alone takes all.
    """
    before_s: float | None = None
    held: tuple[VideoFrame, float] | None = None
    for frame in source:
        time_s = time_of(frame)
        if held is not None:
            half_s = (time_s - held[1]) / 2
            yield *held, held[1] - half_s if before_s is None else (before_s + held[1]) / 2, held[1] + half_s
            before_s = held[1]
        held = frame, time_s
    if held is not None:
        half_s = float("inf") if before_s is None else (held[1] - before_s) / 2
        yield *held, held[1] - half_s, held[1] + half_s


def time_of(frame: VideoFrame) -> float:
    """Of a frame that carries one, in seconds.

    Raises:
        ValueError: it carries none.
    """
    if frame.pts is None or frame.time_base is None:
        raise ValueError(f"a frame in step needs pts and time base, not {frame.pts} in {frame.time_base}")
    return float(frame.pts * frame.time_base)


def mismatches(source: VideoInfo, encoded: VideoInfo) -> tuple[Mismatch, ...]:
    """What keeps an encode from being compared with a source frame by frame.

    Size, frame rate (0.5 % apart or more) and range of luma; depths may differ, since luma is compared in 8-bit units.
    """
    found = []
    sizes = [f"{info.width}x{info.height}" for info in (source, encoded)]
    if sizes[0] != sizes[1]:
        found.append(Mismatch("size", f"the source has {sizes[0]}, it has {sizes[1]}; scale it back first"))
    if source.fps and encoded.fps and abs(float(encoded.fps / source.fps) - 1.0) >= _RATE_TOLERANCE:
        told = f"the source has {float(source.fps):.3f} frames a second, it has {float(encoded.fps):.3f}"
        found.append(Mismatch("rate", f"{told}; frames without a partner are left out: take a source of its rate"))
    ranges = ["full" if full_range(info) else "limited" for info in (source, encoded)]
    if ranges[0] != ranges[1]:
        told = f"luma of the source is marked {ranges[0]} range, its own {ranges[1]}"
        found.append(Mismatch("range", f"{told}; convert one of them, or correct the mark where it is wrong"))
    return tuple(found)


def full_range(info: VideoInfo) -> bool:
    """Whether luma is 0..255 rather than 16..235."""
    return info.color_range == FULL_RANGE or info.pix_fmt.startswith("yuvj")


def _decoded(uri: str, seek_s: float | None) -> Iterator[Decoded]:
    with open_container(uri) as container:
        stream = best_video_stream(container, uri)
        decoder = stream.codec_context
        decoder.thread_count = 1
        # The loop filter runs: what is judged are the pixels that a player shows.
        decoder.options = {
            "skip_loop_filter": "default",
            "export_side_data": "venc_params",
            "max_pixels": str(MAX_PIXELS),
        }
        try:
            if seek_s is not None and stream.time_base is not None:
                with suppress(av.error.FFmpegError):  # then it is read from its beginning
                    container.seek(round(seek_s / stream.time_base), backward=True, stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None:
                    yield Decoded(frame.time, frame.pict_type == INTRA, frame, _qp(frame, stream))
        except av.error.FFmpegError as error:
            raise TitleFailed(Reason.DECODE_ERROR, f"{uri} does not decode: {describe(error)}") from error


def _qp(frame: VideoFrame, stream: VideoStream) -> NDArray[np.int32] | None:
    if stream.codec_context.codec.canonical_name != "h264":
        return None
    held: Any = frame.side_data
    params = next((data for data in held if data.type == Type.VIDEO_ENC_PARAMS), None)
    return None if params is None else params.qp_map()
