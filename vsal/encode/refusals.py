"""What is refused before an encode, because the encoder would ignore the maps and report success."""

from __future__ import annotations

import io
import os
import re
import tempfile
from dataclasses import replace
from fractions import Fraction

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vsal.encode.av_encoder import AV_NAMES, encoder_options, open_stream, split_params
from vsal.encode.chunk_input import ChunkInput
from vsal.encode.encoders import encode_frames
from vsal.encode.measure import luma
from vsal.encode.picture import Picture
from vsal.encode.roi_graphs import FrameShape, RoiUnit, build_chain, regions_of
from vsal.encode.settings import Codec, EncodeSettings, SettingIgnored
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.roi.grid import block_grid_shape
from vsal.video.orientation import UPRIGHT
from vsal.video.probe import VideoInfo

_PLAIN = "or --no-roi to encode without maps"
_TRIAL_QP = 6
_TRIAL_FRAMES = 4
_LEAST_FAVOUR_DB = 0.5  # 12 QP apart make 2 dB (at CRF 45) to 12; halves of noise without a map differ by 0.05
_SEI = re.compile(rb"options: ([\x20-\x7e]+)")
VP9_SLOWEST = 5  # libvpx has regions of interest in its non-RD realtime mode alone


def refuse_ignored(settings: EncodeSettings) -> None:
    """Raise where an encoder would take the maps and not use them.

    SVT-AV1 and kvazaar are tried, too, for whether they take the settings at all: their programs tell of some that they
    do not know in a line of their log, and go on.

    x264, x265 and VP9 are tried: a small clip is encoded under the very settings with a map that favours its left half,
    and the halves must come out different. That catches presets, tunes and parameter strings as they end up, and
    whatever a later version of an encoder will do; what is known of the reasons goes into the message.

    Raises:
        SettingIgnored: with the reason and the remedy.
        SettingsError: the encoder does not take the settings at all, or they ask for several passes.
    """
    _refuse_passes(settings)
    if settings.codec in (Codec.SVTAV1, Codec.KVAZAAR):
        if settings.roi:
            (_refuse_svtav1 if settings.codec is Codec.SVTAV1 else _refuse_kvazaar)(settings)
        _try_program(settings)
    else:
        if settings.codec is Codec.VP9 and settings.roi:
            _refuse_vp9(settings)
        trial = _trial(settings)
        if not settings.roi:
            return
        account = _account(trial)
        # Interlaced macroblocks come in pairs of rows, and the map's rows would be taken for those.
        if account.get("interlaced", "0") != "0" or _favour_db(trial) < _LEAST_FAVOUR_DB:
            raise SettingIgnored(f"{_reason(settings, account)}, {_PLAIN}.")


def refuse_interlaced(settings: EncodeSettings, picture: Picture) -> None:
    """Raise for a source in fields, unless they are to be coded as progressive frames.

    Raises:
        TitleFailed: unsupported, with the remedies.
    """
    if picture.info.interlaced and not settings.code_fields_as_frames:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{picture.info.uri} is interlaced, and {settings.codec} takes maps in progressive coding alone: "
            "deinterlace it first, or code its fields as progressive frames with --code-fields-as-frames",
        )


def _try_program(settings: EncodeSettings) -> None:
    """Code a few frames with a program, plainly: what it does not take stops the run, and not each of its titles."""
    picture = trial_picture()
    given = [VideoFrame.from_ndarray(planes, format="yuv420p") for planes in _trial_frames(picture)]
    with tempfile.TemporaryDirectory(prefix="vsal-trial-") as folder:
        path = os.path.join(folder, "trial")
        try:
            encode_frames(ChunkInput(given, picture, None, settings.plain()), path)
            with av.open(path) as container:
                coded = sum(1 for packet in container.demux(video=0) if packet.size)
        except TitleFailed as error:
            raise SettingsError(error.detail) from error
        except av.error.FFmpegError as error:
            raise SettingsError(f"{settings.codec} writes no video under {settings.to_json()}: {error}") from error
    if coded != len(given):
        raise SettingsError(f"{settings.codec} codes {coded} of {len(given)} frames under {settings.to_json()}")


