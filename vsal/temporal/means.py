"""Means and the maximum of the samples of one map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsal.temporal.monoid import Mask, Real


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """Sum of weights and of weighted masks; `total` is None while there is no frame."""

    weight: float = 0.0
    total: Real | None = None


class Mean:
    """Every frame counts the same."""

    carries = False

    def identity(self) -> WeightedSum:
        """Nothing summed."""
        return WeightedSum()

    def lift(self, mask: Mask, motion: float, gate: Mask | None = None) -> WeightedSum:
        """One frame of weight 1."""
        return self._weighed(mask, 1.0)

    def combine(self, earlier: WeightedSum, later: WeightedSum) -> WeightedSum:
        """Sums add."""
        if earlier.total is None or later.total is None:
            return later if earlier.total is None else earlier
        return WeightedSum(earlier.weight + later.weight, earlier.total + later.total)

    def finish(self, state: WeightedSum) -> Mask:
        """Weighted sum over sum of weights."""
        if state.total is None:
            raise ValueError("no frame to average")
        return (state.total / state.weight).astype(np.float32)

    @staticmethod
    def _weighed(mask: Mask, weight: float) -> WeightedSum:
        return WeightedSum(weight, mask.astype(np.float64) * weight)


class MotionMean(Mean):
    """Frames in which much moves count more: the weight is the mean absolute luma change."""

    # A still frame keeps a weight, or a shot in which nothing moves would have none: far below the noise of a camera.
    STILL_WEIGHT = 1e-3

    def lift(self, mask: Mask, motion: float, gate: Mask | None = None) -> WeightedSum:
        """One frame, weighed by its motion."""
        return self._weighed(mask, max(motion, self.STILL_WEIGHT))


class Maximum:
    """What was salient in any frame."""

    carries = False

    def identity(self) -> Mask | None:
        """No maximum yet."""
        return None

    def lift(self, mask: Mask, motion: float, gate: Mask | None = None) -> Mask | None:
        """The mask itself."""
        return mask.astype(np.float32)

    def combine(self, earlier: Mask | None, later: Mask | None) -> Mask | None:
        """The larger of both, pixel by pixel."""
        if earlier is None or later is None:
            return later if earlier is None else earlier
        return np.maximum(earlier, later)

    def finish(self, state: Mask | None) -> Mask:
        """The maximum."""
        if state is None:
            raise ValueError("no frame to take the maximum of")
        return state
