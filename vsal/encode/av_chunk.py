"""Encoding a run of frames with x264, x265 or VP9 into a chunk file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import av
import av.error
from av.video.frame import PictureType, VideoFrame

from vsal.encode.av_encoder import encoder_format, encoder_options, open_stream
from vsal.encode.cells import with_gain
from vsal.encode.picture import Picture
from vsal.encode.roi_graphs import FrameShape, RoiMarker, RoiUnit
from vsal.encode.settings import EncodeSettings
from vsal.errors import Reason, TitleFailed
from vsal.manifest import MapRow
from vsal.roi.qp import QpMapping
from vsal.video.container import describe


def encode_av_chunk(
    found: Iterable[VideoFrame],
    picture: Picture,
    maps: Iterable[MapRow] | None,
    settings: EncodeSettings,
    path: str,
    first_frame: int = 0,
    mapping: QpMapping | None = None,
    gain: float | None = None,
    on_frame: Callable[[int], None] = lambda done: None,
) -> list[int]:
    """Encode frames, each under its map, into an MP4 that holds nothing else.

    Args:
        found: the frames, in display order, with whole timestamps.
        picture: of the source.
        maps: those of the frames, in order; None for a plain encode.
        settings: of the encode.
        path: local file to write.
        first_frame: number of the first frame in its title.
        mapping: by which saliency becomes QP, where `gain` asks for other offsets than the maps'.
        gain: strength of the maps; None leaves them as they are.
        on_frame: told how many frames are done.

    Returns:
        Timestamps of the frames, in the source's time base. Those in the file begin at 0.

    Raises:
        TitleFailed: source, maps and encoder do not fit each other.
        SettingsError: the encoder does not take a setting.
    """
    pix_fmt = encoder_format(settings, picture)
    shape = FrameShape(picture.info.width, picture.info.height, pix_fmt, picture.info.time_base)
    unit = RoiUnit.of(settings.codec, _bit_depth(pix_fmt))
    if maps is not None and gain is not None:
        maps = (replace(row, qp_offset=with_gain(row, mapping or QpMapping(), gain)) for row in maps)
    marker = None if maps is None else RoiMarker(maps, shape, unit, settings.max_rectangles, first_frame)
    times: list[int] = []
    options = {"video_track_timescale": str(picture.info.time_base.denominator)}
    try:
        with av.open(path, "w", format="mp4", container_options=options) as output, marker or nullcontext():
            stream = open_stream(output, settings, picture, encoder_options(settings, picture))
            for frame in _formatted(found, pix_fmt):
                times.append(frame.pts or 0)
                given = frame if marker is None else marker.mark(frame)
                given.pts, given.time_base = times[-1] - times[0], picture.info.time_base
                given.pict_type = PictureType.NONE
                output.mux(stream.encode(given))
                on_frame(len(times))
            output.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        detail = f"{settings.codec} fails at frame {first_frame + len(times)} of {picture.info.uri}: {describe(error)}"
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
