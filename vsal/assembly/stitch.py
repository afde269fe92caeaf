"""Segments of a title, scanned apart, joined into one run of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vsal.errors import VsalError
from vsal.saliency import Masks
from vsal.state import Stateful
from vsal.video.scan import Chunk, Past, SegmentEnd


class JoinBroken(VsalError):
    """Two segments do not meet in the same frame: the title cannot be cut there and must be scanned in one piece."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The mask of one frame that the model saw."""

    frame: int  # of the title
    motion: float  # mean absolute luma change against the frame before, 0..255
    mask: npt.NDArray[np.floating]  # [h, w] in 0..1, upright
    gate: npt.NDArray[np.floating] | None = None  # [h, w] in 0..1, from a video model

    def alone(self) -> Sample:
        """The same in memory of its own: a mask of a window keeps the whole window in memory, Ray's shared one too."""
        return replace(self, mask=self.mask.copy(), gate=None if self.gate is None else self.gate.copy())


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some frames of a title, in display order, numbered through the title."""

    first: int
    pts: npt.NDArray[np.int64]  # [n]
    score: npt.NDArray[np.float64]  # [n], cut score against the frame before; 0 for the first of the title
    motion: npt.NDArray[np.float32]  # [n], mean absolute luma change against the frame before
    sizes: list[tuple[int, int, int]]  # frames from which the picture has another size: (frame, width, height)
    samples: list[Sample]
    tiny: npt.NDArray[np.uint8] | None  # [n, 27, 48, 3] RGB, for cut models


@dataclass(slots=True)
class _Segment:
    waiting: dict[int, tuple[Chunk, Masks | None]] = field(default_factory=dict)
    next_seq: int = 0
    end: SegmentEnd | None = None


class Stitcher(Stateful):
    """Takes chunks in any order, gives stretches in the title's order.

    A chunk that comes twice, as after a retry, is taken once: a segment yields the same chunks each time it is scanned.

    Args:
        segments: how many segments the title was cut into, or what is left of it where a state is taken up.
    """

    # Of the segments before the next one. What waits is not part of it: so it is whole only at a join.
    STATE = ("_frames", "_past", "_last_sample", "_size", "decode_errors", "last_duration_pts")

    def __init__(self, segments: int) -> None:
        self._segments = [_Segment() for _ in range(segments)]
        self._at = 0  # the segment whose frames come next
        self._frames = 0  # of all segments before it
        self._past: Past | None = None  # what the segment before saw of the first frame
        self._last_sample = -1
        self._size: tuple[int, int] | None = None
        self.decode_errors = 0
        self.last_duration_pts = 0

    @property
    def complete(self) -> bool:
        """Every segment has been joined."""
        return self._at == len(self._segments)

    @property
    def next_pts(self) -> int | None:
        """The pts of the next segment's first frame, while a segment has just ended and no frame of the next is taken;
        None elsewhere, and at the ends of the title.
        """
        at_join = not self.complete and self._segments[self._at].next_seq == 0
        return self._past.pts if at_join and self._past is not None else None

    @property
    def frames(self) -> int:
        """Frames of the segments joined so far."""
        return self._frames

    def add(self, chunk: Chunk, masks: Masks | None) -> None:
        """Takes in a chunk with the masks of its samples."""
        segment = self._segments[chunk.segment]
        if chunk.seq >= segment.next_seq:
            segment.waiting[chunk.seq] = (chunk, masks)

    def take(self) -> Iterator[Stretch]:
        """What can be joined by now.

        Raises:
            JoinBroken: a segment does not begin with the frame that the segment before saw at its end.
        """
        while not self.complete:
            segment = self._segments[self._at]
            if segment.next_seq not in segment.waiting:
                return
            chunk, masks = segment.waiting.pop(segment.next_seq)
            segment.next_seq += 1
            stretch = self._numbered(chunk, masks)
            if chunk.end is not None:
                self._join(chunk.end)
            yield stretch

    def _numbered(self, chunk: Chunk, masks: Masks | None) -> Stretch:
        score, motion = chunk.score, chunk.motion
        if chunk.first == 0 and len(score):
            # The pair across the join was scored by the segment before, which decodes one frame past its end.
            score, motion = score.copy(), motion.copy()
            before = self._past
            if before is not None and int(chunk.pts[0]) != before.pts:
                raise JoinBroken(
                    f"segment {chunk.segment} begins at pts {int(chunk.pts[0])}, the one before ends at {before.pts}"
                )
            score[0], motion[0] = (before.score, before.motion) if before is not None else (0.0, 0.0)
        samples = []
        for i, local in enumerate(chunk.samples):
            frame = self._frames + int(local)
            # Two points of the clock may lie nearest to the frame at a join, one on each side of it.
            if frame > self._last_sample and masks is not None:
                gate = None if masks.gate is None else masks.gate[i]
                samples.append(Sample(frame, float(chunk.sample_motion[i]), masks.saliency[i], gate))
                self._last_sample = frame
        sizes = []
        for local, width, height in chunk.sizes:
            if (width, height) != self._size:
                self._size = (width, height)
                sizes.append((self._frames + local, width, height))
        first = self._frames + chunk.first
        return Stretch(first, chunk.pts, score, motion, sizes, samples, chunk.tiny)

    def _join(self, end: SegmentEnd) -> None:
        if self._past is not None and self._past.digest != end.first_digest:
            raise JoinBroken(f"segments {self._at - 1} and {self._at} decode the frame at their join differently")
        if end.past is None and self._at + 1 < len(self._segments):
            raise JoinBroken(f"segment {self._at} ended before it reached the next one")
        self._past = end.past
        self._frames += end.frames
        self.decode_errors += end.decode_errors
        self.last_duration_pts = end.last_duration_pts
        self._at += 1
