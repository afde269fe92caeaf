"""Encoding a run of frames with x264, x265 or VP9 into a chunk file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import av
import av.error
from av.video.frame import PictureType, VideoFrame

from vsal.encode.av_encoder import encoder_format, encoder_options, open_stream
from vsal.encode.cells import with_gain
from vsal.encode.chunk_input import ChunkInput
from vsal.encode.roi_graphs import FrameShape, RoiMarker, RoiUnit
from vsal.errors import Reason, TitleFailed
from vsal.video.container import describe

# x265 takes decoding times from the frames this long before; in a shorter run they are whatever lay in its memory, and
# no muxer takes them. Two frames are not reordered.
X265_DELAY = 2


def encode_av_chunk(chunk: ChunkInput, path: str) -> list[int]:
    """Encode frames, each under its map, into an MP4 that holds nothing else; as `encode_frames` says."""
    picture, settings, maps = chunk.picture, chunk.settings, chunk.maps
    pix_fmt = encoder_format(settings, picture)
    shape = FrameShape(picture.info.width, picture.info.height, pix_fmt, picture.info.time_base)
    unit = RoiUnit.of(settings.codec, _bit_depth(pix_fmt))
    if maps is not None and chunk.gain is not None:
        gain = chunk.gain
        maps = (replace(row, qp_offset=with_gain(row, chunk.mapping, gain)) for row in maps)
    marker = None if maps is None else RoiMarker(maps, shape, unit, settings.max_rectangles, chunk.first_frame)
    times: list[int] = []
    options = {"video_track_timescale": str(picture.info.time_base.denominator)}
    try:
        with av.open(path, "w", format="mp4", container_options=options) as output, marker or nullcontext():
            stream = open_stream(output, settings, picture, encoder_options(settings, picture))
            for frame in _formatted(chunk.found, pix_fmt):
                times.append(frame.pts or 0)
                given = frame if marker is None else marker.mark(frame)
                given.pts, given.time_base = times[-1] - times[0], picture.info.time_base
                given.pict_type = PictureType.NONE
                output.mux(stream.encode(given))
                chunk.on_frame(len(times))
            last = stream.encode(None)
            if len(times) <= X265_DELAY:
                for packet in last:
                    packet.dts = packet.pts
            output.mux(last)
    except av.error.FFmpegError as error:
        number = chunk.first_frame + len(times)
        detail = f"{settings.codec} fails at frame {number} of {picture.info.uri}: {describe(error)}"
        raise TitleFailed(Reason.UNSUPPORTED, detail) from error
    return times


def _bit_depth(pix_fmt: str) -> int:
    return max(component.bits for component in av.VideoFormat(pix_fmt).components)


def _formatted(found: Iterable[VideoFrame], pix_fmt: str) -> Iterator[VideoFrame]:
    """Frames in the encoder's format: converted where it differs, relabelled where only the name of the range does."""
    for frame in found:
        if frame.format.name == pix_fmt:
            yield frame
            continue
        pts, time_base = frame.pts, frame.time_base
        same_range = frame.format.name.replace("yuvj", "yuv") == pix_fmt
        converted = frame.reformat(
            format=pix_fmt, **({"src_color_range": 2, "dst_color_range": 2} if same_range else {})
        )
        converted.pts, converted.time_base = pts, time_base
        yield converted
