"""Aggregators: how the masks of some frames become one mask.

Every aggregator is a monoid over frames in display order: `combine` is associative and `identity` changes nothing, so
masks combine in any grouping with the same result. That is what lets a title be scanned in parallel segments and a lost
one be redone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.float32]  # [h, w] in 0..1
Real = npt.NDArray[np.float64]

State = TypeVar("State")


class Aggregator(Protocol[State]):
    """How the masks of one map become one mask.

    Attributes:
        carries: the state forgets by itself, so it runs on from map to map through a shot and a map is the combination
            of all samples of its shot so far. Where it does not forget, a map rests on its own samples alone, or it
            would turn into the average of the shot.
    """

    carries: bool

    def identity(self) -> State:
        """The state of no frame at all."""

    def lift(self, mask: Mask, motion: float, gate: Mask | None) -> State:
        """The state of one frame.

        Args:
            mask: float32 [h, w] in 0..1.
            motion: mean absolute luma change against the frame before, 0..255.
            gate: float32 [h, w] in 0..1, what a video model says of the mask's weight at each pixel; None of others.

        Raises:
            ValueError: the aggregator needs a gate and there is none.
        """

    def combine(self, earlier: State, later: State) -> State:
        """The state of both runs of frames; associative."""

    def finish(self, state: State) -> Mask:
        """float32 [h, w] in 0..1.

        Raises:
            ValueError: the state is that of no frame.
        """


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


AnyAggregator = Mean | MotionMean | Maximum | Ema | Learned


def make_aggregator(name: str, alpha: float) -> AnyAggregator:
    """The aggregator of that name.

    Args:
        name: mean, ema, max, motion or learned.
        alpha: weight of a new mask; ema only.

    Raises:
        ValueError: there is none of that name.
    """
    makers: dict[str, Callable[[], AnyAggregator]] = {
        "mean": Mean,
        "motion": MotionMean,
        "max": Maximum,
        "ema": lambda: Ema(alpha),
        "learned": Learned,
    }
    if name not in makers:
        raise ValueError(f"aggregator is one of {', '.join(makers)}, not {name!r}")
    return makers[name]()


class Fold(Generic[State]):
    """A running combination: what an aggregator has seen so far.

    >>> fold = Fold(Mean())
    >>> fold.add(np.full((1, 1), 0.25, np.float32), motion=0.0)
    >>> fold.add(np.full((1, 1), 0.75, np.float32), motion=0.0)
    >>> fold.mask()
    array([[0.5]], dtype=float32)
    """

    def __init__(self, aggregator: Aggregator[State]) -> None:
        self._aggregator = aggregator
        self._state = aggregator.identity()

    def add(self, mask: Mask, motion: float, gate: Mask | None = None) -> None:
        """Takes in the next frame; the arguments are those of `Aggregator.lift`."""
        aggregator = self._aggregator
        self._state = aggregator.combine(self._state, aggregator.lift(mask, motion, gate))

    def restart(self) -> None:
        """Forgets everything."""
        self._state = self._aggregator.identity()

    def mask(self) -> Mask:
        """The mask of what was taken in; the fold goes on."""
        return self._aggregator.finish(self._state)
