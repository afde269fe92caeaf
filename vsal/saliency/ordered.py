"""Models whose masks depend on the frames around: what they see of a shot, and what they carry through it.

Both are values that a caller holds, none lies in a session: so a shot can be run in pieces of any size, by one session
or by several, with the same result as in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vsal.saliency.contract import ModelInput

Frames = NDArray[np.uint8]
Motion = NDArray[np.uint8 | np.int8]
MaskBatch = NDArray[np.float32]
Memory = list[NDArray[np.float32]]


class Session(Protocol):
    """What is asked of the session that runs the graph."""

    input: ModelInput

    def check(self, frames: Frames, motion: Motion | None) -> None:
        """Raises ValueError where shapes or types are not the model's."""

    def infer(self, names: list[str], feed: dict[str, Any]) -> list[MaskBatch]:
        """The outputs of those names."""


@dataclass(frozen=True, slots=True)
class Run:
    """Successive samples of a title, ready for a model that needs them in order.

    Attributes:
        frames: uint8 [k, h, w, 3]; of a clip model with those around the m samples, else k = m.
        motion: uint8 [k, h, w] or int8 [k, 2, h, w], or None for models that do not ask for it.
        begins: bool [m], the samples with which a shot begins: a recurrent model forgets what came before.
        windows: int64 [m, t] of a clip model, the frames that it sees for each sample; None of recurrent ones.
        elapsed_s: float32 [m], seconds since the sample before, 0 where a shot begins.
    """

    frames: Frames
    motion: Motion | None
    begins: NDArray[np.bool_]
    windows: NDArray[np.int64] | None
    elapsed_s: NDArray[np.float32]


def run_in_order(session: Session, run: Run, memory: Memory | None) -> tuple[MaskBatch, Memory | None]:
    """Masks of the run's samples, and the memory for the next run.

    Args:
        session: of a model with `input.ordered`.
        run: what follows on the run before.
        memory: what the run before gave; None before the first.

    Returns:
        Masks float32 [m, h', w'], and the memory; None of a clip model.

    Raises:
        ValueError: shapes or types are other than these.
        RuntimeError: ONNX Runtime failed.
    """
    session.check(run.frames, run.motion)
    if run.windows is not None:
        masks = [session.infer(["saliency"], {"frames": run.frames[at]})[0] for at in run.windows]
        return np.concatenate(masks), None
    states, masks = session.input.states, []
    names = [session.input.mask_output, *(state.output for state in states)]
    for i, begins in enumerate(run.begins):
        if begins or memory is None:
            memory = [state.zeros(*run.frames.shape[1:3]) for state in states]
        feed: dict[str, Any] = dict(zip((state.name for state in states), memory, strict=True))
        if session.input.motion and run.motion is not None:
            feed["motion"] = run.motion[i : i + 1]
        if session.input.elapsed:
            feed["elapsed_s"] = run.elapsed_s[i : i + 1]
        mask, *memory = session.infer(names, {"frames": run.frames[i : i + 1], **feed})
        masks.append(mask)
    return np.concatenate(masks), memory


def window(i: int, n: int, size: int, at: int) -> NDArray[np.int64]:
    """The frames that a clip model sees for frame i of a sequence of n: mirrored where they lie beyond its ends.

    Args:
        i: the frame whose mask is asked for.
        n: frames of the sequence, at least 1.
        size: frames of a window.
        at: where frame i stands in the window, counted from 0.

    Returns:
        int64 [size], each in 0..n-1.
    """
    if n == 1:
        return np.zeros(size, np.int64)
    beyond = np.abs(np.arange(size, dtype=np.int64) + i - at) % (2 * n - 2)
    mirrored: NDArray[np.int64] = np.minimum(beyond, 2 * n - 2 - beyond)
    return mirrored


def frames_needed(i: int, size: int, at: int) -> int:
    """How many frames a sequence must have before the window of frame i is the same however long it goes on."""
    return max(i - at + size - 1, at - i) + 1
