"""SVT-AV1, through its own program, which takes a ROI map file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsal import storage
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
Floats = NDArray[np.float64]
_FORMATS = {"yuv420p": ("8", "C420jpeg"), "yuv420p10le": ("10", "C420p10 XYSCSS=420P10")}
_SMALLEST = 64
_CONSTANT = ("0", "crf", "cqp")
_UNSPECIFIED = (0, 2)


@dataclass(frozen=True, slots=True)
class Segments:
    """How the QP offsets of a map become offsets of qindex that SVT-AV1 can follow.

    An offset moves the quantiser of a segment, but not the lambda that its blocks are decided by: that is the base's.
    So the base is lowered by part of what the maps ask for below 0, and every offset is raised by as much: each cell
    keeps its quantiser, and lambda comes nearer to that of the cells that people look at. As it falls for the others
    too, all would cost more bits: base and offsets are raised again by part of that, and `--crf` keeps about its rate.

    And where the qindex of a segment falls to 0 or below, SVT-AV1 2.3 gives its blocks to another segment, and later
    ones code that frame without any, both without a word. Key frames are the first: theirs is far below the base's.

    Attributes:
        levels: most distinct offsets of a map.
        below: share of the maps' reach below 0 that stays an offset below the base; 0 for offsets above it alone.
        key_step: quantiser step of a key frame over that of the base, at least: no offset goes below 0 from there.
        raised: share of what the base is lowered by that is given back, to base and offsets alike.
    """

    levels: int
    below: float
    key_step: float
    raised: float

    def level(self, lowest_qp: float, crf: float, step: float) -> tuple[float, float]:
        """At which CRF the title's quantisers are laid out, and which one the program is given.

        Args:
            lowest_qp: the least QP offset of any cell, at most 0.
            crf: that was asked for.
            step: in which the program takes it.
        """
        if lowest_qp >= 0:
            return crf, crf
        base = crf
        while base - step >= SvtAv1.least_crf and not self._reaches(lowest_qp, crf, base):
            base -= step
        given_back = round((crf - base) * self.raised / step) * step
        given_back = min(given_back, SvtAv1.most_crf - crf)
        return crf + given_back, base + given_back

    def _reaches(self, lowest_qp: float, crf: float, base: float) -> bool:
        """Whether the least offset, from a base, lies within what may lie below it."""
        level = qindex_of_crf(crf)
        wanted = float(qindex_offsets(np.array(lowest_qp), level))
        most_below = min(-wanted * self.below, self.room(base))
        return level + wanted - qindex_of_crf(base) >= -most_below

    def room(self, base: float) -> float:
        """How far below a base CRF an offset of qindex may go for every frame to keep its segments."""
        qindex = qindex_of_crf(base)
        key = qindex + float(qindex_offsets(np.array(6.0 * np.log2(self.key_step)), qindex))
        return max(0.0, float(np.floor(key)) - 1.0)

    def qindex_levels(self, offsets: Floats, level: float, base: float) -> NDArray[np.int64]:
        """Cells' QP offsets as few offsets of qindex that lose least, the largest of them not below 0.

        Args:
            offsets: of cells, in QP.
            level: CRF at which a QP offset of 0 is coded.
            base: CRF that the program is given.
        """
        from_level = qindex_offsets(offsets, qindex_of_crf(level))
        wanted = np.rint(from_level + qindex_of_crf(level) - qindex_of_crf(base)).clip(-self.room(base), 255)
        levels, index = fewest_loss_levels(wanted, self.levels)
        whole = np.rint(levels).astype(np.int64)
        whole[-1] = max(whole[-1], 0)
        return whole[index].reshape(offsets.shape)


# Chosen under the gaze of people, `python -m benchmarks.svtav1`. Key frames: of 120 frames of a still picture, presets
# 8 and 12, CRF 20 to 56, the step is 1/7.3 to 1/13.3 of the base's; where things move it is larger.
CHOSEN = Segments(levels=2, below=0.5, key_step=1 / 14, raised=0.55)


def roi_map_lines(
    cells: Iterable[tuple[int, Floats]], segments: Segments, level: float, base: float, first_frame: int = 0
) -> Iterator[str]:
    """Lines of a ROI map file: the frame from which a map holds, then an offset for each 64x64 cell, raster order.

    Args:
        cells: for each map its first frame and the QP offsets of its cells.
        segments: how offsets become levels.
        level: CRF at which a QP offset of 0 is coded.
        base: CRF that the program is given.
        first_frame: number of the first frame of the encode.
    """
    for frame, offsets in cells:
        values = " ".join(str(value) for value in segments.qindex_levels(offsets, level, base).ravel().tolist())
        yield f"{max(0, frame - first_frame)} {values}\n"


def map_cells(maps: Iterable[MapRow], mapping: QpMapping, gain: float | None = None) -> list[tuple[int, Floats]]:
    """For each map its first frame and the QP offsets of its 64x64 cells."""
    return [(row.frame_start, cell_offsets(row, mapping, gain)[0]) for row in maps]


def lowest(cells: Iterable[tuple[int, Floats]]) -> float:
    """The least QP offset of any cell; 0 if none is below."""
    return min((float(offsets.min()) for _, offsets in cells), default=0.0)


def level_of_base(segments: Segments, lowest_qp: float, base: float) -> float:
    """The whole CRF at which a title's quantisers are laid out when the program is given `base`: for exported files."""
    for crf in np.arange(base, SvtAv1.most_crf + 1):
        level, given = segments.level(lowest_qp, float(crf), 1.0)
        if given >= base:
            return level - (given - base)
    return float(SvtAv1.most_crf)


