"""What is refused before an encode, because the encoder would ignore the maps and report success."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame

from vsal.encode.av_encoder import encoder_options, open_stream
from vsal.encode.picture import Picture
from vsal.encode.settings import Codec, EncodeSettings, SettingIgnored
from vsal.errors import Reason, TitleFailed
from vsal.video.probe import VideoInfo

_PLAIN = "or --no-roi to encode without maps"
_SEI = re.compile(rb"options: ([\x20-\x7e]+)")
VP9_SLOWEST = 5  # libvpx has regions of interest in its non-RD realtime mode alone


def refuse_ignored(settings: EncodeSettings) -> None:
    """Raise where an encoder would take the maps and not use them.

    x264 and x265 are asked: a few frames are encoded under the very settings, and the encoder's own account of them is
    read back from the stream, so that presets, tunes and parameter strings count as they end up.

    Raises:
        SettingIgnored: with the reason and the remedy.
        SettingsError: the encoder does not take the settings at all.
    """
    if settings.codec in (Codec.X264, Codec.X265):
        account = effective_options(settings)
        if settings.roi:
            _refuse_x26x(settings, account)
    elif settings.codec is Codec.VP9 and settings.roi:
        _refuse_vp9(settings)
    elif settings.codec is Codec.SVTAV1 and settings.roi:
        _refuse_svtav1(settings)
    elif settings.codec is Codec.KVAZAAR and settings.roi:
        _refuse_kvazaar(settings)


def refuse_interlaced(settings: EncodeSettings, picture: Picture) -> None:
    """Raise for a source in fields, unless they are to be coded as progressive frames.

    Raises:
        TitleFailed: unsupported, with the remedies.
    """
    if picture.info.interlaced and not settings.code_fields_as_frames:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{picture.info.uri} is interlaced, and {settings.codec} takes maps in progressive coding alone: deinterlace "
            "it first, or code its fields as progressive frames with --code-fields-as-frames",
        )


def effective_options(settings: EncodeSettings) -> dict[str, str]:
    """The options as x264 or x265 ended up with them, from the account that it writes into its stream."""
    picture = _gray_picture()
    small = replace(settings, pix_fmt=None, threads=1)
    with av.open("/dev/null", "w", format="null") as output:
        stream = open_stream(output, small, picture, encoder_options(small))
        written = b""
        for number in range(2):
            planes = np.full((picture.info.height * 3 // 2, picture.info.width), 128, dtype=np.uint8)
            frame = VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            written += b"".join(bytes(packet) for packet in stream.encode(frame))
        written += b"".join(bytes(packet) for packet in stream.encode(None))
        written += stream.codec_context.extradata or b""
    said = _SEI.search(written)
    if said is None:
        raise SettingIgnored(
            f"{settings.codec} gives no account of its options (info=0?), so nothing says that it would use the maps; "
            f"let it write one, {_PLAIN}"
        )
    words = (word.partition("=") for word in said.group(1).decode().split())
    account: dict[str, str] = {}
    for key, equals, value in words:
        account[key.removeprefix("no-")] = value if equals else ("0" if key.startswith("no-") else "1")
    return account


def _gray_picture() -> Picture:
    info = VideoInfo(
        uri="", container="", codec="", stream_index=0, width=192, height=128, pix_fmt="yuv420p", bit_depth=8,
        time_base=Fraction(1, 25), start_pts=0, duration_s=None, fps=Fraction(25), frames_estimate=None, rotation_deg=0,
        sample_aspect_ratio=Fraction(1), color_trc=2, color_primaries=2, colorspace=2, color_range=0, interlaced=False,
        file_size=0,
    )  # fmt: skip
    return Picture(info, None, None, None, None)


def _refuse_x26x(settings: EncodeSettings, account: dict[str, str]) -> None:
    x264 = settings.codec is Codec.X264
    name, tree = ("libx264", "mbtree") if x264 else ("libx265", "cutree")
    why = ", ".join(f"{k}={v}" for k, v in settings.encoder_options.items())
    asked = f"preset={settings.effective_preset}" + (f", {why}" if why else "")
    if account.get("rc") == "cqp":
        raise SettingIgnored(f"{name} ignores ROI maps at constant QP: asked for {asked}. Use --crf, {_PLAIN}.")
    mode, _, strength = account.get("aq", "1:1").partition(":")
    if not x264:
        mode, strength = account.get("aq-mode", "1"), account.get("aq-strength", "1")
    # x264 reports a mode without strength as off.
    off = float(strength or 0) == 0.0
    if mode == "0" and not (x264 and off and _said_strength_zero(settings)):
        raise SettingIgnored(
            f"{name} ignores ROI maps without adaptive quantisation, and {asked} comes to aq-mode=0. "
            f"Add --encoder-option aq-mode=1, {_PLAIN}."
        )
    if (mode == "0" or off) and account.get(tree, "0") == "0":
        raise SettingIgnored(
            f"{name} ignores ROI maps with aq-strength=0 and {tree} off, as {asked} comes to. "
            f"Use aq-strength=0.001 for the map alone, {_PLAIN}."
        )
    if x264 and account.get("interlaced", "0") not in ("0", ""):
        raise SettingIgnored(
            f"libx264 ignores ROI maps in interlaced coding: asked for {asked}. Deinterlace, {_PLAIN}."
        )


def _said_strength_zero(settings: EncodeSettings) -> bool:
    text = ":".join(f"{key}={value}" for key, value in settings.encoder_options.items())
    return bool(re.search(r"aq-strength=0*\.?0*(:|$)", text)) and not re.search(r"aq-mode=0|aq-mode=none", text)


def _refuse_vp9(settings: EncodeSettings) -> None:
    options = encoder_options(settings)
    deadline = options.get("deadline", options.get("quality", ""))
    if deadline != "realtime" or "quality" in settings.encoder_options:
        raise SettingIgnored(
            f"libvpx-vp9 ignores ROI maps outside deadline=realtime: asked for {deadline}. Leave it out, {_PLAIN}."
        )
    speed = options.get("speed", options["cpu-used"])
    if not speed.lstrip("-").isdigit() or int(speed) < VP9_SLOWEST:
        raise SettingIgnored(
            f"libvpx-vp9 ignores ROI maps below cpu-used={VP9_SLOWEST}: asked for {speed}. Use --preset "
            f"{VP9_SLOWEST} to 9, {_PLAIN}."
        )
    if options.get("aq-mode") not in ("0", "none"):
        raise SettingIgnored(
            f"libvpx-vp9 has one set of segments, and aq-mode={options.get('aq-mode')} takes it from the ROI map. "
            f"Leave aq-mode out, {_PLAIN}."
        )


def _refuse_svtav1(settings: EncodeSettings) -> None:
    asked = {
        key: value for key, value in settings.encoder_options.items() if key in ("rc", "tbr", "mbr", "pass", "passes")
    }
    if asked.get("rc", "0") not in ("0", "crf", "cqp") or "tbr" in asked:
        raise SettingIgnored(
            f"SVT-AV1 ignores its ROI map file under VBR and CBR: asked for {asked}. Use --crf, {_PLAIN}."
        )


def _refuse_kvazaar(settings: EncodeSettings) -> None:
    asked = {key: value for key, value in settings.encoder_options.items() if key in ("bitrate", "rc-algorithm", "roi")}
    if asked:
        raise SettingIgnored(
            f"kvazaar's rate control sets the QP of each block itself, over the ROI map: asked for {asked}. Use --crf, "
            f"which it takes as its QP, {_PLAIN}."
        )
