"""What of a source went into its encode, and what did not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vsal.encode.source_facts import SourceFacts

_UNSAID = (None, 0, 2)  # ITU-T H.273: 2 is unspecified, 0 reserved for primaries and transfer functions


@dataclass(frozen=True, slots=True)
class Kept:
    """What of the source went into the output.

    Attributes:
        container: of the output, as a file ending.
        streams: kinds of the streams, in their order.
        left_out: streams that the container cannot hold, each with its kind and codec, and what the source says of its
            pictures that encoder and container cannot.
    """

    container: str
    streams: tuple[str, ...]
    left_out: tuple[str, ...]


def lost_facts(source: SourceFacts, made: SourceFacts) -> Iterator[str]:
    """What a source says of its pictures and the finished file does not, in words for people."""
    if source.dolby_vision is not None and made.dolby_vision != source.dolby_vision:
        yield str(source.dolby_vision)
    if source.hdr10_plus and not made.hdr10_plus:
        yield "HDR10+"
    if source.spherical and not made.spherical:
        yield "spherical projection"
    yield from (name for name in source.further if name not in made.further)
    if source.mastering is not None and made.mastering is None:
        yield "mastering display"
    if source.light is not None and made.light is None:
        yield "content light level"
    if source.display_matrix is not None and made.display_matrix is None:
        yield "rotation"
    for name, before, after in (
        ("colour primaries", source.info.color_primaries, made.info.color_primaries),
        ("transfer function", source.info.color_trc, made.info.color_trc),
    ):
        if before not in _UNSAID and before != after:
            yield f"{name} ({before})"
    # To the left is what all take for granted; other formats than 4:2:0 have no siting of their own.
    sited = source.chroma_siting not in (None, "left") and "420" in source.info.pix_fmt and "420" in made.info.pix_fmt
    # FFmpeg writes this into VP9's box of MP4, and does not read it there.
    boxed = made.info.codec == "vp9" and made.info.container.startswith("mov") and source.chroma_siting == "topleft"
    if sited and not boxed and made.chroma_siting != source.chroma_siting:
        yield f"chroma siting ({source.chroma_siting})"
