"""x265, inside PyAV."""

from __future__ import annotations

import re

from vsal.encode.codecs.libav import LibavEncoder
from vsal.encode.codecs.x264 import account, adaptive_quantisation_off, mastering_integers
from vsal.encode.maps.regions import QpUnit
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.roi.grid import MACROBLOCK
from vsal.video.colour import HLG, PQ

# One layer in HEVC's own colours, of which FFmpeg makes the RPUs anew; its base layer is HDR10, SDR or HLG.
_DOLBY_VISION_PROFILE, _BT709 = 8, 1
_COMPATIBLE = {PQ: 1, _BT709: 2, HLG: 4}
_DOLBY_VISION_FORMAT = "yuv420p10le"
# ITU-T H.265, tables A.8 and A.9, main tier: luma samples of a picture, of a second, kbit/s, and kbit of buffer.
_LEVELS = (
    (36_864, 552_960, 128),
    (122_880, 3_686_400, 1_500),
    (245_760, 7_372_800, 3_000),
    (552_960, 16_588_800, 6_000),
    (983_040, 33_177_600, 10_000),
    (2_228_224, 66_846_720, 12_000),
    (2_228_224, 133_693_440, 20_000),
    (8_912_896, 267_386_880, 25_000),
    (8_912_896, 534_773_760, 40_000),
    (8_912_896, 1_069_547_520, 60_000),
    (35_651_584, 1_069_547_520, 60_000),
    (35_651_584, 2_139_095_040, 120_000),
    (35_651_584, 4_278_190_080, 240_000),
)


class X265(LibavEncoder):
    """HEVC; a map is added to adaptive quantisation, in quantisation groups of 16."""

    name = "x265"
    label = av_name = "libx265"
    version_words = re.compile(rb"\(build \d+\) - [^\s:]+")
    params_option = "x265-params"
    default_crf, most_crf, default_preset = 28, 51, "medium"
    # It takes decoding times from the frames this long before; in a shorter run they are whatever lay in its memory,
    # and no muxer takes them. Two frames are not reordered.
    delay_frames = 2

    def own_options(self, settings: EncodeSettings) -> tuple[dict[str, str], dict[str, str]]:
        """As `LibavEncoder.own_options`."""
        params = {"qg-size": str(MACROBLOCK), "log-level": "error"}
        if settings.threads:
            params["pools"] = str(settings.threads)
        return {"preset": self.preset(settings), "forced-idr": "1"}, params

    def encoder_options(self, settings: EncodeSettings, facts: SourceFacts | None = None) -> dict[str, str]:
        """As `LibavEncoder.encoder_options`."""
        options = super().encoder_options(settings, facts)
        if facts is not None and self.carries_dolby_vision(settings, facts):
            # Under `auto` FFmpeg looks for Dolby Vision where PyAV cannot put it, and codes without a word.
            options.setdefault("dolbyvision", "1")
        return options

    def carries_dolby_vision(self, settings: EncodeSettings, facts: SourceFacts) -> bool:
        """As `Encoder.carries_dolby_vision`: what is coded in 10 bits, of one layer."""
        asked = settings.encoder_options.get("dolbyvision", "1") not in ("0", "false")
        said = facts.dolby_vision
        if not asked or said is None or said.profile != _DOLBY_VISION_PROFILE:
            return False
        coded = self.pixel_format(settings, facts)
        # FFmpeg tells x265 the compatibility that the transfer function has; x265 demands the display of HDR10's.
        fits = said.compatibility == _COMPATIBLE.get(facts.info.color_trc)
        return coded == _DOLBY_VISION_FORMAT and fits and (facts.info.color_trc != PQ or facts.mastering is not None)

    def hdr_params(self, settings: EncodeSettings, facts: SourceFacts) -> dict[str, str]:
        """As `LibavEncoder.hdr_params`."""
        params: dict[str, str] = {}
        if facts.mastering:
            params["master-display"] = mastering_integers(facts.mastering)
        if facts.light:
            params["max-cll"] = f"{facts.light[0]},{facts.light[1]}"
        if facts.info.color_trc == PQ:
            params |= {"hdr10": "1", "repeat-headers": "0"}
        if self.carries_dolby_vision(settings, facts):
            # x265 codes no Dolby Vision without a rate and a buffer: the limits of the picture's level bind it least.
            kbit = str(level_kbit(facts.info.width, facts.info.height, float(facts.fps)))
            params |= {"vbv-maxrate": kbit, "vbv-bufsize": kbit}
        return params

    def threads(self, settings: EncodeSettings) -> int:
        """Its threads are those of its pools."""
        return 0

    def unit(self, settings: EncodeSettings, bit_depth: int) -> QpUnit:
        """As `LibavEncoder.unit`."""
        return QpUnit.at_depth(bit_depth)

    def why_ignored(self, settings: EncodeSettings, written: bytes) -> str:
        """As `Encoder.why_ignored`, from what the encoder wrote into its own stream."""
        return adaptive_quantisation_off(self.label, self.told(settings), account(written), "cutree")


def level_kbit(width: int, height: int, fps: float) -> int:
    """Most kbit/s, and most kbit in the buffer, of the lowest level of HEVC that holds such pictures (main tier)."""
    luma = width * height
    return next((kbit for size, rate, kbit in _LEVELS if luma <= size and luma * fps <= rate), _LEVELS[-1][2])
