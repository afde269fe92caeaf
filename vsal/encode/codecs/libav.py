"""What x264, x265 and VP9 share, opened by FFmpeg inside PyAV: options, formats, colour, HDR, and an encode."""

from __future__ import annotations

import re
from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any, ClassVar

import av
import av.error
import av.logging
import numpy as np
from av.codec import Codec as AvCodec
from av.container import OutputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from vsal.encode.codecs.base import Encoder, FrameRun
from vsal.encode.maps.cells import with_gain
from vsal.encode.maps.regions import FrameShape, RegionUnit, RoiMarker
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.video.colour import FULL_RANGE
from vsal.video.container import describe

# FFmpeg writes these and goes on as if nothing had been asked.
_REFUSALS = (
    "Error parsing option",
    "Unknown option",
    "Invalid value",
    "Bad value",
    "not found",
    "Error setting option",
)


class LibavEncoder(Encoder):
    """An encoder that FFmpeg hands regions of interest to, as side data of its frames.

    Attributes:
        av_name: FFmpeg's name of it.
        version_words: by which it tells its build, in its log or its bitstream.
        params_option: the option that takes the encoder's own parameter string; None if it has none.
        takes_any_option: whether what FFmpeg does not list is passed on as it is.
        takes_odd_sides: whether pictures of subsampled chroma may have odd sides.
        delay_frames: runs no longer than this come out without usable decoding times.
    """

    av_name: ClassVar[str]
    version_words: ClassVar[re.Pattern[bytes] | None] = None
    params_option: ClassVar[str | None] = None
    takes_any_option: ClassVar[bool] = False
    takes_odd_sides: ClassVar[bool] = False
    delay_frames: ClassVar[int] = 0
    takes_regions = True

    @abstractmethod
    def own_options(self, settings: EncodeSettings) -> tuple[dict[str, str], dict[str, str]]:
        """FFmpeg's options without which maps would not act, and parameters for the encoder's own string."""

    @abstractmethod
    def unit(self, settings: EncodeSettings, bit_depth: int) -> RegionUnit:
        """What a region's `qoffset` comes to."""

    def hdr_params(self, settings: EncodeSettings, facts: SourceFacts) -> dict[str, str]:
        """Parameters that carry HDR metadata into the bitstream."""
        return {}

    def threads(self, settings: EncodeSettings) -> int:
        """Threads of FFmpeg's encoder context; 0 leaves them to it."""
        return settings.threads

    def version(self, settings: EncodeSettings) -> str:
        """As `Encoder.version`: the library's own words, or FFmpeg's version where it has none."""
        return _version(self)

    def by_rate(self, settings: EncodeSettings) -> bool:
        """Whether a bit rate or a fixed quantiser is asked for in place of a rate factor."""
        options = self.options_of(settings)
        rate = {"qp", "b", "bitrate"} & options.keys()
        return bool(rate) and settings.crf is None and not any(key in options for key in self.crf_options)

    def options_of(self, settings: EncodeSettings) -> dict[str, str]:
        """As `Encoder.options_of`."""
        options = dict(settings.encoder_options)
        return options | split_params(options.pop(self.params_option, "") if self.params_option else "")

    def encoder_options(self, settings: EncodeSettings, facts: SourceFacts | None = None) -> dict[str, str]:
        """FFmpeg's options of an encode; what FFmpeg does not know goes on to the encoder's own parameter string."""
        own, params = self.own_options(settings)
        options = {"crf": f"{self.crf(settings):g}"} | own
        if facts is not None:
            params |= self.hdr_params(settings, facts)
        known = _known_options(self.av_name)
        for key, value in settings.encoder_options.items():
            if key == self.params_option:
                params |= split_params(value)
            elif key in known or self.takes_any_option:
                options[key] = value
            else:
                params[key] = value
        if self.by_rate(settings):
            options.pop("crf", None)
        if params and self.params_option is not None:
            options[self.params_option] = ":".join(f"{key}={value}" for key, value in params.items())
        return options

    def pixel_format(self, settings: EncodeSettings, facts: SourceFacts) -> str:
        """As `Encoder.pixel_format`."""
        name = settings.pix_fmt or facts.info.pix_fmt
        taken = [listed.name for listed in AvCodec(self.av_name, "w").video_formats or []]
        if name in taken:
            self._check_size(name, facts)
            return name
        as_limited = name.replace("yuvj", "yuv")
        if as_limited in taken:  # VP9 knows full range by its colour description, not by a format of its own
            return as_limited
        if settings.pix_fmt:
            raise SettingsError(f"{self.name} does not take --pix-fmt {name}; it takes {', '.join(taken)}")
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{self.name} does not take {name}, the source's pixel format; convert with --pix-fmt, to one of "
            f"{', '.join(taken)}",
        )

    def _check_size(self, name: str, facts: SourceFacts) -> None:
        if self.takes_odd_sides:
            return
        info = facts.info
        across, down = {"420": (2, 2), "422": (2, 1)}.get("".join(c for c in name[:7] if c.isdigit())[:3], (1, 1))
        if info.width % across or info.height % down:
            raise TitleFailed(
                Reason.UNSUPPORTED,
                f"{self.name} codes no {name} picture of {info.width}x{info.height}, whose sides are odd; use --codec "
                "vp9 or --pix-fmt yuv444p",
            )

    def open_stream(self, output: OutputContainer, settings: EncodeSettings, facts: SourceFacts) -> VideoStream:
        """Add the encoder to a container and open it.

        Raises:
            SettingsError: it does not know an option, or does not take its value.
        """
        options = self.encoder_options(settings, facts)
        if facts.chroma_siting is not None:
            options.setdefault("chroma_sample_location", facts.chroma_siting)
        stream: Any = output.add_stream(self.av_name, rate=facts.fps)
        context = stream.codec_context
        info = facts.info
        context.width, context.height = info.width, info.height
        context.pix_fmt = self.pixel_format(settings, facts)
        context.time_base = info.time_base
        context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
        context.colorspace, context.color_range = info.colorspace, info.color_range
        if info.pix_fmt.startswith("yuvj"):
            context.color_range = FULL_RANGE
        if facts.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = facts.sample_aspect_ratio
        if self.threads(settings):
            context.thread_count = self.threads(settings)
        context.options = dict(options)
        with av.logging.Capture() as logs:
            level = av.logging.get_level()
            av.logging.set_level(av.logging.WARNING)
            try:
                context.open(strict=False)
            except (av.error.FFmpegError, ValueError) as error:
                raise SettingsError(f"{self.label} does not open with {options}: {_said(logs) or error}") from error
            finally:
                av.logging.set_level(level)
        ignored = [text.strip() for _, _, text in logs if any(word in text for word in _REFUSALS)]
        ignored += [f"{key} is no option of it" for key in sorted(context.options)]
        if ignored:
            raise SettingsError(f"{self.label} would go on without an option that was asked for: {'; '.join(ignored)}")
        opened: VideoStream = stream
        return opened

    def encode(self, run: FrameRun, path: str) -> list[int]:
        """As `Encoder.encode`, into an MP4."""
        facts, settings = run.facts, run.settings
        pix_fmt = self.pixel_format(settings, facts)
        times: list[int] = []
        # FFmpeg writes Dolby Vision's configuration only so.
        options = {"video_track_timescale": str(facts.info.time_base.denominator), "strict": "unofficial"}
        try:
            with (
                av.open(path, "w", format="mp4", container_options=options) as output,
                self._marker(run, pix_fmt) or nullcontext() as marker,
            ):
                stream = self.open_stream(output, settings, facts)
                for frame in run.frames:
                    times.append(frame.pts or 0)
                    given = frame if marker is None else marker.mark(frame)
                    given.pts, given.time_base = times[-1] - times[0], facts.info.time_base
                    given.pict_type = PictureType.NONE
                    output.mux(stream.encode(given))
                    run.on_frame(len(times))
                last = stream.encode(None)
                if len(times) <= self.delay_frames:
                    for packet in last:
                        packet.dts = packet.pts
                output.mux(last)
        except av.error.FFmpegError as error:
            number = run.first_frame + len(times)
            detail = f"{self.name} fails at frame {number} of {facts.info.uri}: {describe(error)}"
            raise TitleFailed(Reason.UNSUPPORTED, detail) from error
        return times

    def _marker(self, run: FrameRun, pix_fmt: str) -> RoiMarker | None:
        maps, gain, info = run.maps, run.gain, run.facts.info
        if maps is None:
            return None
        if gain is not None:
            maps = (replace(row, qp_offset=with_gain(row, run.mapping, gain)) for row in maps)
        shape = FrameShape(info.width, info.height, pix_fmt, info.time_base)
        return RoiMarker(
            maps, shape, self.unit(run.settings, _bit_depth(pix_fmt)), run.settings.max_rectangles, run.first_frame
        )


