"""Decoded frames of an encode, with the QPs of their blocks where the decoder reports them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vsal.errors import Reason, TitleFailed
from vsal.video.container import open_container
from vsal.video.probe import best_video_stream

_STEPS_BACK_S = (0.0, 2.0, 15.0)
INTRA = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded frame of an encode; `qp` is int [rows, cols] per 16x16 block where the decoder reports it (H.264)."""

    time_s: float
    intra: bool
    frame: VideoFrame
    qp: NDArray[np.int32] | None


def decoded_from(uri: str, time_s: float, slack_s: float) -> Iterator[Decoded]:
    """Frames of an encode from a time on; the first one lies within `slack_s` of it.

    Raises:
        TitleFailed: the encode holds no such frame.
    """
    for back_s in (*_STEPS_BACK_S, None):
        found = _decoded(uri, None if back_s is None else time_s - back_s)
        first = next(found, None)
        if first is None or first.time_s > time_s + slack_s:
            continue
        while first is not None and first.time_s < time_s - slack_s:
            first = next(found, None)
        if first is None:
            break
        yield first
        yield from found
        return
    raise TitleFailed(Reason.DECODE_ERROR, f"{uri} has no frame at {time_s:.3f} s: it is not an encode of this title")


def _decoded(uri: str, seek_s: float | None) -> Iterator[Decoded]:
    with open_container(uri) as container:
        stream = best_video_stream(container, uri)
        decoder = stream.codec_context
        decoder.thread_count = 1
        decoder.options = {"skip_loop_filter": "default", "export_side_data": "venc_params"}
        if seek_s is not None and stream.time_base is not None:
            container.seek(round(seek_s / stream.time_base), backward=True, stream=stream)
        for frame in container.decode(stream):
            if frame.time is not None:
                yield Decoded(frame.time, frame.pict_type == INTRA, frame, _qp(frame, stream))


def _qp(frame: VideoFrame, stream: VideoStream) -> NDArray[np.int32] | None:
    if stream.codec_context.codec.canonical_name != "h264":
        return None
    held: Any = frame.side_data
    params = next((data for data in held if data.type == Type.VIDEO_ENC_PARAMS), None)
    return None if params is None else params.qp_map()
