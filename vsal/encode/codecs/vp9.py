"""VP9 by libvpx, inside PyAV."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from vsal.encode.codecs.base import PLAIN_REMEDY
from vsal.encode.codecs.libav import LibavEncoder
from vsal.encode.maps.rectangles import Grid
from vsal.encode.maps.regions import RegionUnit
from vsal.encode.maps.units import qindex_of_crf, qindex_offsets
from vsal.encode.settings import EncodeSettings
from vsal.errors import SettingIgnored

SEGMENTS = 8  # the picture outside every region included
QINDEX_A_STEP = 4
QUANTISERS = 63  # FFmpeg's factor
MOST_STEPS = QUANTISERS - 1  # half a step further must still be a fraction of at most 1
SLOWEST = 5  # libvpx has regions of interest in its non-RD realtime mode alone


@dataclass(frozen=True, slots=True)
class Vp9Unit:
    """Steps of libvpx's own quantiser 0..63, each 4 of qindex.

    FFmpeg makes `trunc(63 qoffset)` of a region's offset, and libvpx takes that as an offset of its quantiser, whose
    steps are 4 of qindex. What a QP is in qindex depends on where on VP9's table of AC steps, which is AV1's, a title
    lies.

    Attributes:
        base_qindex: at which the title is coded.
        levels: segments, with 0 among them.
    """

    base_qindex: float
    levels: int | None = SEGMENTS

    def steps(self, qp_offsets: Grid) -> Grid:
        """QP offsets in steps of the quantiser."""
        exact = qindex_offsets(qp_offsets.astype(np.float64), self.base_qindex) / QINDEX_A_STEP
        return np.rint(exact).clip(-MOST_STEPS, MOST_STEPS).astype(np.int8)

    def qoffset(self, step: int) -> str:
        """Half a step further from 0 than the step, so that truncation lands on it."""
        return f"{2 * step + (step > 0) - (step < 0)}/{2 * QUANTISERS}"


class Vp9(LibavEncoder):
    """VP9 in realtime mode; a map comes as segments."""

    name = "vp9"
    label = av_name = "libvpx-vp9"
    version_words = re.compile(rb"v\d+\.\d+\.\d+\S*")
    default_crf, most_crf, default_preset = 32, 63, "5"
    rate_options = ()  # `crf` under a bit rate `b` is its constrained quality: it follows both
    takes_any_option = takes_odd_sides = True
    says_aspect = says_siting = False
    containers = ("mp4", "mkv", "webm")
    caveat = "VP9 takes maps in realtime mode alone, in 8 segments, and leaves keyframes as they are."

    def own_options(self, settings: EncodeSettings) -> tuple[dict[str, str], dict[str, str]]:
        """As `LibavEncoder.own_options`."""
        options = {"b": "0", "deadline": "realtime", "cpu-used": self.preset(settings), "row-mt": "1"}
        # A user's own cpu-used wins over the preset; libvpx knows regions of interest under these alone. It takes a map
        # when a frame is handed in and uses it when one is coded: with frames held back (FFmpeg's default is 25) a map
        # would act on those of a second before.
        return options | {"aq-mode": "0", "lag-in-frames": "0"}, {}

    def crf_step(self, settings: EncodeSettings) -> float:
        """As `Encoder.crf_step`: FFmpeg's option is a whole number."""
        return 1.0

    def unit(self, settings: EncodeSettings, bit_depth: int) -> RegionUnit:
        """As `LibavEncoder.unit`; under a bit rate the base is not known ahead: that of the default stands for it."""
        return Vp9Unit(qindex_of_crf(self.default_crf if self.by_rate(settings) else self.crf(settings)))

    def refuse(self, settings: EncodeSettings) -> None:
        """As `Encoder.refuse`."""
        options = self.encoder_options(settings)
        deadline = options.get("deadline", options.get("quality", ""))
        if deadline != "realtime" or "quality" in settings.encoder_options:
            raise SettingIgnored(
                f"{self.label} ignores ROI maps outside deadline=realtime: asked for {deadline}. Leave it out, "
                f"{PLAIN_REMEDY}."
            )
        speed = options.get("speed", options["cpu-used"])
        if not speed.lstrip("-").isdigit() or int(speed) < SLOWEST:
            raise SettingIgnored(
                f"{self.label} ignores ROI maps below cpu-used={SLOWEST}: asked for {speed}. Use --preset {SLOWEST} to "
                f"8, {PLAIN_REMEDY}."
            )
        if options.get("lag-in-frames") != "0":
            raise SettingIgnored(
                f"{self.label} puts a map on the frame that is being coded, not on the one it came with: under "
                f"lag-in-frames={options.get('lag-in-frames')} that is one long before. Leave lag-in-frames out, "
                f"{PLAIN_REMEDY}."
            )
        if options.get("aq-mode") not in ("0", "none"):
            raise SettingIgnored(
                f"{self.label} has one set of segments, and aq-mode={options.get('aq-mode')} takes it from the ROI "
                f"map. Leave aq-mode out, {PLAIN_REMEDY}."
            )
