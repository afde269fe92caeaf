"""SVT-AV1, through its own program, which takes a ROI map file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vsal.encode.codecs.base import PLAIN_REMEDY, Encoder, FrameRun
from vsal.encode.codecs.process import feed
from vsal.encode.maps.cells import cell_offsets
from vsal.encode.maps.levels import fewest_loss_levels
from vsal.encode.maps.units import qindex_of_crf, qindex_offsets
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.errors import Reason, SettingIgnored, SettingsError, TitleFailed
from vsal.manifest import MapRow
from vsal.roi.qp import QpMapping
from vsal.video.stream_facts import Mastering

OLDEST = (1, 6)  # the first with --roi-map-file
MOST_LEVELS = 8  # AV1 segments; SvtAv1EncApp's parser writes out of bounds at a ninth
_FORMATS = {"yuv420p": ("8", "C420jpeg"), "yuv420p10le": ("10", "C420p10 XYSCSS=420P10")}
_SMALLEST = 64
_UNSPECIFIED = (0, 2)


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


class SvtAv1(Encoder):
    """AV1; a map comes as segments of 64x64 cells."""

    name = "svtav1"
    label = "SVT-AV1"
    default_crf, most_crf, default_preset = 35, 63, "8"
    cell = 64
    says_aspect = False
    containers = ("mp4", "mkv", "webm")

    def check(self, settings: EncodeSettings) -> None:
        """As `Encoder.check`."""
        super().check(settings)
        find_svtav1(settings.program)

    def refuse(self, settings: EncodeSettings) -> None:
        """As `Encoder.refuse`."""
        asked = {key: value for key, value in settings.encoder_options.items() if key in ("rc", "tbr", "mbr")}
        if asked.get("rc", "0") not in ("0", "crf", "cqp") or "tbr" in asked:
            raise SettingIgnored(
                f"SVT-AV1 ignores its ROI map file under VBR and CBR: asked for {asked}. Use --crf, {PLAIN_REMEDY}."
            )

    def pixel_format(self, settings: EncodeSettings, facts: SourceFacts) -> str:
        """As `Encoder.pixel_format`."""
        info = facts.info
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

    def encode(self, run: FrameRun, path: str) -> list[int]:
        """As `Encoder.encode`, into an IVF."""
        facts, settings = run.facts, run.settings
        pix_fmt = self.pixel_format(settings, facts)
        program, _ = find_svtav1(settings.program)
        info, rate = facts.info, facts.fps
        depth, sampling = _FORMATS[pix_fmt]
        with tempfile.TemporaryDirectory(prefix="vsal-svtav1-") as folder:
            command = [program, "-i", "stdin", "-b", path, "--progress", "0", "--input-depth", depth]
            command += ["--crf", f"{self.crf(settings):g}", "--preset", self.preset(settings), *_colour(facts)]
            if settings.threads:
                command += ["--lp", str(settings.threads)]
            if run.maps is not None:
                map_file = os.path.join(folder, "roi.txt")
                with open(map_file, "w", encoding="ascii") as file:
                    lines = roi_map_lines(run.maps, run.mapping, self.crf(settings), run.first_frame, run.gain)
                    file.writelines(lines)
                command += ["--roi-map-file", map_file]
            for key, value in settings.encoder_options.items():
                command += [f"--{key}", value]
            header = f"YUV4MPEG2 W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip A0:0 {sampling}\n"
            return feed(command, header.encode(), b"FRAME\n", run.frames, pix_fmt, self.label, run.on_frame)


def _colour(facts: SourceFacts) -> list[str]:
    info = facts.info
    words: list[str] = []
    for option, value in (
        ("--color-primaries", info.color_primaries),
        ("--transfer-characteristics", info.color_trc),
        ("--matrix-coefficients", info.colorspace),
    ):
        if value not in _UNSPECIFIED:
            words += [option, str(value)]
    if info.color_range == 2 or info.pix_fmt.startswith("yuvj"):
        words += ["--color-range", "1"]
    if facts.mastering:
        words += ["--mastering-display", _mastering_decimals(facts.mastering)]
    if facts.light:
        words += ["--content-light", f"{facts.light[0]},{facts.light[1]}"]
    return words


def _mastering_decimals(display: Mastering) -> str:
    points = zip(("G", "B", "R", "WP"), (display.green, display.blue, display.red, display.white), strict=True)
    text = "".join(f"{name}({x:.5f},{y:.5f})" for name, (x, y) in points)
    return f"{text}L({display.max_nits:.4f},{display.min_nits:.4f})"


@lru_cache(maxsize=8)
def find_svtav1(program: str | None = None) -> tuple[str, tuple[int, int]]:
    """SvtAv1EncApp and its version.

    Raises:
        SettingsError: there is none.
        SettingIgnored: it is too old for maps.
    """
    path = shutil.which(program or "SvtAv1EncApp")
    if path is None:
        raise SettingsError(
            f"{program or 'SvtAv1EncApp'} is not found: install it (Debian 13, Ubuntu 24.10: apt install svt-av1), or "
            "name it with --encoder-program FILE"
        )
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"v?(\d+)\.(\d+)", said.stdout + said.stderr)
    if found is None:
        raise SettingsError(f"{path} --version does not say which SVT-AV1 it is: {(said.stdout + said.stderr)[:200]!r}")
    version = int(found.group(1)), int(found.group(2))
    if version < OLDEST:
        raise SettingIgnored(
            f"{path} is SVT-AV1 {version[0]}.{version[1]}, and ROI map files came with {OLDEST[0]}."
            f"{OLDEST[1]}: install a later one, or encode without maps with --no-roi."
        )
    return path, version