def _trial(settings: EncodeSettings) -> bytes:
    """An MP4 of a few frames of noise; if the settings ask for maps, its left half is to be finer than its right."""
    picture = trial_picture()
    small = replace(settings, pix_fmt=None, threads=1)
    rows, cols = block_grid_shape(picture.info.width, picture.info.height)
    grid = np.where(np.arange(cols) < cols // 2, -_TRIAL_QP, _TRIAL_QP).astype(np.int8)[None].repeat(rows, axis=0)
    unit = RoiUnit.of(settings.codec, 8)
    shape = FrameShape(picture.info.width, picture.info.height, "yuv420p", picture.info.time_base)
    chain = build_chain(regions_of(grid, unit, 2), shape, unit)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = open_stream(output, small, picture, encoder_options(small))
        for number, planes in enumerate(_trial_frames(picture)):
            frame = VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, picture.info.time_base
            if settings.roi:
                chain.vpush(frame)
                frame = chain.vpull()
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def _trial_frames(picture: Picture) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    size = picture.info.height * 3 // 2, picture.info.width
    return [random.integers(0, 256, size, dtype=np.uint8) for _ in range(_TRIAL_FRAMES)]


def _favour_db(trial: bytes) -> float:
    """By how much the left half of the trial is nearer to its source than the right half.

    Not a comparison of bytes with those of a plain encode: x264 does not always write the same ones twice.
    """
    picture = trial_picture()
    height, half = picture.info.height, picture.info.width // 2
    errors = np.zeros(2)
    with av.open(io.BytesIO(trial), "r") as container:
        for planes, frame in zip(_trial_frames(picture), container.decode(video=0), strict=True):
            squares = (luma(frame) - planes[:height].astype(np.float64)) ** 2
            errors += squares[:, :half].mean(), squares[:, half:].mean()
    return float(10.0 * np.log10(errors[1] / errors[0]))


def _account(written: bytes) -> dict[str, str]:
    said = _SEI.search(written)
    words = (word.partition("=") for word in said.group(1).decode().split()) if said else ()
    account: dict[str, str] = {}
    for key, equals, value in words:
        account[key.removeprefix("no-")] = value if equals else ("0" if key.startswith("no-") else "1")
    return account


def trial_picture() -> Picture:
    """That of the noise which settings are tried on: 192x128, 8-bit 4:2:0."""
    info = VideoInfo(
        uri="", container="", codec="", stream_index=0, width=192, height=128, pix_fmt="yuv420p", bit_depth=8,
        time_base=Fraction(1, 25), start_pts=0, duration_s=None, fps=Fraction(25), frames_estimate=None,
        orientation=UPRIGHT, sample_aspect_ratio=Fraction(1), color_trc=2, color_primaries=2, colorspace=2,
        color_range=0, interlaced=False, file_size=0,
    )  # fmt: skip
    return Picture(info, None, None, None, None)


def _reason(settings: EncodeSettings, account: dict[str, str]) -> str:
    """Why a trial came out the same with a map and without, and what to do about it."""
    name = AV_NAMES[settings.codec]
    options = {"preset": settings.effective_preset} | dict(settings.encoder_options)
    asked = ", ".join(f"{key}={value}" for key, value in options.items())
    if account.get("rc") == "cqp":
        return f"{name} ignores ROI maps at constant QP: asked for {asked}. Use --crf"
    if account.get("interlaced", "0") != "0":
        return f"{name} ignores ROI maps in interlaced coding: asked for {asked}. Deinterlace the source"
    if "aq" in account or "aq-mode" in account:
        mode, _, strength = account.get("aq", "").partition(":")
        tree = account.get("mbtree", account.get("cutree", "0"))
        return (
            f"{name} ignores ROI maps without effective adaptive quantisation: {asked} comes to aq-mode="
            f"{account.get('aq-mode', mode)}, aq-strength={account.get('aq-strength', strength) or 0}, "
            f"{'cutree' if settings.codec is Codec.X265 else 'mbtree'}={tree}. Add --encoder-option aq-mode=1 "
            "--encoder-option aq-strength=1 (0.001 for the map alone)"
        )
    return f"{name} codes the same with a ROI map and without under {asked}. Leave options out"


def _refuse_passes(settings: EncodeSettings) -> None:
    """One pass of two is no encode: the first leaves a log in some worker's folder, and nobody makes the second."""
    options = dict(settings.encoder_options)
    for key in ("x264-params", "x265-params"):
        options |= split_params(options.pop(key, ""))
    asked = [f"{key}={value}" for key, value in options.items() if key in ("pass", "passes", "stats")]
    asked += [f"flags={options['flags']}"] if "pass" in options.get("flags", "") else []
    if asked:
        raise SettingsError(
            f"vsal encodes in one pass, at a constant rate factor, where a second would change nothing: asked for "
            f"{', '.join(asked)}. Leave that out."
        )


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
            f"{VP9_SLOWEST} to 8, {_PLAIN}."
        )
    if options.get("lag-in-frames") != "0":
        raise SettingIgnored(
            f"libvpx-vp9 puts a map on the frame that is being coded, not on the one it came with: under lag-in-frames="
            f"{options.get('lag-in-frames')} that is one long before. Leave lag-in-frames out, {_PLAIN}."
        )
    if options.get("aq-mode") not in ("0", "none"):
        raise SettingIgnored(
            f"libvpx-vp9 has one set of segments, and aq-mode={options.get('aq-mode')} takes it from the ROI map. "
            f"Leave aq-mode out, {_PLAIN}."
        )


def _refuse_svtav1(settings: EncodeSettings) -> None:
    asked = {key: value for key, value in settings.encoder_options.items() if key in ("rc", "tbr", "mbr")}
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
