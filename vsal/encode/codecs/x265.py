"""x265, inside PyAV."""

from __future__ import annotations

from vsal.encode.codecs.libav import LibavEncoder
from vsal.encode.codecs.x264 import account, adaptive_quantisation_off, mastering_integers
from vsal.encode.maps.regions import QpUnit
from vsal.encode.settings import EncodeSettings
from vsal.encode.source_facts import SourceFacts
from vsal.roi.grid import MACROBLOCK
from vsal.video.colour import PQ


class X265(LibavEncoder):
    """HEVC; a map is added to adaptive quantisation, in quantisation groups of 16."""

    name = "x265"
    label = av_name = "libx265"
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

    def hdr_params(self, facts: SourceFacts) -> dict[str, str]:
        """As `LibavEncoder.hdr_params`."""
        params: dict[str, str] = {}
        if facts.mastering:
            params["master-display"] = mastering_integers(facts.mastering)
        if facts.light:
            params["max-cll"] = f"{facts.light[0]},{facts.light[1]}"
        if facts.info.color_trc == PQ:
            params |= {"hdr10": "1", "repeat-headers": "0"}
        return params

    def threads(self, settings: EncodeSettings) -> int:
        """Its threads are those of its pools."""
        return 0

    def unit(self, bit_depth: int) -> QpUnit:
        """As `LibavEncoder.unit`."""
        return QpUnit.at_depth(bit_depth)

    def why_ignored(self, settings: EncodeSettings, written: bytes) -> str:
        """As `Encoder.why_ignored`, from what the encoder wrote into its own stream."""
        return adaptive_quantisation_off(self.label, self.told(settings), account(written), "cutree")