class SvtAv1(Encoder):
    """AV1; a map comes as segments of 64x64 cells."""

    name = "svtav1"
    label = "SVT-AV1"
    default_crf, least_crf, most_crf, default_preset = 35, 1, 63, "8"
    crf_options, rate_options = ("crf", "qp"), ("tbr",)
    cell = 64
    says_aspect = False
    containers = ("mp4", "mkv", "webm")
    caveat = (
        "SVT-AV1 takes maps in 64x64 cells. With people's gaze as the map (832 wide and more, preset 8) they save 7 % "
        "of the bits at equal gaze-weighted PSNR, nothing with a tenth of the weight spread evenly, and cost 7 % at "
        "equal plain PSNR."
    )

    def __init__(self, segments: Segments = CHOSEN) -> None:
        """With another way of laying out segments than the chosen one: for measuring."""
        self.segments = segments

    def check(self, settings: EncodeSettings) -> None:
        """As `Encoder.check`."""
        super().check(settings)
        find_svtav1(settings.program)
        control = settings.encoder_options.get("rc", "0")
        if settings.crf is not None and control not in _CONSTANT:
            raise SettingsError(
                f"--crf={settings.crf:g} and rc={control} ask SVT-AV1 for different rates, and it would follow one of "
                "them without a word: leave out all but one"
            )

    def crf_step(self, settings: EncodeSettings) -> float:
        """As `Encoder.crf_step`: quarters came with 4.0."""
        return 1.0 if find_svtav1(settings.program).version < (4, 0) else 0.25

    def version(self, settings: EncodeSettings) -> str:
        """As `Encoder.version`."""
        return f"{self.label} {find_svtav1(settings.program).release}"

    def refuse(self, settings: EncodeSettings) -> None:
        """As `Encoder.refuse`."""
        asked = {key: value for key, value in settings.encoder_options.items() if key in ("rc", "tbr", "mbr")}
        if asked.get("rc", "0") not in _CONSTANT or "tbr" in asked:
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
        program = find_svtav1(settings.program).path
        info, rate = facts.info, facts.fps
        depth, sampling = _FORMATS[pix_fmt]
        with storage.TemporaryFolder("svtav1") as folder:
            command = [program, "-i", "stdin", "-b", path, "--progress", "0", "--input-depth", depth]
            command += ["--preset", self.preset(settings), *_colour(facts)]
            crf = self.crf(settings)
            if settings.threads:
                command += ["--lp", str(settings.threads)]
            if run.maps is not None:
                cells = map_cells(run.maps, run.mapping, run.gain)
                level, crf = self.segments.level(lowest(cells), crf, self.crf_step(settings))
                map_file = os.path.join(folder, "roi.txt")
                with open(map_file, "w", encoding="ascii") as file:
                    file.writelines(roi_map_lines(cells, self.segments, level, crf, run.first_frame))
                command += ["--roi-map-file", map_file]
            command += ["--crf", f"{crf:g}"]
            for key, value in settings.encoder_options.items():
                if key not in self.crf_options:
                    command += [f"--{key}", value]
            header = f"YUV4MPEG2 W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip A0:0 {sampling}\n"
            return feed(command, header.encode(), b"FRAME\n", run.frames, self.label, run.on_frame)


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
    if facts.chroma_siting in ("left", "topleft"):  # AV1 has no word for others
        words += ["--chroma-sample-position", facts.chroma_siting]
    if facts.mastering:
        words += ["--mastering-display", _mastering_decimals(facts.mastering)]
    if facts.light:
        words += ["--content-light", f"{facts.light[0]},{facts.light[1]}"]
    return words


def _mastering_decimals(display: Mastering) -> str:
    points = zip(("G", "B", "R", "WP"), (display.green, display.blue, display.red, display.white), strict=True)
    text = "".join(f"{name}({x:.5f},{y:.5f})" for name, (x, y) in points)
    return f"{text}L({display.max_nits:.4f},{display.min_nits:.4f})"


class Program(NamedTuple):
    """A SvtAv1EncApp: where it is, its version (major, minor), and the whole of it as it says it itself."""

    path: str
    version: tuple[int, int]
    release: str


@lru_cache(maxsize=8)
def find_svtav1(program: str | None = None) -> Program:
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
    found = re.search(r"v?((\d+)\.(\d+)\S*)", said.stdout + said.stderr)
    if found is None:
        raise SettingsError(f"{path} --version does not say which SVT-AV1 it is: {(said.stdout + said.stderr)[:200]!r}")
    version = int(found.group(2)), int(found.group(3))
    if version < OLDEST:
        raise SettingIgnored(
            f"{path} is SVT-AV1 {version[0]}.{version[1]}, and ROI map files came with {OLDEST[0]}."
            f"{OLDEST[1]}: install a later one, or encode without maps with --no-roi."
        )
    return Program(path, version, found.group(1))
