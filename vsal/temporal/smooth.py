"""An average over the past and the future of a shot, taken of logarithms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vsal.temporal.monoid import Mask, Real

# Below the finest step of eight bits nobody looks, and a graph's noise there says nothing. It also bounds what one
# sample can forbid: a place that a quarter of the weight leaves blank keeps 256^-1/4 = 0.25 of full saliency.
EPSILON = 1 / 255


@dataclass(frozen=True, slots=True)
class LogSum:
    """Sums over samples, each times its weight; `logs` is None while there is no sample.

    Attributes:
        weight: of the samples themselves.
        logs: of log(1 + mask / EPSILON): float64 [h, w].
        means: of the masks' means.
    """

    weight: float = 0.0
    logs: Real | None = None
    means: float = 0.0


class Smooth:
    """Moving average over past and future, of log saliency: where the samples around a map agree that people look.

    A map stands for its frames from `start_s` to `end_s`. It averages over the time within `half_width_s` of their
    middle, and over all of them where they reach further. Each sample stands for the time nearest to it, one sample
    period, and counts by the share of it that lies within: a box over time. So weights change little where frames lie
    beside the clock, while a box over the samples' own times would take now one of them more, now one less. With three
    samples a second and a map of each, a third of a second gives weights of 1/4, 1/2 and 1/4.

    Averages of logarithms, exp(mean(log(m + EPSILON))) - EPSILON, are geometric: what one sample sees alone is a faint
    ghost, not a share of the map. That loses what samples disagree on, so the map is scaled to the mean that its
    samples have, and cut at 1: maps whose mean says nothing but their scale keep that scale, as densities do.

    The sums are a monoid. Weights belong to a map: a sample counts in several maps, with another weight in each.

    Args:
        half_width_s: seconds to either side of a map's middle.

    Raises:
        ValueError: the half-width is not positive.
    """

    carries = False

    def __init__(self, half_width_s: float) -> None:
        if not half_width_s > 0.0:
            raise ValueError(f"the half-width is the seconds to either side of a map's middle, not {half_width_s:g}")
        self.half_width_s = half_width_s

    def identity(self) -> LogSum:
        """Nothing summed."""
        return LogSum()

    def lift(self, mask: Mask, motion: float, gate: Mask | None = None) -> LogSum:
        """One sample of weight 1."""
        exact = mask.astype(np.float64)
        return LogSum(1.0, np.log1p(exact / EPSILON), float(exact.mean()))

    def combine(self, earlier: LogSum, later: LogSum) -> LogSum:
        """Sums add."""
        if earlier.logs is None or later.logs is None:
            return later if earlier.logs is None else earlier
        return LogSum(earlier.weight + later.weight, earlier.logs + later.logs, earlier.means + later.means)

    def finish(self, state: LogSum) -> Mask:
        """The geometric mean, at the scale of its samples."""
        if state.logs is None:
            raise ValueError("no frame to average")
        agreed = EPSILON * np.expm1(state.logs / state.weight)
        mean = float(agreed.mean())
        scale = state.means / state.weight / mean if mean > 0.0 else 1.0
        return np.minimum(agreed * scale, 1.0).astype(np.float32)

    def reach_s(self, start_s: float, end_s: float) -> tuple[float, float]:
        """The time, from and to, over which the map of those frames averages."""
        middle, half = (start_s + end_s) / 2, max(self.half_width_s, (end_s - start_s) / 2)
        return middle - half, middle + half

    def around(self, samples: Iterable[tuple[float, LogSum]], start_s: float, end_s: float, period_s: float) -> Mask:
        """The map of the frames from `start_s` to `end_s`.

        Args:
            samples: of one shot, in order: the middle of the frame's time in seconds, and what `lift` made of its mask.
            start_s: when the first of the map's frames begins.
            end_s: when the last of them ends.
            period_s: from one sample to the next.

        Returns:
            float32 [h, w] in 0..1.

        Raises:
            ValueError: no sample is within reach.
        """
        since, until = self.reach_s(start_s, end_s)
        total = LogSum()
        for at_s, state in samples:
            within = min(at_s + period_s / 2, until) - max(at_s - period_s / 2, since)
            if within > 0.0 and state.logs is not None:
                weight = within / period_s
                total = self.combine(total, LogSum(weight * state.weight, weight * state.logs, weight * state.means))
        return self.finish(total)
