"""What the pictures of a source are, as far as an encoder must be told."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
import av.logging
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsal.errors import Reason, TitleFailed
from vsal.video.colour import HLG, PQ
from vsal.video.container import describe, open_container
from vsal.video.probe import VideoInfo, probe

_MATRIX_UNITS = struct.Struct("=9i")
# AVMasteringDisplayMetadata: primaries R, G, B (x, y) and white point as rationals, then min and max luminance, flags.
_MASTERING = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")
# AVDOVIMetadata begins with where its header lies; AVDOVIRpuDataHeader, from vdr_rpu_profile to disable_residual_flag.
_DOVI_HEADER_AT = struct.Struct("=Q")
_DOVI_HEADER = struct.Struct("=4x13B")
_DOVI_DECLARED = "DOVI configuration record"
_SITING = re.compile(r" cl:(\w+)")
# Further side data that the first frame has where the source says it at all, and people's word for it.
_AMBIENT, _SPHERICAL, _STEREO = "ambient viewing environment", "spherical projection", "stereoscopic layout"
_FURTHER = {
    Type.DYNAMIC_HDR_PLUS: "HDR10+",
    Type.DYNAMIC_HDR_VIVID: "HDR Vivid",
    Type.AMBIENT_VIEWING_ENVIRONMENT: _AMBIENT,
    Type.SPHERICAL: _SPHERICAL,
    Type.STEREO3D: _STEREO,
    Type.ICC_PROFILE: "ICC profile",
    Type.A53_CC: "closed captions",
}


@dataclass(frozen=True, slots=True)
class Mastering:
    """The display on which an HDR title was graded (SMPTE ST 2086): CIE 1931 coordinates and cd/m2."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float]
    min_nits: float
    max_nits: float

    def integers(self) -> str:
        """As x264 and x265 take it: steps of 0.00002 and of 0.0001 cd/m2."""
        g, b, r, w = (tuple(round(v * 50000) for v in c) for c in (self.green, self.blue, self.red, self.white))
        nits = round(self.max_nits * 10000), round(self.min_nits * 10000)
        return f"G({g[0]},{g[1]})B({b[0]},{b[1]})R({r[0]},{r[1]})WP({w[0]},{w[1]})L({nits[0]},{nits[1]})"

    def decimals(self) -> str:
        """As SVT-AV1 takes it."""
        parts = zip("GBR", (self.green, self.blue, self.red), strict=True)
        text = "".join(f"{name}({x:.5f},{y:.5f})" for name, (x, y) in parts)
        return f"{text}WP({self.white[0]:.5f},{self.white[1]:.5f})L({self.max_nits:.4f},{self.min_nits:.4f})"


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """Geometry, format, time base and colour of a title's frames.

    Attributes:
        info: what the probe found; width and height are in coded orientation, before display rotation.
        sample_aspect_ratio: None where the source does not say.
        display_matrix: nine numbers of FFmpeg's display matrix; None for an upright picture.
        light: MaxCLL and MaxFALL, in cd/m2.
        chroma_siting: FFmpeg's word for where the samples of chroma lie (`left`, `topleft`, ...); None where the source
            says nothing.
        dolby_vision: profile and, after a point, with what the picture alone is compatible, as 8.4; None without it.
        dolby_vision_declared: whether the container says so too, without which players take the pictures as they are.
        further: what else is said of the pictures, in people's words: HDR10+, a projection of 360 degrees.
    """

    info: VideoInfo
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...] | None
    mastering: Mastering | None
    light: tuple[int, int] | None
    chroma_siting: str | None = None
    dolby_vision: str | None = None
    dolby_vision_declared: bool = False
    further: tuple[str, ...] = ()

    @property
    def has_sample_entry_boxes(self) -> bool:
        """Whether something is said of the pictures that lies in a container's header and is copied from there."""
        return bool({_AMBIENT, _SPHERICAL, _STEREO} & set(self.further))

    @property
    def fps(self) -> Fraction:
        """Average frame rate; 25 where nothing is known."""
        return self.info.fps or Fraction(25)


