"""SSIM of luma: per block, of a clip, and weighted by where people look.

Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE
Transactions on Image Processing 13 (2004): around each pixel a Gaussian window of 11x11 with a deviation of 1.5,

    SSIM(p) = (2 m_a m_b + C1) (2 s_ab + C2) / ((m_a^2 + m_b^2 + C1) (s_a^2 + s_b^2 + C2)),
    C1 = (0.01 x 255)^2, C2 = (0.03 x 255)^2

with means m, variances s^2 and covariance s_ab under the window. At the edge the picture is mirrored, so that every
pixel has a value and every block can be judged. The clip's value is the mean over its pixels and frames, under their
weights.
"""

from __future__ import annotations

import cv2
import numpy as np

from vsal.quality.weights import Floats, Pixels, Pooled, Weights, cell_means, pooled

WINDOW, DEVIATION = 11, 1.5
BORDER = WINDOW // 2
STRIP = 64  # rows at a time: a dozen arrays of 720p stay in the cache, which makes it 2.6 times faster
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim_map(one: Pixels, other: Pixels) -> Pixels:
    """SSIM around each pixel: float32 [height, width] within -1..1.

    Args:
        one: luma in 8-bit units, [height, width].
        other: likewise.

    Raises:
        ValueError: the two pictures differ in size.
    """
    if one.shape != other.shape:
        sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in (one, other)]
        raise ValueError(f"pictures of {sizes[0]} and {sizes[1]} cannot be compared pixel by pixel: scale one first")
    # Variances are differences of large squares: about mid gray, float32 keeps them to a thousandth of C2.
    a, b = (_bordered(picture - np.float32(128)) for picture in (one, other))
    found: Pixels = np.empty(one.shape, np.float32)
    for top in range(0, len(one), STRIP):
        strip = found[top : top + STRIP]
        held = slice(top, top + len(strip) + 2 * BORDER)
        _ssim_of_strip(a[held], b[held], strip)
    return found


def block_ssim(one: Pixels, other: Pixels, cell: int) -> Floats:
    """Mean SSIM of each square cell, over the pixels that exist: float64 [rows, cols]."""
    return cell_means(ssim_map(one, other), cell)


def weighted_ssim(one: Pixels, other: Pixels, weights: Weights | None = None, cell: int | None = None) -> Pooled:
    """SSIM of one frame under its weights; the `mean` of the sum over a clip's frames is the clip's.

    Args:
        one: luma of the source's frame, in 8-bit units, [height, width].
        other: luma of the encode's.
        weights: of this frame, as `vsal.quality.weights.pooled` takes them; None for plain SSIM.
        cell: side of their cells in pixels; None for a density.

    Raises:
        ValueError: the pictures differ in size, or the weights are not theirs.
    """
    return pooled(ssim_map(one, other), weights, cell)


def _ssim_of_strip(a: Pixels, b: Pixels, found: Pixels) -> None:
    """SSIM of some rows, into `found`; a and b have the border around them and are about mid gray."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    variances, covariance = _windowed(a * a + b * b), _windowed(a * b)
    variances -= mean_a * mean_a
    variances -= mean_b * mean_b
    covariance -= mean_a * mean_b
    mean_a += np.float32(128)
    mean_b += np.float32(128)
    below = mean_a * mean_a
    below += mean_b * mean_b
    below += np.float32(C1)
    variances += np.float32(C2)
    below *= variances
    mean_a *= mean_b
    mean_a *= np.float32(2)
    mean_a += np.float32(C1)
    covariance *= np.float32(2)
    covariance += np.float32(C2)
    mean_a *= covariance
    np.divide(mean_a, below, out=found)


def _bordered(values: Pixels) -> Pixels:
    around = cv2.copyMakeBorder(values, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REFLECT_101)
    return np.asarray(around, np.float32)


def _windowed(values: Pixels) -> Pixels:
    """Under the window, without the border."""
    blurred = cv2.GaussianBlur(values, (WINDOW, WINDOW), DEVIATION, sigmaY=DEVIATION, borderType=cv2.BORDER_REPLICATE)
    inside: Pixels = np.asarray(blurred[BORDER:-BORDER, BORDER:-BORDER], np.float32).copy()
    return inside
