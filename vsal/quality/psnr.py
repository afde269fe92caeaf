"""Squared error and PSNR of luma, per block."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def luma(frame: VideoFrame) -> NDArray[np.float32]:
    """float32 [height, width] of a frame's first plane, in 8-bit units whatever its depth."""
    plane = frame.planes[0]
    bits = frame.format.components[0].bits
    wide = bits > 8
    row = np.frombuffer(memoryview(plane), dtype=np.uint16 if wide else np.uint8).reshape(plane.height, -1)
    found: NDArray[np.float32] = row[:, : plane.width].astype(np.float32) / np.float32(1 << (bits - 8))
    return found


def block_mse(one: NDArray[np.float32], other: NDArray[np.float32], cell: int) -> Floats:
    """Mean squared difference of each square cell, over the pixels that exist."""
    height, width = one.shape
    rows, cols = -(-height // cell), -(-width // cell)
    squares = np.zeros((rows * cell, cols * cell), dtype=np.float64)
    squares[:height, :width] = (one.astype(np.float64) - other) ** 2
    total = squares.reshape(rows, cell, cols, cell).sum(axis=(1, 3))
    down = np.minimum(cell, height - cell * np.arange(rows))
    across = np.minimum(cell, width - cell * np.arange(cols))
    found: Floats = total / np.outer(down, across)
    return found