def read_stream_facts(uri: str) -> StreamFacts:
    """Describe the pictures of a source, from its container and its first frame.

    Raises:
        TitleFailed: the source cannot be read, or nothing of it decodes.
    """
    info = probe(uri)
    try:
        with open_container(uri) as container:
            stream = container.streams[info.stream_index]
            if not isinstance(stream, VideoStream):
                raise TitleFailed(Reason.NO_VIDEO, f"stream {stream.index} of {uri} is no longer a video")
            stream.codec_context.thread_count = 1
            frame = next(container.decode(stream), None)
            if frame is None:
                raise TitleFailed(Reason.DECODE_ERROR, f"no frame of {uri} decodes")
            sar = stream.sample_aspect_ratio
            return StreamFacts(
                info,
                sample_aspect_ratio=sar if sar and sar > 0 else None,
                display_matrix=_display_matrix(frame),
                mastering=_mastering(frame),
                light=_light(frame),
                chroma_siting=_chroma_siting(frame, info),
                dolby_vision=_dolby_vision(frame, info.color_trc),
                dolby_vision_declared=_DOVI_DECLARED in _told(lambda: _dump(container)),
                further=tuple(name for kind, name in _FURTHER.items() if _side_data(frame, kind) is not None),
            )
    except av.error.FFmpegError as error:
        raise TitleFailed(Reason.DECODE_ERROR, f"{uri} does not decode: {describe(error)}") from error


def _side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    held: Any = frame.side_data
    return next((bytes(data) for data in held if data.type == kind), None)


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    data = _side_data(frame, Type.DISPLAYMATRIX)
    if data is None or len(data) < _MATRIX_UNITS.size:
        return None
    matrix = _MATRIX_UNITS.unpack_from(data)
    upright = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    return None if matrix == upright else matrix


def _mastering(frame: VideoFrame) -> Mastering | None:
    data = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if data is None or len(data) < _MASTERING.size:
        return None
    numbers = _MASTERING.unpack_from(data)
    if not (numbers[20] and numbers[21]):  # primaries and luminance both said
        return None
    pairs = np.array(numbers[:20], dtype=np.float64).reshape(10, 2)
    values = (pairs[:, 0] / np.maximum(pairs[:, 1], 1)).tolist()
    red, green, blue, white = ((values[i], values[i + 1]) for i in (0, 2, 4, 6))
    return Mastering(red, green, blue, white, min_nits=values[8], max_nits=values[9])


def _light(frame: VideoFrame) -> tuple[int, int] | None:
    data = _side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    if data is None or len(data) < _LIGHT.size:
        return None
    most, average = _LIGHT.unpack_from(data)
    return (most, average) if most or average else None


def _chroma_siting(frame: VideoFrame, info: VideoInfo) -> str | None:
    """As FFmpeg's `showinfo` filter tells it: PyAV's frames do not."""
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=info.time_base),
        graph.add("showinfo", "checksum=0"),
        graph.add("buffersink"),
    )
    graph.configure()

    def show() -> None:
        graph.vpush(frame)
        graph.vpull()

    found = _SITING.search(_told(show))
    return None if found is None or found[1] == "unspecified" else found[1]


def _dump(container: Any) -> object:  # PyAV's types leave the method out
    return container.dumps_format()


def _told(action: Callable[[], object]) -> str:
    """What FFmpeg says while it does something: the only way to some facts that PyAV has no names for."""
    level = av.logging.get_level()
    with av.logging.Capture() as said:
        av.logging.set_level(av.logging.INFO)
        try:
            made = action()
        finally:
            av.logging.set_level(level)
    return "".join(text for _, _, text in said) + (made if isinstance(made, str) else "")


def _dolby_vision(frame: VideoFrame, trc: int) -> str | None:
    """The profile that the frame's RPU is of.

    FFmpeg's `ff_dovi_guess_profile_hevc` reads it off the same fields; the compatibility is that of the transfer
    function (Dolby Vision Profiles and Levels: 8.1 is PQ, 8.2 SDR, 8.4 HLG).
    """
    data = _side_data(frame, Type.DOVI_METADATA)
    if data is None or len(data) < _DOVI_HEADER_AT.size:
        return None
    (start,) = _DOVI_HEADER_AT.unpack_from(data)
    fields = _DOVI_HEADER.unpack_from(data, start)
    rpu_profile, full_range, vdr_depth = fields[0], fields[6], fields[9]
    two_layers, residual_off = fields[11], fields[12]
    if rpu_profile == 0:
        return "5" if full_range else "unknown"
    if rpu_profile != 1:
        return "unknown"
    if two_layers and not residual_off:
        return "7" if vdr_depth == 12 else "4"
    return "8.1" if trc == PQ else "8.4" if trc == HLG else "8.2"
