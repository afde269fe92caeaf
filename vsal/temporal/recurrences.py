"""Averages over the past of a shot, with a weight of the newest sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsal.temporal.monoid import Mask, Real


@dataclass(frozen=True, slots=True)
class Decay:
    """An affine step of the recurrence: what came before is kept by `keep`, and `value` is added.

    Attributes:
        keep: share of the state before that is left, one number or float64 [h, w].
        value: float64 [h, w], or None for the step that changes nothing.
        first: the mask with which the run begins; it takes the place of the state before where nothing came before.
    """

    keep: float | Real = 1.0
    value: Real | None = None
    first: Real | None = None


class _Recurrence:
    """v_t = g_t m_t + (1 - g_t) v_(t-1), v_0 = m_0: affine in the state, so its steps compose.

    The first mask stands for all that lay before it. With v_0 = g_0 m_0, a memory of zeros, the first maps of every
    shot would be dim wherever the weight is small.
    """

    carries = True

    def identity(self) -> Decay:
        """Keeps all, adds nothing."""
        return Decay()

    def combine(self, earlier: Decay, later: Decay) -> Decay:
        """Steps in a row: (d1, v1) then (d2, v2) is (d1 d2, d2 v1 + v2)."""
        if earlier.value is None or later.value is None:
            return later if earlier.value is None else earlier
        return Decay(earlier.keep * later.keep, later.keep * earlier.value + later.value, earlier.first)

    def finish(self, state: Decay) -> Mask:
        """The average; the first mask stands for all that lay before it."""
        if state.value is None or state.first is None:
            raise ValueError("no frame to average")
        return (state.keep * state.first + state.value).astype(np.float32)

    @staticmethod
    def _step(mask: Mask, weight: float | Real) -> Decay:
        exact = mask.astype(np.float64)
        return Decay(1.0 - weight, exact * weight, exact)


class Ema(_Recurrence):
    """Exponential moving average: the same weight always.

    The recurrence of SalEMA (Linardos et al., "Simple vs complex temporal recurrences for video saliency prediction",
    BMVC 2019), over masks.

    Args:
        alpha: weight of a new mask, in (0, 1].

    Raises:
        ValueError: alpha is out of range.
    """

    def __init__(self, alpha: float) -> None:
        if not 0.0 < alpha <= 1.0:
            raise ValueError(f"alpha is the weight of a new mask, in (0, 1], not {alpha:g}")
        self.alpha = alpha

    def lift(self, mask: Mask, motion: float, gate: Mask | None = None) -> Decay:
        """One step of weight alpha."""
        return self._step(mask, self.alpha)


class Learned(_Recurrence):
    """The same with a weight for each pixel and frame, which a video model predicts beside the mask.

    The gate depends on the frame and its motion alone, never on the state, so it is a recurrence that was trained
    through time and still shards and merges exactly.
    """

    def lift(self, mask: Mask, motion: float, gate: Mask | None = None) -> Decay:
        """One step of the gate's weight."""
        if gate is None:
            raise ValueError("the learned aggregator needs the gate of a video model")
        if gate.shape != mask.shape:
            raise ValueError(f"gate and mask of a frame have one shape, not {gate.shape} and {mask.shape}")
        return self._step(mask, gate.astype(np.float64))
