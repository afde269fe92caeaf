"""What an aggregator is, and a running combination of one."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from vsal.state import Stateful

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


class Fold(Stateful, Generic[State]):
    """A running combination: what an aggregator has seen so far.

    >>> fold = Fold(Mean())
    >>> fold.add(np.full((1, 1), 0.25, np.float32), motion=0.0)
    >>> fold.add(np.full((1, 1), 0.75, np.float32), motion=0.0)
    >>> fold.mask()
    array([[0.5]], dtype=float32)
    """

    STATE = ("_state",)

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
