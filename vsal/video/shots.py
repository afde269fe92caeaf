"""Where shots begin: the rules over cut scores, streaming, with PySceneDetect's results.

A decider is pushed the scores of a title's frames in order, in pieces of any size, and gives each cut as soon as no
later frame can change it. It holds a few frames at most, whatever the title's length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vsal.state import Stateful

Scores = npt.NDArray[np.float64]
Times = npt.NDArray[np.float64]
Tiny = npt.NDArray[np.uint8]
MIN_SHOT_S = 0.6
_CLOCK_SLACK_S = 1e-6  # 15 frames of 25 a second are 0.6 s, whatever the rounding of their difference


@dataclass(frozen=True, slots=True)
class Shot:
    """A run of frames between two cuts, in display order."""

    index: int
    start: int  # first frame
    end: int  # one past the last frame


class CutDecider(Protocol):
    """Decides cuts over a title's whole series of frames; a cut is the number of the first frame of a shot.

    It is `Stateful`: what it has seen can be taken out, and put into another one of the same rule.
    """

    def push(self, scores: Scores, times_s: Times, tiny: Tiny | None = None) -> None:
        """Takes the next frames: cut score [n], time in the title [n], 48x27 RGB pictures [n, 27, 48, 3]."""

    def take_final(self) -> list[int]:
        """Cuts found since the last call that can no longer change, in order."""

    @property
    def final_before(self) -> int:
        """Every cut at a frame below this number has been found."""

    def close(self) -> list[int]:
        """The remaining cuts, after the last frame."""

    def state(self) -> dict[str, Any]:
        """What it has seen."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up what another one has seen."""


class _Found(Stateful):
    """Cuts found and not yet taken."""

    def __init__(self) -> None:
        self._cuts: list[int] = []

    def take_final(self) -> list[int]:
        """Cuts found since the last call that can no longer change, in order."""
        cuts, self._cuts = self._cuts, []
        return cuts


class AdaptiveCuts(_Found):
    """PySceneDetect's AdaptiveDetector: a score that stands out from its neighbours' mean.

    Args:
        ratio: how many times the mean of its neighbours a score must be.
        min_score: the least score of a cut.
        window: neighbours on each side.
        min_shot_s: time after a cut in which no other is accepted.
    """

    STATE = ("_cuts", "_frames", "_last_cut_s", "_scores", "_times")

    def __init__(
        self, ratio: float = 3.0, min_score: float = 15.0, window: int = 2, min_shot_s: float = MIN_SHOT_S
    ) -> None:
        super().__init__()
        self._ratio, self._min_score, self._window = ratio, min_score, window
        self._min_shot_s = min_shot_s - _CLOCK_SLACK_S
        self._frames = 0
        self._last_cut_s: float | None = None
        self._scores = np.zeros(0, np.float64)  # of the last frames, at most 2 * window of them
        self._times = np.zeros(0, np.float64)

    def push(self, scores: Scores, times_s: Times, tiny: Tiny | None = None) -> None:
        """Takes the next frames."""
        if len(scores) == 0:
            return
        if self._last_cut_s is None:
            self._last_cut_s = float(times_s[0])
        w = self._window
        series, times = np.concatenate([self._scores, scores]), np.concatenate([self._times, times_s])
        first = self._frames - len(self._scores)  # frame number of series[0]
        self._frames += len(scores)
        middle = series[w : len(series) - w]
        if len(middle):
            for i in self._standing_out(series, middle):
                if times[w + i] - self._last_cut_s >= self._min_shot_s:
                    self._last_cut_s = float(times[w + i])
                    self._cuts.append(first + w + int(i))
        self._scores, self._times = series[-2 * w :].copy(), times[-2 * w :].copy()

    def _standing_out(self, series: Scores, middle: Scores) -> npt.NDArray[np.int64]:
        w, n = self._window, len(middle)
        around = np.zeros(n)
        for offset in (*range(w), *range(w + 1, 2 * w + 1)):  # PySceneDetect's order of addition
            around += series[offset : offset + n]
        mean = around / (2.0 * w)
        still = np.abs(mean) < 0.00001
        ratio = np.minimum(middle / np.where(still, 1.0, mean), 255.0)
        ratio[still] = 255.0
        return np.flatnonzero((ratio >= self._ratio) & (middle >= self._min_score))

    @property
    def final_before(self) -> int:
        """Every cut at a frame below this number has been found."""
        return max(0, self._frames - self._window)

    def close(self) -> list[int]:
        """The remaining cuts, after the last frame."""
        return self.take_final()


