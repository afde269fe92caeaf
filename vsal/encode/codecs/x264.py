"""x264, inside PyAV."""

from __future__ import annotations

import re

from vsal.encode.codecs.libav import LibavEncoder
from vsal.encode.maps.regions import QpUnit
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.video.stream_facts import Mastering

_SEI = re.compile(rb"options: ([\x20-\x7e]+)")  # x264 and x265 write into each stream how it was made


class X264(LibavEncoder):
    """H.264; a map is added to adaptive quantisation."""

    name = "x264"
    label = av_name = "libx264"
    params_option = "x264-params"
    default_crf, most_crf, default_preset = 23, 51, "medium"
    reports_qp = True

    def own_options(self, settings: EncodeSettings) -> tuple[dict[str, str], dict[str, str]]:
        """As `LibavEncoder.own_options`."""
        return {"preset": self.preset(settings), "forced-idr": "1"}, {}

    def hdr_params(self, facts: SourceFacts) -> dict[str, str]:
        """As `LibavEncoder.hdr_params`."""
        params: dict[str, str] = {}
        if facts.mastering:
            params["mastering-display"] = mastering_integers(facts.mastering)
        if facts.light:
            params["cll"] = f"{facts.light[0]},{facts.light[1]}"
        return params

    def unit(self, bit_depth: int) -> QpUnit:
        """As `LibavEncoder.unit`."""
        return QpUnit.at_depth(bit_depth)

    def codes_fields(self, written: bytes) -> bool:
        """As `Encoder.codes_fields`."""
        return account(written).get("interlaced", "0") != "0"

    def why_ignored(self, settings: EncodeSettings, written: bytes) -> str:
        """As `Encoder.why_ignored`, from what the encoder wrote into its own stream."""
        if self.codes_fields(written):
            return (
                f"{self.label} ignores ROI maps in interlaced coding: asked for {self.told(settings)}. Deinterlace the "
                "source"
            )
        return adaptive_quantisation_off(self.label, self.told(settings), account(written), "mbtree")


def mastering_integers(display: Mastering) -> str:
    """A mastering display as x264 and x265 take it: steps of 0.00002, and of 0.0001 cd/m2."""
    points = zip(("G", "B", "R", "WP"), (display.green, display.blue, display.red, display.white), strict=True)
    text = "".join(f"{name}({round(x * 50000)},{round(y * 50000)})" for name, (x, y) in points)
    return f"{text}L({round(display.max_nits * 10000)},{round(display.min_nits * 10000)})"


def account(written: bytes) -> dict[str, str]:
    """The settings that x264 or x265 says it ran with, from its own words in a stream."""
    said = _SEI.search(written)
    words = (word.partition("=") for word in said.group(1).decode().split()) if said else ()
    settings: dict[str, str] = {}
    for key, equals, value in words:
        settings[key.removeprefix("no-")] = value if equals else ("0" if key.startswith("no-") else "1")
    return settings


def adaptive_quantisation_off(label: str, told: str, ran_with: dict[str, str], tree: str) -> str:
    """Why x264 or x265 ignored a map: both carry maps in the offsets of adaptive quantisation and of their tree."""
    if ran_with.get("rc") == "cqp":
        return f"{label} ignores ROI maps at constant QP: asked for {told}. Use --crf"
    mode, _, strength = ran_with.get("aq", "").partition(":")
    return (
        f"{label} ignores ROI maps without effective adaptive quantisation: {told} comes to aq-mode="
        f"{ran_with.get('aq-mode', mode)}, aq-strength={ran_with.get('aq-strength', strength) or 0}, "
        f"{tree}={ran_with.get(tree, '0')}. Add --encoder-option aq-mode=1 --encoder-option aq-strength=1 (0.001 for "
        "the map alone)"
    )
