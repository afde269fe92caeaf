"""PSNR of luma: per block, of a clip, and weighted by where people look (EWPSNR).

Weighted PSNR of a clip, with w_t(p) the weight of pixel p in frame t and e_t(p) its luma error in 8-bit units:

    EWPSNR = 10 log10(255^2 / MSE_w),    MSE_w = sum_t sum_p w_t(p) e_t(p)^2 / sum_t sum_p w_t(p)

It is the eye-tracking-weighted PSNR of Li, Qin and Itti ("Visual attention guided bit allocation in video
compression", Image and Vision Computing 29, 2011), with the squared error pooled over the frames of the clip before the
logarithm: a mean of the frames' decibels would let frames that are nearly exact outvote the bad ones. With equal
weights it is plain PSNR.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame

from vsal.quality.weights import Floats, Pixels, Pooled, Weights, cell_means, pooled
from vsal.video.planes import planar, plane_view

PEAK = 255.0


def luma(frame: VideoFrame) -> Pixels:
    """float32 [height, width] of a frame's luma (green of planar RGB), in 8-bit units whatever its depth."""
    frame, layout = planar(frame)
    plane = plane_view(frame, layout, 0)
    found: Pixels = plane.astype(np.float32)
    if layout.shift:
        found *= np.float32(1.0 / (1 << layout.shift))
    return found


def squared_error(one: Pixels, other: Pixels) -> Pixels:
    """(one - other)^2 of each pixel: float32 [height, width].

    Raises:
        ValueError: the two pictures differ in size.
    """
    if one.shape != other.shape:
        sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in (one, other)]
        raise ValueError(f"pictures of {sizes[0]} and {sizes[1]} cannot be compared pixel by pixel: scale one first")
    error: Pixels = one - other
    error *= error
    return error


def weighted_error(one: Pixels, other: Pixels, weights: Weights | None = None, cell: int | None = None) -> Pooled:
    """Squared luma error of one frame under its weights; add up those of a clip and give the sum to `psnr_db`.

    Args:
        one: luma of the source's frame, in 8-bit units, [height, width].
        other: luma of the encode's.
        weights: of this frame, as `vsal.quality.weights.pooled` takes them; None for plain PSNR.
        cell: side of their cells in pixels; None for a density.

    Raises:
        ValueError: the pictures differ in size, or the weights are not theirs.
    """
    return pooled(squared_error(one, other), weights, cell)


def psnr_db(error: Pooled) -> float:
    """10 log10(255^2 / MSE): infinite where nothing differs, not a number where nothing has weight."""
    mse = error.mean
    return float("inf") if mse == 0.0 else float(10.0 * np.log10(PEAK**2 / mse))


def block_mse(one: Pixels, other: Pixels, cell: int) -> Floats:
    """Mean squared difference of each square cell, over the pixels that exist: float64 [rows, cols]."""
    return cell_means(squared_error(one, other), cell)


def block_psnr_db(one: Pixels, other: Pixels, cell: int, least_mse: float) -> Floats:
    """PSNR of each square cell, with errors below `least_mse` (rounding, in the end) counted as that."""
    decibels: Floats = 10.0 * np.log10(PEAK**2 / np.maximum(block_mse(one, other, cell), least_mse))
    return decibels