class ContentCuts(_Found):
    """PySceneDetect's ContentDetector with its merging flash filter: a score above a fixed threshold.

    Cuts that follow each other faster than the minimum length are merged into one at their end.
    """

    STATE = ("_cuts", "_frames", "_last_above", "_merge_enabled", "_merge_from_s")

    def __init__(self, threshold: float = 27.0, min_shot_s: float = MIN_SHOT_S) -> None:
        super().__init__()
        self._threshold = threshold
        self._filter = min_shot_s > 0
        self._min_shot_s = min_shot_s - _CLOCK_SLACK_S
        self._frames = 0
        self._last_above: tuple[int, float] | None = None  # frame, time
        self._merge_enabled = False  # no merging before the first cut
        self._merge_from_s: float | None = None  # where the running merge began

    def push(self, scores: Scores, times_s: Times, tiny: Tiny | None = None) -> None:
        """Takes the next frames."""
        for score, time_s in zip(scores.tolist(), times_s.tolist(), strict=True):
            above = score >= self._threshold
            if self._filter:
                self._filtered(self._frames, time_s, above)
            elif above:
                self._cuts.append(self._frames)
            self._frames += 1

    def _filtered(self, frame: int, time_s: float, above: bool) -> None:
        if self._last_above is None:
            self._last_above = (frame, time_s)
        calm = time_s - self._last_above[1] >= self._min_shot_s
        if above:
            self._last_above = (frame, time_s)
        if self._merge_from_s is not None:
            if calm and not above and self._long_merge(self._merge_from_s):
                self._merge_from_s = None
                self._cuts.append(self._last_above[0])
        elif above and calm:
            self._merge_enabled = True
            self._cuts.append(frame)
        elif above and self._merge_enabled:
            self._merge_from_s = time_s

    def _long_merge(self, merge_from_s: float) -> bool:
        return self._last_above is not None and self._last_above[1] - merge_from_s >= self._min_shot_s

    @property
    def final_before(self) -> int:
        """Every cut at a frame below this number has been found."""
        if self._last_above is not None and self._merge_from_s is not None and self._long_merge(self._merge_from_s):
            return self._last_above[0]  # the merge ends there, unless another frame comes above the threshold
        return self._frames

    def close(self) -> list[int]:
        """The remaining cuts, after the last frame; a merge that still runs gives none, as in PySceneDetect."""
        self._merge_from_s = None
        return self.take_final()


class TransNetCuts(_Found):
    """TransNetV2 (Soucek & Lokoc 2020) over pictures of 48x27: windows of 100 frames, of which the middle 50 count.

    Args:
        predict: uint8 [1, 100, 27, 48, 3] RGB to one value a frame, [1, 100] or [1, 100, 1].
        logits: the values are logits, as the published network gives, rather than probabilities.
        threshold: the probability above which a frame is part of a transition.
    """

    WINDOW, STEP, MARGIN = 100, 50, 25
    STATE = ("_cuts", "_held", "_frames", "_decided", "_in_transition")

    def __init__(
        self,
        predict: Callable[[Tiny], npt.NDArray[np.floating]],
        *,
        logits: bool = True,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self._predict, self._logits, self._threshold = predict, logits, threshold
        self._held: deque[npt.NDArray[np.uint8]] = deque()  # frames from MARGIN before the next undecided one on
        self._frames = 0
        self._decided = 0
        self._in_transition = False

    def push(self, scores: Scores, times_s: Times, tiny: Tiny | None = None) -> None:
        """Takes the next frames."""
        if tiny is None:
            raise ValueError("TransNetV2 needs a 48x27 picture of every frame: scan with tiny=True")
        for picture in tiny:
            if self._frames == 0:
                self._held.extend([picture] * self.MARGIN)
            self._held.append(picture)
            self._frames += 1
            if len(self._held) == self.WINDOW:
                self._decide(self.STEP)

    def _decide(self, count: int) -> None:
        values = np.asarray(self._predict(np.stack(self._held)[None]), np.float64).reshape(-1)
        if len(values) != self.WINDOW:
            raise ValueError(f"the cut model gave {len(values)} values for {self.WINDOW} frames")
        middle = values[self.MARGIN : self.MARGIN + count]
        if self._logits:
            middle = 1 / (1 + np.exp(-np.clip(middle, -60, 60)))
        for above in middle > self._threshold:
            # The frames of a transition end the shot before; the next begins with the first frame after it.
            if self._in_transition and not above:
                self._cuts.append(self._decided)
            self._in_transition = bool(above)
            self._decided += 1
        for _ in range(self.STEP):
            self._held.popleft()

    @property
    def final_before(self) -> int:
        """Every cut at a frame below this number has been found."""
        return self._decided

    def close(self) -> list[int]:
        """The remaining cuts, after the last frame."""
        while self._decided < self._frames:
            last = self._held[-1]
            self._held.extend([last] * (self.WINDOW - len(self._held)))
            self._decide(min(self.STEP, self._frames - self._decided))
        return self.take_final()
