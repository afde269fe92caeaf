"""SVT-AV1 through its own program: the ROI map file, and an encode under it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vsal.encode.cells import cell_offsets, qindex_of_crf, qindex_offsets
from vsal.encode.chunk_input import ChunkInput
from vsal.encode.levels import fewest_loss_levels
from vsal.encode.picture import Picture
from vsal.encode.programs import feed, find_svtav1
from vsal.encode.settings import EncodeSettings
from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.manifest import MapRow
from vsal.roi.qp import QpMapping

MOST_LEVELS = 8  # AV1 segments; SvtAv1EncApp's parser writes out of bounds at a ninth
_FORMATS = {"yuv420p": ("8", "C420jpeg"), "yuv420p10le": ("10", "C420p10 XYSCSS=420P10")}
_SMALLEST = 64


def qindex_levels(offsets: NDArray[np.float64], base_qindex: float) -> NDArray[np.int64]:
    """Cells' QP offsets as at most 8 offsets of qindex that lose least, the largest of them not below 0."""
    wanted = np.clip(qindex_offsets(offsets, base_qindex), -255, 255)
    levels, index = fewest_loss_levels(np.rint(wanted), MOST_LEVELS)
    whole = np.rint(levels).astype(np.int64)
    if whole[-1] < 0:
        whole[-1] = 0
    return whole[index].reshape(offsets.shape)


def roi_map_lines(
    maps: Iterable[MapRow], mapping: QpMapping, crf: float, first_frame: int = 0, gain: float | None = None
) -> Iterator[str]:
    """Lines of a ROI map file: the frame from which a map holds, then an offset for each 64x64 cell, raster order."""
    base = qindex_of_crf(crf)
    for row in maps:
        offsets, _ = cell_offsets(row, mapping, gain)
        cells = " ".join(str(value) for value in qindex_levels(offsets, base).ravel().tolist())
        yield f"{max(0, row.frame_start - first_frame)} {cells}\n"


def encode_svtav1_chunk(chunk: ChunkInput, path: str) -> list[int]:
    """Encode frames into an IVF file; as `encode_frames` says."""
    picture, settings = chunk.picture, chunk.settings
    pix_fmt = svtav1_format(settings, picture)
    program, _ = find_svtav1(settings.program)
    info = picture.info
    depth, sampling = _FORMATS[pix_fmt]
    with tempfile.TemporaryDirectory(prefix="vsal-svtav1-") as folder:
        command = [program, "-i", "stdin", "-b", path, "--progress", "0", "--input-depth", depth]
        command += ["--crf", f"{settings.effective_crf:g}", "--preset", settings.effective_preset]
        command += _colour(picture)
        if settings.threads:
            command += ["--lp", str(settings.threads)]
        if chunk.maps is not None:
            crf, start = settings.effective_crf, chunk.first_frame
            map_file = os.path.join(folder, "roi.txt")
            with open(map_file, "w", encoding="ascii") as file:
                file.writelines(roi_map_lines(chunk.maps, chunk.mapping, crf, start, chunk.gain))
            command += ["--roi-map-file", map_file]
        for key, value in settings.encoder_options.items():
            command += [f"--{key}", value]
        rate = picture.fps
        header = f"YUV4MPEG2 W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip A0:0 {sampling}\n"
        return feed(command, header.encode(), b"FRAME\n", chunk.found, pix_fmt, "SVT-AV1", chunk.on_frame)


def svtav1_format(settings: EncodeSettings, picture: Picture) -> str:
    """The pixel format to encode in.

    Raises:
        SettingsError: SVT-AV1 does not take the one asked for.
        TitleFailed: it does not take the source's format or size.
    """
    info = picture.info
    name = (settings.pix_fmt or info.pix_fmt).replace("yuvj", "yuv")
    if name not in _FORMATS:
        text = f"SVT-AV1 takes {' and '.join(_FORMATS)}, not {name}"
        if settings.pix_fmt:
            raise SettingsError(text)
        raise TitleFailed(Reason.UNSUPPORTED, f"{text}, the source's; convert with --pix-fmt yuv420p10le")
    if min(info.width, info.height) < _SMALLEST or info.width % 2 or info.height % 2:
        raise TitleFailed(
            Reason.UNSUPPORTED,
            f"SVT-AV1 takes even sides of at least {_SMALLEST}, not {info.width}x{info.height}; use --codec vp9",
        )
    return name


def _colour(picture: Picture) -> list[str]:
    info = picture.info
    words: list[str] = []
    for option, value in (
        ("--color-primaries", info.color_primaries),
        ("--transfer-characteristics", info.color_trc),
        ("--matrix-coefficients", info.colorspace),
    ):
        if value not in (0, 2):  # unspecified
            words += [option, str(value)]
    if info.color_range == 2 or info.pix_fmt.startswith("yuvj"):
        words += ["--color-range", "1"]
    if picture.mastering:
        words += ["--mastering-display", picture.mastering.decimals()]
    if picture.light:
        words += ["--content-light", f"{picture.light[0]},{picture.light[1]}"]
    return words
