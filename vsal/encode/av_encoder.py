"""x264, x265 and VP9 as FFmpeg opens them: options, formats, colour, HDR."""

from __future__ import annotations

from typing import Any

import av
import av.error
import av.logging
from av.codec import Codec as AvCodec
from av.container import OutputContainer
from av.video.stream import VideoStream

from vsal.encode.picture import Picture
from vsal.encode.settings import Codec, EncodeSettings
from vsal.errors import Reason, SettingsError, TitleFailed

AV_NAMES = {Codec.X264: "libx264", Codec.X265: "libx265", Codec.VP9: "libvpx-vp9"}
_PARAMS = {Codec.X264: "x264-params", Codec.X265: "x265-params"}
# FFmpeg writes these and goes on as if nothing had been asked.
_REFUSALS = (
    "Error parsing option",
    "Unknown option",
    "Invalid value",
    "Bad value",
    "not found",
    "Error setting option",
)
_UNSPECIFIED = 2


def encoder_options(settings: EncodeSettings, picture: Picture | None = None) -> dict[str, str]:
    """FFmpeg's options of an encode; what FFmpeg does not know goes on to the encoder's own parameter string."""
    codec = settings.codec
    options = {"crf": f"{settings.effective_crf:g}"}
    params: dict[str, str] = {}
    if codec is Codec.VP9:
        options |= {"b": "0", "deadline": "realtime", "cpu-used": settings.effective_preset, "row-mt": "1"}
        # A user's own cpu-used wins over the preset; libvpx knows regions of interest under these alone. It takes a map
        # when a frame is handed in and uses it when one is coded: with frames held back (FFmpeg's default is 25) a map
        # would act on those of a second before.
        options |= {"aq-mode": "0", "lag-in-frames": "0"}
    else:
        options |= {"preset": settings.effective_preset, "forced-idr": "1"}
    if codec is Codec.X265:
        params |= {"qg-size": "16", "log-level": "error"}
        if settings.threads:
            params["pools"] = str(settings.threads)
    if picture is not None:
        params |= _hdr_params(codec, picture)
    known = _known_options(AV_NAMES[codec])
    for key, value in settings.encoder_options.items():
        if key == _PARAMS.get(codec):
            params |= split_params(value)
        elif key in known or codec is Codec.VP9:
            options[key] = value
        else:
            params[key] = value
    if {"qp", "b", "bitrate"} & set(settings.encoder_options) and settings.crf is None:
        options.pop("crf")
    if params:
        options[_PARAMS[codec]] = ":".join(f"{key}={value}" for key, value in params.items())
    return options


def split_params(text: str) -> dict[str, str]:
    """The `key=value:key` of x264-params and x265-params."""
    pairs = (word.partition("=") for word in text.split(":") if word)
    return {key: value if equals else "1" for key, equals, value in pairs}


def _known_options(name: str) -> set[str]:
    context = av.CodecContext.create(name, "w")
    listed = context.supported_options
    return {option.name for group in (listed.generic, listed.private) for option in group}


def _hdr_params(codec: Codec, picture: Picture) -> dict[str, str]:
    params: dict[str, str] = {}
    if codec is Codec.X264:
        if picture.mastering:
            params["mastering-display"] = picture.mastering.integers()
        if picture.light:
            params["cll"] = f"{picture.light[0]},{picture.light[1]}"
    elif codec is Codec.X265:
        if picture.mastering:
            params["master-display"] = picture.mastering.integers()
        if picture.light:
            params["max-cll"] = f"{picture.light[0]},{picture.light[1]}"
        if picture.info.color_trc == 16:  # PQ
            params |= {"hdr10": "1", "repeat-headers": "0"}
    return params


def encoder_format(settings: EncodeSettings, picture: Picture) -> str:
    """The pixel format to encode in: the source's, unless another is asked for.

    Raises:
        TitleFailed: the encoder does not take the source's format.
    """
    name = settings.pix_fmt or picture.info.pix_fmt
    listed = AvCodec(AV_NAMES[settings.codec], "w").video_formats or []
    taken = [found.name for found in listed]
    if name in taken:
        _check_size(name, settings.codec, picture)
        return name
    as_limited = name.replace("yuvj", "yuv")
    if as_limited in taken:  # VP9 knows full range by its colour description, not by a format of its own
        return as_limited
    if settings.pix_fmt:
        raise SettingsError(f"{settings.codec} does not take --pix-fmt {name}; it takes {', '.join(taken)}")
    raise TitleFailed(
        Reason.UNSUPPORTED,
        f"{settings.codec} does not take {name}, the source's pixel format; convert with --pix-fmt, to one of "
        f"{', '.join(taken)}",
    )


def _check_size(name: str, codec: Codec, picture: Picture) -> None:
    if codec is Codec.VP9:
        return
    info = picture.info
    across, down = {"420": (2, 2), "422": (2, 1)}.get("".join(c for c in name[:7] if c.isdigit())[:3], (1, 1))
    if info.width % across or info.height % down:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{codec} codes no {name} picture of {info.width}x{info.height}, whose sides are odd; use --codec vp9 or "
            "--pix-fmt yuv444p",
        )


def open_stream(
    output: OutputContainer, settings: EncodeSettings, picture: Picture, options: dict[str, str]
) -> VideoStream:
    """Add an encoder to a container and open it.

    Raises:
        SettingsError: the encoder does not know an option, or does not take its value.
    """
    name = AV_NAMES[settings.codec]
    stream: Any = output.add_stream(name, rate=picture.fps)
    context = stream.codec_context
    info = picture.info
    context.width, context.height = info.width, info.height
    context.pix_fmt = encoder_format(settings, picture)
    context.time_base = info.time_base
    context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
    context.colorspace, context.color_range = info.colorspace, info.color_range
    if info.pix_fmt.startswith("yuvj"):
        context.color_range = 2
    if picture.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = picture.sample_aspect_ratio
    if settings.threads and settings.codec is not Codec.X265:
        context.thread_count = settings.threads
    context.options = dict(options)
    with av.logging.Capture() as logs:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.WARNING)
        try:
            context.open(strict=False)
        except (av.error.FFmpegError, ValueError) as error:
            raise SettingsError(f"{name} does not open with {options}: {_said(logs) or error}") from error
        finally:
            av.logging.set_level(level)
    ignored = [text.strip() for _, _, text in logs if any(word in text for word in _REFUSALS)]
    ignored += [f"{key} is no option of it" for key in sorted(context.options)]
    if ignored:
        raise SettingsError(f"{name} would go on without an option that was asked for: {'; '.join(ignored)}")
    found: VideoStream = stream
    return found


def _said(logs: list[tuple[int, str, str]]) -> str:
    return "; ".join(text.strip() for _, _, text in logs if text.strip())
