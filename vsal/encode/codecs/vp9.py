"""VP9 by libvpx, inside PyAV."""

from __future__ import annotations

from dataclasses import dataclass

from vsal.encode.codecs.base import PLAIN_REMEDY
from vsal.encode.codecs.libav import LibavEncoder
from vsal.encode.maps.rectangles import Grid
from vsal.encode.maps.regions import RegionUnit
from vsal.encode.settings import EncodeSettings
from vsal.errors import SettingIgnored

SEGMENTS = 8  # the picture outside every region included
SLOWEST = 5  # libvpx has regions of interest in its non-RD realtime mode alone


@dataclass(frozen=True, slots=True)
class Vp9Unit:
    """FFmpeg multiplies `qoffset` by 63, whose quantiser steps span about the same range of step sizes as 51 QP."""

    levels: int | None = SEGMENTS

    def steps(self, qp_offsets: Grid) -> Grid:
        """As they are."""
        return qp_offsets

    def qoffset(self, step: int) -> str:
        """QP over the range of QP."""
        return f"{step}/51"


class Vp9(LibavEncoder):
    """VP9 in realtime mode; a map comes as segments."""

    name = "vp9"
    label = av_name = "libvpx-vp9"
    default_crf, most_crf, default_preset = 32, 63, "5"
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

    def unit(self, bit_depth: int) -> RegionUnit:
        """As `LibavEncoder.unit`."""
        return Vp9Unit()

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
