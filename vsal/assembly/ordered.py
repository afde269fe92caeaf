"""For models that need a title's samples in order: chunks wait until it is known what the model must see of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsal.saliency.contract import ModelInput
from vsal.saliency.ordered import Run, frames_needed, window
from vsal.video.clock import SampleClock
from vsal.video.scan import Chunk
from vsal.video.shots import CutDecider


@dataclass(slots=True)
class _Held:
    """A sample that a window may still show, and its place in its shot once that is known."""

    frame: int
    pts: int
    picture: npt.NDArray[np.uint8]
    shot: int | None = None
    index: int = 0


class OrderedChunks:
    """The chunks of a title scanned in one piece, each with the run of samples that a model is given for it.

    What a model remembers ends with the shot. So a chunk waits until the cuts up to its last sample are final and, for
    a model of clips, until the samples are there that its windows reach. Pictures of two windows and of the chunks that
    wait are held, however long the title.

    Args:
        wants: of a model with `ordered`.
        cuts: a fresh decider, by the same rule as the title's maps.
        clock: of the samples.
    """

    def __init__(self, wants: ModelInput, cuts: CutDecider, clock: SampleClock) -> None:
        self._at = wants.mask_frame  # of a clip model
        self._size = wants.batch or 1
        self._decider, self._clock = cuts, clock
        self._tick_s = float(
            clock.seconds_of(np.array([1], np.int64))[0] - clock.seconds_of(np.array([0], np.int64))[0]
        )
        self._waiting: deque[Chunk] = deque()
        self._held: list[_Held] = []
        self._next = 0  # where in _held the samples of the waiting chunks begin
        self._cuts: list[int] = []
        self._settled = 0  # frames before it have all their cuts known
        self._ended = False
        self._placed: Counter[int] = Counter()  # samples of each shot whose place is known

    def add(self, chunk: Chunk) -> Iterator[tuple[Chunk, Run | None]]:
        """Takes in the next chunk; gives those that are ready, in order, each with the run of its samples, if any."""
        self._waiting.append(chunk)
        self._held += [
            _Held(int(frame), int(chunk.pts[frame - chunk.first]), picture)
            for frame, picture in zip(chunk.samples, chunk.frames, strict=True)
        ]
        self._settle(chunk)
        while self._waiting and self._ready(self._waiting[0]):
            ready = self._waiting.popleft()
            yield ready, self._run(ready)
            self._next += len(ready.samples)
            forgotten = max(0, self._next - self._size)
            self._next -= forgotten
            del self._held[:forgotten]

    def _settle(self, chunk: Chunk) -> None:
        """Finds the cuts that have become final, and the places of the samples before them."""
        if len(chunk.pts):
            score = chunk.score.copy()
            score[np.isnan(score)] = 0.0  # the title's first frame has none before it
            self._decider.push(score, self._clock.seconds_of(chunk.pts), chunk.tiny)
        cuts = [frame for frame, _, _ in chunk.sizes if frame > 0] + self._decider.take_final()
        self._settled, self._ended = self._decider.final_before, chunk.end is not None
        if self._ended:
            cuts += self._decider.close()
            self._settled = chunk.first + len(chunk.pts)
        self._cuts = sorted({*self._cuts, *cuts})
        for held in self._held:
            if held.shot is None and held.frame < self._settled:
                held.shot = bisect_right(self._cuts, held.frame)
                held.index = self._placed[held.shot]
                self._placed[held.shot] += 1

    def _ready(self, chunk: Chunk) -> bool:
        for held in self._held[self._next : self._next + len(chunk.samples)]:
            if held.shot is None:
                return False
            closed = self._ended or (held.shot < len(self._cuts) and self._cuts[held.shot] <= self._settled)
            if self._at is not None and not closed:
                reached = frames_needed(held.index, self._size, self._at)
                if self._placed[held.shot] < reached:
                    return False
        return True

    def _run(self, chunk: Chunk) -> Run | None:
        count = len(chunk.samples)
        if count == 0:
            return None
        samples = self._held[self._next : self._next + count]
        begins = np.array([held.index == 0 for held in samples])
        before = self._held[max(self._next - 1, 0) : self._next + count - 1]
        before = before if self._next else [samples[0], *before]
        apart = np.array([held.pts - last.pts for held, last in zip(samples, before, strict=True)], np.int64)
        elapsed_s = np.where(begins, 0.0, apart * self._tick_s).astype(np.float32)
        if self._at is None:
            return Run(chunk.frames, chunk.motion_maps, begins, None, elapsed_s)
        windows = np.empty((count, self._size), np.int64)
        for row, held in enumerate(samples):
            assert held.shot is not None
            first_of_shot = self._next + row - held.index
            windows[row] = first_of_shot + window(held.index, self._placed[held.shot], self._size, self._at)
        shown, windows = np.unique(windows, return_inverse=True)
        pictures = np.stack([self._held[i].picture for i in shown])
        return Run(pictures, None, begins, windows.reshape(count, self._size), elapsed_s)
