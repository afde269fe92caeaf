"""A few frames of noise under the very settings, before any title: whether they are taken, and whether a map acts.

That catches presets, tunes and parameter strings as they end up, and whatever a later version of an encoder will do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vsal import storage
from vsal.encode.codecs import encoder_of
from vsal.encode.codecs.base import PLAIN_REMEDY, Encoder, FrameRun
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.errors import Reason, SettingIgnored, SettingsError, TitleFailed
from vsal.manifest import MapRow
from vsal.quality.psnr import luma
from vsal.roi.grid import block_grid_shape
from vsal.video.orientation import UPRIGHT
from vsal.video.probe import VideoInfo

_QP = 6
_FRAMES = 4
_LEAST_FAVOUR_DB = 0.5  # 12 QP apart make 2 dB (at CRF 45) to 12; halves of noise without a map differ by 0.05
_FORMAT = "yuv420p"


def refuse_ignored(settings: EncodeSettings) -> None:
    """Raise where an encoder would not take the settings, or would take the maps and not use them.

    What is known to be ignored is refused by name. Then a small clip is encoded with a map that favours its left half,
    and the halves must come out different; what the encoder says of itself goes into the message.

    Raises:
        SettingIgnored: with the reason and the remedy.
        SettingsError: the encoder does not take the settings at all, or they ask for several passes.
    """
    encoder = encoder_of(settings.codec)
    _refuse_passes(encoder, settings)
    if settings.roi:
        encoder.refuse(settings)
    with storage.TemporaryFolder("trial") as folder:
        path = os.path.join(folder, "trial")
        _encode(encoder, settings, path)
        if not settings.roi:
            return
        with open(path, "rb") as file:
            written = file.read()
        if encoder.codes_fields(written) or _favour_db(path) < _LEAST_FAVOUR_DB:
            raise SettingIgnored(f"{encoder.why_ignored(settings, written)}, {PLAIN_REMEDY}.")


def refuse_interlaced(settings: EncodeSettings, facts: SourceFacts) -> None:
    """Raise for a source in fields, unless they are to be coded as progressive frames.

    Raises:
        TitleFailed: unsupported, with the remedies.
    """
    if facts.info.interlaced and not settings.code_fields_as_frames:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"{facts.info.uri} is interlaced, and {settings.codec} takes maps in progressive coding alone: "
            "deinterlace it first, or code its fields as progressive frames with --code-fields-as-frames",
        )


def trial_facts() -> SourceFacts:
    """Those of the noise which settings are tried on: 256x128, 8-bit 4:2:0, whole cells of every encoder."""
    info = VideoInfo(
        uri="", container="", codec="", stream_index=0, width=256, height=128, pix_fmt=_FORMAT, bit_depth=8,
        time_base=Fraction(1, 25), start_pts=0, duration_s=None, fps=Fraction(25), frames_estimate=None,
        orientation=UPRIGHT, sample_aspect_ratio=Fraction(1), color_trc=2, color_primaries=2, colorspace=2,
        color_range=0, interlaced=False, file_size=0,
    )  # fmt: skip
    return SourceFacts(None, None, None, None, 0, None, False, False, (), info)


def _encode(encoder: Encoder, settings: EncodeSettings, path: str) -> None:
    """Code the noise; what an encoder does not take stops the run, and not each of its titles."""
    facts = trial_facts()
    maps = [_left_is_finer(facts)] if settings.roi else None
    small = replace(settings, pix_fmt=None, threads=1)
    try:
        encoder.encode(FrameRun(_frames(facts), facts, maps, small), path)
        with av.open(path) as container:
            coded = sum(1 for packet in container.demux(video=0) if packet.size)
    except TitleFailed as error:
        raise SettingsError(error.detail) from error
    except av.error.FFmpegError as error:
        raise SettingsError(f"{settings.codec} writes no video under {settings.to_json()}: {error}") from error
    if coded != _FRAMES:
        raise SettingsError(f"{settings.codec} codes {coded} of {_FRAMES} frames under {settings.to_json()}")


def _left_is_finer(facts: SourceFacts) -> MapRow:
    info = facts.info
    rows, cols = block_grid_shape(info.width, info.height)
    left = np.broadcast_to(np.arange(cols) < cols // 2, (rows, cols))
    return MapRow(
        title_id="trial", shot=0, map=0, frame_start=0, frame_end=_FRAMES, pts_start=0, pts_end=_FRAMES,
        time_base=info.time_base, width=info.width, height=info.height, samples=1, motion=0.0,
        saliency=np.where(left, 255, 0).astype(np.uint8), qp_offset=np.where(left, -_QP, _QP).astype(np.int8),
    )  # fmt: skip


def _noise(facts: SourceFacts) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    size = facts.info.height * 3 // 2, facts.info.width
    return [random.integers(0, 256, size, dtype=np.uint8) for _ in range(_FRAMES)]


def _frames(facts: SourceFacts) -> Iterator[VideoFrame]:
    for number, planes in enumerate(_noise(facts)):
        frame = VideoFrame.from_ndarray(planes, format=_FORMAT)
        frame.pts, frame.time_base = number, facts.info.time_base
        yield frame


def _favour_db(path: str) -> float:
    """By how much the left half of the trial is nearer to its source than the right half.

    Not a comparison of bytes with those of a plain encode: x264 does not always write the same ones twice.
    """
    facts = trial_facts()
    height, half = facts.info.height, facts.info.width // 2
    errors = np.zeros(2)
    with av.open(path, "r") as container:
        for planes, frame in zip(_noise(facts), container.decode(video=0), strict=True):
            squares = (luma(frame) - planes[:height].astype(np.float64)) ** 2
            errors += squares[:, :half].mean(), squares[:, half:].mean()
    return float(10.0 * np.log10(errors[1] / errors[0]))


def _refuse_passes(encoder: Encoder, settings: EncodeSettings) -> None:
    """One pass of two is no encode: the first leaves a log in some worker's folder, and nobody makes the second."""
    options = encoder.options_of(settings)
    asked = [f"{key}={value}" for key, value in options.items() if key in ("pass", "passes", "stats")]
    asked += [f"flags={options['flags']}"] if "pass" in options.get("flags", "") else []
    if asked:
        raise SettingsError(
            f"vsal encodes in one pass, at a constant rate factor, where a second would change nothing: asked for "
            f"{', '.join(asked)}. Leave that out."
        )
