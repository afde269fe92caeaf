"""All that an encode must know of its source, from one opening."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction

from vsal.video.probe import VideoInfo, open_source
from vsal.video.stream_facts import StreamFacts

_USUAL_FPS = Fraction(25)  # where nothing is known


@dataclass(frozen=True, slots=True)
class SourceFacts(StreamFacts):
    """What a title's pictures are: plain data, for workers on any machine.

    Attributes:
        info: what the probe found; width and height are in coded orientation, before display rotation.
    """

    info: VideoInfo

    @property
    def fps(self) -> Fraction:
        """Average frame rate."""
        return self.info.fps or _USUAL_FPS


def read_source_facts(uri: str) -> SourceFacts:
    """Describe the pictures of a source, from its container and its first frame.

    Raises:
        TitleFailed: the source cannot be read, or nothing of it decodes.
    """
    with open_source(uri) as source:
        said = {field.name: getattr(source.facts, field.name) for field in fields(source.facts)}
        return SourceFacts(**said, info=source.info)