def split_params(text: str) -> dict[str, str]:
    """The `key=value:key` of x264-params and x265-params."""
    pairs = (word.partition("=") for word in text.split(":") if word)
    return {key: value if equals else "1" for key, equals, value in pairs}


@cache
def _version(encoder: LibavEncoder) -> str:
    """From what it says, and writes, when it codes one gray frame."""
    version = ".".join(map(str, av.library_versions["libavcodec"]))
    if encoder.version_words is None:
        return f"{encoder.label} of libavcodec {version}"
    context: Any = av.CodecContext.create(encoder.av_name, "w")
    context.width = context.height = 64
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
    context.options = encoder.encoder_options(EncodeSettings(encoder.name))
    frame = VideoFrame.from_ndarray(np.full((96, 64), 128, dtype=np.uint8), format="yuv420p")
    frame.pts = 0
    level = av.logging.get_level()
    with av.logging.Capture() as logs:
        av.logging.set_level(av.logging.INFO)
        try:
            written = b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
        finally:
            av.logging.set_level(level)
    found = encoder.version_words.search("".join(text for _, _, text in logs).encode() + written)
    if found is None:
        raise SettingsError(f"{encoder.label} of libavcodec {version} does not tell its version: install PyAV anew")
    return f"{encoder.label} {found[0].decode()}"


def _known_options(av_name: str) -> set[str]:
    context = av.CodecContext.create(av_name, "w")
    listed = context.supported_options
    return {option.name for group in (listed.generic, listed.private) for option in group}


def _said(logs: list[tuple[int, str, str]]) -> str:
    return "; ".join(text.strip() for _, _, text in logs if text.strip())


def _bit_depth(pix_fmt: str) -> int:
    return max(component.bits for component in av.VideoFormat(pix_fmt).components)
