"""What a video file declares, and what its first picture shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, Self

import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vsal import storage
from vsal.errors import Reason, TitleFailed
from vsal.video.container import MAX_PIXELS, MAX_SIDE, describe, open_container
from vsal.video.orientation import UPRIGHT, Orientation
from vsal.video.stream_facts import StreamFacts, display_matrix, stream_facts

# Containers in which a seek to a keyframe's time lands on it, or before it.
SEEKABLE = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts"})
# AVI says when packets are decoded. Where frames are shown in another order FFmpeg guesses when, and not always right.
_WITHOUT_DISPLAY_TIMES = frozenset({"avi"})
_REORDERING = frozenset({"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3"})
FIRST_PICTURE_PACKETS = 60  # a stream that shows nothing in two seconds is left to the scan, which counts damage
PATIENT_PACKETS = 3000  # an encode needs it: as long as a scan waits for one
_THUMBNAILS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_FRACTIONS = ("time_base", "fps", "sample_aspect_ratio")


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One video stream, as its container and its first picture describe it.

    Attributes:
        width: in coded orientation, after the codec's cropping and before display rotation.
        height: likewise.
        start_pts: where the title's time begins; None when the container does not say.
        fps: average frame rate; None when unknown.
        orientation: how the picture is turned and mirrored to be upright.
        color_trc: FFmpeg's number, as color_primaries, colorspace and color_range (16 = PQ, 18 = HLG).
        interlaced: the container or the first picture says so; false where unknown.
    """

    uri: str
    container: str
    codec: str
    stream_index: int
    width: int
    height: int
    pix_fmt: str
    bit_depth: int
    time_base: Fraction
    start_pts: int | None
    duration_s: float | None
    fps: Fraction | None
    frames_estimate: int | None
    orientation: Orientation
    sample_aspect_ratio: Fraction
    color_trc: int
    color_primaries: int
    colorspace: int
    color_range: int
    interlaced: bool
    file_size: int

    @property
    def display_aspect(self) -> float:
        """Width over height of the upright picture, with square pixels."""
        return display_aspect(self.width, self.height, self.sample_aspect_ratio, self.orientation)

    @property
    def zero_pts(self) -> int:
        """The pts at which the title's time is 0, the same for every segment."""
        return self.start_pts or 0

    @property
    def frame_duration(self) -> int:
        """Average duration of a frame in ticks of the time base, at least 1."""
        fps = self.fps or Fraction(25)
        return max(1, round(1 / (fps * self.time_base)))

    @property
    def timed_by_coding(self) -> bool:
        """Whether the container knows only when packets are decoded, and frames may be shown in another order."""
        return self.container in _WITHOUT_DISPLAY_TIMES and self.codec in _REORDERING

    @property
    def whole_reason(self) -> str | None:
        """Why the title must be scanned in one piece; None if it may be cut into segments."""
        if self.container not in SEEKABLE:
            return f"seeking in {self.container} is not dependable"
        if self.start_pts is None:
            return "the container does not say when the stream begins"
        if not self.duration_s:
            return "the duration is unknown"
        return None

    @property
    def segmentable(self) -> bool:
        """Whether the title may be cut into segments that are scanned independently."""
        return self.whole_reason is None

    def to_json(self) -> dict[str, Any]:
        """Plain values for metadata; `from_json` reads them back."""
        plain = asdict(self)
        return plain | {name: str(plain[name]) for name in _FRACTIONS if plain[name] is not None}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        fractions = {name: Fraction(plain[name]) for name in _FRACTIONS if plain[name] is not None}
        return cls(**plain | fractions | {"orientation": Orientation(**plain["orientation"])})


def display_aspect(width: int, height: int, sample_aspect_ratio: Fraction, orientation: Orientation) -> float:
    """Width over height of a picture as it is shown upright."""
    aspect = float(width * sample_aspect_ratio / height)
    return 1 / aspect if orientation.swaps_sides else aspect


def probe(uri: str, decode: bool = True) -> VideoInfo:
    """Describe the best video stream of a file.

    Args:
        uri: of the file.
        decode: look at the first picture too, without which orientation, pixel format and encryption are not certain.

    Raises:
        TitleFailed: with the reason under which the title is to be reported.
    """
    with _reading(uri), open_container(uri) as container:
        stream = best_video_stream(container, uri)
        picture = _first_picture(container, stream, uri) if decode else None
        return _describe(uri, container, stream, picture)


@dataclass(frozen=True, slots=True)
class Source:
    """An open file with all that one opening tells of its best video stream.

    Attributes:
        container: read up to the first picture.
    """

    container: InputContainer
    stream: VideoStream
    info: VideoInfo
    facts: StreamFacts


