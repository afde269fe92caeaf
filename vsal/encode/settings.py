"""What a user asks of an encode. What an encoder makes of it, and refuses, stands in its file in `codecs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from vsal.errors import SettingsError


class ExportFormat(StrEnum):
    """What `vsal export` writes."""

    X264_QPFILE = "x264-qpfile"
    X265_QPFILE = "x265-qpfile"
    FFMPEG_FILTER = "ffmpeg-filter"
    SVTAV1_ROI = "svtav1-roi"
    KVAZAAR_ROI = "kvazaar-roi"
    MEDIACODEC_QPMAP = "mediacodec-qpmap"
    NVENC_QPDELTA = "nvenc-qpdelta"
    CSV = "csv"
    SCENES_CSV = "scenes-csv"
    EDL = "edl"
    OTIO = "otio"
    FFMETADATA = "ffmetadata"


CONTAINERS = ("auto", "mp4", "mov", "mkv", "webm")


@dataclass(frozen=True, slots=True)
class Budget:
    """Two knobs a person understands: this share of the picture gets about that share of the bits."""

    top_area: float
    bit_share: float

    def __post_init__(self) -> None:
        if not 0.0 < self.top_area < 1.0:
            raise SettingsError(f"--top-area is a share of the picture between 0 and 100 %, not {self.top_area:.0%}")
        if not 0.0 < self.bit_share < 1.0:
            raise SettingsError(f"--bit-share is a share of the bits between 0 and 100 %, not {self.bit_share:.0%}")


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """One way to encode a catalogue.

    Attributes:
        codec: name of an encoder of `vsal.encode.codecs`.
        crf: constant rate factor; None for the encoder's own default. kvazaar, which has none, takes it as its QP.
        preset: the encoder's own word or number, for VP9 `cpu-used`; None for its default.
        encoder_options: passed to the encoder as they are.
        roi: false makes the plain twin, with otherwise the same settings.
        max_rectangles: regions a map for x264, x265 and VP9; levels are merged where a map needs more.
        measure_share: encode twice more to measure on the whole title what share of the bits the budget's area gets.
        pix_fmt: FFmpeg's name; None keeps bit depth and chroma format of the source.
        container: `mp4`, `mov`, `mkv`, `webm`, or `auto`, the source's kind where it can hold the result.
        chunked: None decides by length.
        chunk_s: least length of a chunk; it ends at the next shot.
        threads: of one encoder; 0 leaves it to the encoder.
        code_fields_as_frames: take interlaced sources, whose fields are then coded as progressive frames.
        program: SvtAv1EncApp or an ffmpeg with kvazaar, where it is not found by itself.
    """

    codec: str
    crf: float | None = None
    preset: str | None = None
    encoder_options: Mapping[str, str] = field(default_factory=dict)
    roi: bool = True
    max_rectangles: int = 600
    budget: Budget | None = None
    measure_share: bool = False
    pix_fmt: str | None = None
    container: str = "auto"
    chunked: bool | None = None
    chunk_s: float = 60.0
    threads: int = 0
    code_fields_as_frames: bool = False
    program: str | None = None

    def __post_init__(self) -> None:
        if self.container not in CONTAINERS:
            raise SettingsError(f"--container is auto, mp4, mov, mkv or webm, not {self.container!r}")
        if self.measure_share and (self.budget is None or not self.roi):
            raise SettingsError("--measure-share measures what --top-area and --bit-share ask for: give both")
        if self.max_rectangles < 1:
            raise SettingsError(f"--max-rectangles is at least 1, not {self.max_rectangles}")
        if self.chunk_s <= 0:
            raise SettingsError(f"--chunk-seconds is more than 0, not {self.chunk_s:g}")

    def plain(self) -> EncodeSettings:
        """The same without maps: the twin that effects are measured against."""
        return replace(self, roi=False, budget=None, measure_share=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the record beside an output."""
        return asdict(self) | {"encoder_options": dict(self.encoder_options)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EncodeSettings:
        """The inverse of `to_json`."""
        budget = values.get("budget")
        return cls(**{**values, "budget": Budget(**budget) if budget else None})


def parse_encoder_options(pairs: list[str]) -> dict[str, str]:
    """`key=value` words of a command line.

    Raises:
        SettingsError: a word has no `=`.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise SettingsError(f"--encoder-option takes key=value, not {pair!r}")
        options[key.lstrip("-")] = value
    return options
