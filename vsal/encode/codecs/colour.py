"""The colour in which a run is coded: converted where the encoder's format is another, and marked as what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter

from vsal.encode.codecs.base import FrameRun
from vsal.encode.source_facts import SourceFacts
from vsal.video.colour import BT2020_PRIMARIES, FULL_RANGE, is_large
from vsal.video.stream_facts import CHROMA_LOCATIONS

LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
RGB_MATRIX = 0  # AVCOL_SPC_RGB, "GBR" in ITU-T H.273
# AVCOL_SPC_* that a conversion from RGB makes, and swscale's numbers of them.
_BT709, _BT601, _BT2020 = 1, 6, 9
_COEFFICIENTS = {_BT709: Colorspace.ITU709, _BT601: Colorspace.ITU601, _BT2020: Colorspace.BT2020}


@dataclass(frozen=True, slots=True)
class _Conversion:
    """What swscale is told. None leaves it to the frames."""

    pix_fmt: str
    matrix: Colorspace | None
    source_range: int
    coded_range: int


def in_coded_colour(run: FrameRun, pix_fmt: str) -> FrameRun:
    """The run with its frames in the encoder's format, and facts that describe these.

    From RGB to YUV the matrix is BT.2020's for BT.2020 primaries, else BT.709's for pictures of more than 576 lines or
    1024 columns and BT.601's for smaller ones, as players take unmarked pictures; the range is limited, but for the
    formats that are full by name. Everything else keeps its matrix and its range.

    Args:
        run: frames in the source's format.
        pix_fmt: the encoder's, by FFmpeg's name.
    """
    if pix_fmt == run.facts.info.pix_fmt:
        return replace(run, facts=replace(run.facts, chroma_location=_siting(run.facts, pix_fmt)))
    facts = coded_facts(run.facts, pix_fmt)
    was_rgb, is_rgb = _is_rgb(run.facts.info.pix_fmt), _is_rgb(pix_fmt)
    matrix = _COEFFICIENTS[facts.info.colorspace] if was_rgb and not is_rgb else None
    conversion = _Conversion(pix_fmt, matrix, _range(run.facts), _range(facts))
    return replace(run, facts=facts, frames=_converted(run.frames, conversion))


def coded_facts(facts: SourceFacts, pix_fmt: str) -> SourceFacts:
    """Facts of a source as they are once its frames are in another format."""
    info = facts.info
    was_rgb, is_rgb = _is_rgb(info.pix_fmt), _is_rgb(pix_fmt)
    matrix, coded_range = info.colorspace, _range(facts)
    if was_rgb and not is_rgb:
        small = _BT709 if is_large(info.width, info.height) else _BT601
        matrix = _BT2020 if info.color_primaries == BT2020_PRIMARIES else small
        coded_range = FULL_RANGE if pix_fmt.startswith("yuvj") else LIMITED_RANGE
    elif is_rgb and not was_rgb:
        matrix, coded_range = RGB_MATRIX, FULL_RANGE
    depth = max(component.bits for component in VideoFormat(pix_fmt).components)
    made = replace(info, pix_fmt=pix_fmt, bit_depth=depth, colorspace=matrix, color_range=coded_range)
    return replace(facts, info=made, chroma_location=_siting(facts, pix_fmt))


def _is_rgb(pix_fmt: str) -> bool:
    return VideoFormat(pix_fmt).is_rgb


def _range(facts: SourceFacts) -> int:
    info = facts.info
    return FULL_RANGE if info.pix_fmt.startswith("yuvj") or _is_rgb(info.pix_fmt) else info.color_range


def _siting(facts: SourceFacts, pix_fmt: str) -> int:
    """Where the chroma samples lie; where nobody says, swscale puts each in the middle of its four pixels."""
    before, after = _subsampling(facts.info.pix_fmt), _subsampling(pix_fmt)
    if after != (2, 2):
        return 0  # H.264, HEVC, VP9 and AV1 have a word for 4:2:0 alone
    made_here = before == (1, 1) and len(VideoFormat(facts.info.pix_fmt).components) > 1
    return facts.chroma_location or (CHROMA_LOCATIONS.index("center") if made_here else 0)


def _subsampling(pix_fmt: str) -> tuple[int, int]:
    """Luma samples across and down for one of chroma."""
    pixels = VideoFormat(pix_fmt, 64, 64)
    if pixels.is_rgb or len(pixels.components) < 3:
        return 1, 1
    chroma = pixels.components[1]
    return 64 // chroma.width, 64 // chroma.height


def _converted(frames: Iterable[VideoFrame], to: _Conversion) -> Iterator[VideoFrame]:
    """Frames in another format: their samples are the same where only the name of the range differs."""
    scaler = VideoReformatter()  # one for the run: it keeps what it worked out for a format
    for frame in frames:
        pts, time_base = frame.pts, frame.time_base
        made = scaler.reformat(
            frame,
            format=to.pix_fmt,
            dst_colorspace=to.matrix,
            src_color_range=to.source_range,
            dst_color_range=to.coded_range,
            threads=1,
        )
        made.pts, made.time_base = pts, time_base
        yield made
