"""How long a model takes for a frame on this machine."""

from __future__ import annotations

import time

import numpy as np

from vsal.saliency.session import SaliencySession

FRAMES = 8
ENOUGH_S = 1.0


def frame_ms(model_bytes: bytes, threads: int = 1) -> float:
    """Milliseconds a frame on the CPU, at the size the model wants for 16:9: the median of up to eight frames.

    Args:
        model_bytes: a whole .onnx file that keeps the contract.
        threads: cores that a call uses.

    Raises:
        ModelRefused: it does not keep the contract, or fails on a frame.
    """
    session = SaliencySession(model_bytes, threads=threads)  # has run once when it is made
    width, height = session.input.size_for(16 / 9)
    frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    times: list[float] = []
    while len(times) < FRAMES and sum(times) < ENOUGH_S:
        start = time.perf_counter()
        session.run_sequence(frame, session.no_motion(1, height, width))
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3
