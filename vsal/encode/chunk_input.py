"""What every encoder is given: a run of frames, their maps, and how they are to be coded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from av.video.frame import VideoFrame

from vsal.encode.picture import Picture
from vsal.encode.settings import EncodeSettings
from vsal.manifest import MapRow
from vsal.roi.qp import QpMapping


def _unwatched(done: int) -> None:
    """Nobody asks how far it is."""


@dataclass(frozen=True, slots=True)
class ChunkInput:
    """A run of frames to be encoded on its own, each frame under its map.

    Attributes:
        found: the frames, in display order, with whole timestamps; they are read once.
        picture: of the source.
        maps: those of the frames, in order; None for a plain encode.
        settings: of the encode.
        first_frame: number of the first frame in its title.
        mapping: by which saliency becomes QP, where cells or `gain` ask for other offsets than the maps'.
        gain: strength of the maps; None leaves them as they are.
        on_frame: told how many frames are done.
    """

    found: Iterable[VideoFrame]
    picture: Picture
    maps: Iterable[MapRow] | None
    settings: EncodeSettings
    first_frame: int = 0
    mapping: QpMapping = field(default_factory=QpMapping)
    gain: float | None = None
    on_frame: Callable[[int], None] = _unwatched