@contextmanager
def open_source(uri: str) -> Iterator[Source]:
    """Open a file for an encode: what `probe` tells, and what an encoder must carry over.

    Raises:
        TitleFailed: with the reason under which the title is to be reported; nothing of it decodes, for one.
    """
    with ExitStack() as stack:
        with _reading(uri):
            container = stack.enter_context(open_container(uri))
            stream = best_video_stream(container, uri)
            picture = _first_picture(container, stream, uri, patient=True)
            if picture is None:
                raise TitleFailed(Reason.DECODE_ERROR, f"no frame of {uri} decodes")
            info = _describe(uri, container, stream, picture)
            source = Source(container, stream, info, stream_facts(container, stream, picture))
        yield source


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise TitleFailed(Reason.UNREADABLE, f"{uri} cannot be read: {describe(error)}") from error


def best_video_stream(container: InputContainer, uri: str) -> VideoStream:
    """The stream that a player would show: not a cover picture, the default one, the largest one."""
    videos = container.streams.video
    moving = [stream for stream in videos if not stream.disposition & _THUMBNAILS]
    if not moving:
        what = "only still pictures (cover art)" if videos else "no video stream"
        raise TitleFailed(Reason.NO_VIDEO, f"{uri} holds {what}")
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise TitleFailed(Reason.UNSUPPORTED, f"{uri} has a video codec for which there is no decoder")
    best = max(known, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index))
    check_size(best.width, best.height, uri)
    return best


def check_size(width: int, height: int, uri: str) -> None:
    """Refuse a picture size that would take absurd memory."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{uri} declares pictures of {width}x{height}; at most {MAX_PIXELS} pixels and {MAX_SIDE} a side are read",
        )


def _first_picture(
    container: InputContainer, stream: VideoStream, uri: str, patient: bool = False
) -> VideoFrame | None:
    """The first picture that decodes, or None: orientation and pixel format are known for certain only from it."""
    decoder = stream.codec_context
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_PIXELS), "skip_loop_filter": "all"}
    packets = 0
    for packet in islice(container.demux(stream), PATIENT_PACKETS if patient else FIRST_PICTURE_PACKETS):
        if packet.size and packet.has_sidedata("encryption_info"):
            raise TitleFailed(Reason.UNSUPPORTED, f"{uri} is encrypted (Common Encryption)")
        packets += packet.size > 0
        try:
            frames = decoder.decode(packet)
            if not frames and packet.is_keyframe and not patient:
                # A decoder that waits for frames to reorder gives the keyframe out at once when it is flushed; one
                # that waits for the second field loses it.
                frames = decoder.decode(None)
                decoder.flush_buffers()
        except av.error.FFmpegError:
            continue
        if frames:
            return frames[0]
    if packets == 0:
        raise TitleFailed(Reason.NO_VIDEO, f"the video stream of {uri} holds no frame")
    return None


def _describe(uri: str, container: InputContainer, stream: VideoStream, picture: VideoFrame | None) -> VideoInfo:
    decoder = stream.codec_context
    width, height = (picture.width, picture.height) if picture else (decoder.width, decoder.height)
    matrix = display_matrix(picture) if picture else None
    if width <= 0 or height <= 0:
        raise TitleFailed(Reason.DECODE_ERROR, f"{uri} declares no picture size and its first frames do not decode")
    check_size(width, height, uri)
    pixels = picture.format if picture else decoder.format
    duration_s = _duration_s(container, stream)
    fps = stream.average_rate or stream.guessed_rate or None
    frames = stream.frames or (round(duration_s * fps) if duration_s and fps else None)
    sar = stream.sample_aspect_ratio
    return VideoInfo(
        uri=uri,
        container=container.format.name,
        codec=decoder.codec.canonical_name,
        stream_index=stream.index,
        width=width,
        height=height,
        pix_fmt=pixels.name if pixels else "unknown",
        bit_depth=max((c.bits for c in pixels.components), default=8) if pixels else 8,
        time_base=stream.time_base or Fraction(1, 1_000_000),
        start_pts=stream.start_time,
        duration_s=duration_s,
        fps=fps,
        frames_estimate=frames,
        orientation=Orientation.from_matrix(matrix) if matrix else UPRIGHT,
        sample_aspect_ratio=sar if sar and sar > 0 else Fraction(1),
        color_trc=int(picture.color_trc if picture else decoder.color_trc),
        color_primaries=int(picture.color_primaries if picture else decoder.color_primaries),
        colorspace=int(picture.colorspace if picture else decoder.colorspace),
        color_range=int(picture.color_range if picture else decoder.color_range),
        interlaced=bool(picture and picture.interlaced_frame) or int(decoder.field_order) > 1,
        file_size=storage.stat(uri).size,
    )


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None
