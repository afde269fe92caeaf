"""How maps are written for another encoder."""

from __future__ import annotations

from dataclasses import dataclass

from vsal.encode.codecs.svtav1 import SvtAv1
from vsal.errors import SettingsError


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How maps are written for another encoder.

    Attributes:
        crf: at which SVT-AV1 will run: what a QP is in its units depends on it. Most offsets are above it.
        max_rectangles: of an ffmpeg-filter script.
        bit_depth: of the encode that an ffmpeg-filter script is for.
    """

    crf: float = SvtAv1.default_crf
    max_rectangles: int = 600
    bit_depth: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= SvtAv1.most_crf:
            raise SettingsError(f"--crf of SVT-AV1 is 0 to {SvtAv1.most_crf}, not {self.crf:g}")
        if self.max_rectangles < 1:
            raise SettingsError(f"--max-rectangles is at least 1, not {self.max_rectangles}")
        if self.bit_depth not in (8, 10, 12):
            raise SettingsError(f"--bit-depth is 8, 10 or 12, not {self.bit_depth}")
