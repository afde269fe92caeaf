"""What a stream says of its pictures beside their size and format: what an encoder must carry over."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsal.video.container import dump

Matrix = tuple[int, ...]
_MATRIX = struct.Struct("=9i")
_UPRIGHT_MATRIX = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
# AVMasteringDisplayMetadata: primaries R, G, B (x, y) and white point as rationals, then min and max luminance, flags.
_MASTERING = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")
# AVChromaLocation, by the names that FFmpeg prints.
CHROMA_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
_DOLBY_VISION = re.compile(r"^ +DOVI configuration record: .*profile: (\d+),.*compatibility id: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mastering:
    """The display on which an HDR title was graded (SMPTE ST 2086): CIE 1931 coordinates and cd/m2."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float]
    min_nits: float
    max_nits: float


@dataclass(frozen=True, slots=True)
class DolbyVision:
    """Dolby Vision as its configuration record has it; None for both where there are only RPUs, without a record."""

    profile: int | None
    compatibility: int | None  # of the base layer: 1 is HDR10, 2 SDR, 4 HLG


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What side data and headers say of a stream's pictures.

    Attributes:
        display_matrix: nine numbers of FFmpeg's display matrix; None for an upright picture.
        sample_aspect_ratio: None where the source does not say.
        light: MaxCLL and MaxFALL, in cd/m2.
        chroma_location: FFmpeg's number, 0 where unspecified; names in CHROMA_LOCATIONS.
        hdr10_plus: the first picture has dynamic metadata (SMPTE ST 2094-40).
        spherical: it is a projection of a sphere.
    """

    display_matrix: Matrix | None
    sample_aspect_ratio: Fraction | None
    mastering: Mastering | None
    light: tuple[int, int] | None
    chroma_location: int
    dolby_vision: DolbyVision | None
    hdr10_plus: bool
    spherical: bool


def stream_facts(container: InputContainer, stream: VideoStream, picture: VideoFrame) -> StreamFacts:
    """The facts of an open stream, from its headers and its first picture."""
    said = _section(dump(container), stream.index)
    sar, matrix = stream.sample_aspect_ratio, display_matrix(picture)
    return StreamFacts(
        display_matrix=None if matrix == _UPRIGHT_MATRIX else matrix,
        sample_aspect_ratio=sar if sar and sar > 0 else None,
        mastering=_mastering(picture),
        light=_light(picture),
        chroma_location=_chroma_location(said),
        dolby_vision=_dolby_vision(said, picture),
        hdr10_plus=_side_data(picture, Type.DYNAMIC_HDR_PLUS) is not None,
        spherical=_side_data(picture, Type.SPHERICAL) is not None,
    )


def display_matrix(frame: VideoFrame) -> Matrix | None:
    """The nine numbers of a frame's display matrix; None where it has none."""
    data = _side_data(frame, Type.DISPLAYMATRIX)
    return _MATRIX.unpack_from(data) if data is not None and len(data) >= _MATRIX.size else None


def _side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    held: Any = frame.side_data
    return next((bytes(data) for data in held if data.type == kind), None)


def _section(dumped: str, index: int) -> str:
    """The part on one stream of what FFmpeg prints of a container."""
    parts = re.split(r"^(?=  Stream #0:\d+)", dumped, flags=re.MULTILINE)
    return next((part for part in parts if re.match(rf"  Stream #0:{index}\b", part)), "")


def _chroma_location(said: str) -> int:
    # "Video: h264 (High), 1 reference frame (avc1 / 0x31637661), yuv420p(tv, bt709, progressive, left), 64x48, ..."
    words = re.findall(r"[\w/]+", " ".join(re.findall(r"\w\(([^)]*)\)", said.split("\n")[0])))
    return next((CHROMA_LOCATIONS.index(word) for word in reversed(words) if word in CHROMA_LOCATIONS), 0)


def _dolby_vision(said: str, picture: VideoFrame) -> DolbyVision | None:
    record = _DOLBY_VISION.search(said)
    if record is not None:
        return DolbyVision(int(record[1]), int(record[2]))
    return DolbyVision(None, None) if _side_data(picture, Type.DOVI_RPU_BUFFER) is not None else None


def _mastering(frame: VideoFrame) -> Mastering | None:
    data = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if data is None or len(data) < _MASTERING.size:
        return None
    numbers = _MASTERING.unpack_from(data)
    if not (numbers[20] and numbers[21]):  # primaries and luminance both said
        return None
    pairs = zip(numbers[0:20:2], numbers[1:20:2], strict=True)
    values = [above / max(below, 1) for above, below in pairs]
    red, green, blue, white = ((values[i], values[i + 1]) for i in (0, 2, 4, 6))
    return Mastering(red, green, blue, white, min_nits=values[8], max_nits=values[9])


def _light(frame: VideoFrame) -> tuple[int, int] | None:
    data = _side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    if data is None or len(data) < _LIGHT.size:
        return None
    most, average = _LIGHT.unpack_from(data)
    return (most, average) if most or average else None
