"""What moved by itself between two pictures: the signed change of luma once the camera's own motion is taken out.

In a pan everything changes and nobody looks everywhere. So the earlier picture is first laid over the later one by the
shift, zoom and roll that fit most of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Fit = npt.NDArray[np.float64]

SHRINK = 4  # the camera is found on pictures so many times smaller: it moves all of the picture, so little is enough
STEPS = 5  # of Gauss-Newton at most; from a start a few pixels off, more of them move it by less than SETTLED
SETTLED = 0.02  # pixels of the small pictures: a step so short is the last
BLUR = 1.0  # pixels of the small pictures, so that gradients reach as far as a step goes
STIFF = 200.0  # of luma squared, over all pixels: what few of them show is no camera
# Mean change, of 255, above which two pictures are not of one shot; panned or zoomed ones of one shot stay below 20.
ANOTHER_SHOT = 28.0


def camera_between(earlier: Luma, later: Luma, start: Fit | None = None) -> Fit:
    """How the camera moved between two pictures of one size.

    Gauss-Newton on the change of luma, in which a pixel counts less the more it differs (Cauchy's weights): what moves
    by itself does not pull.

    Args:
        earlier: uint8 [h, w].
        later: uint8 [h, w].
        start: where to begin; None for a camera that stands still.

    Returns:
        float64 [4]: where the earlier picture shows what the later one does: so much to the right and down, further
        out, and turned, all in pixels of the pictures shrunk by SHRINK, the last two at one width from the middle.
    """
    small = _small(later)
    return _fitted(_small(earlier), small, _slopes(small), start)


def _fitted(earlier: Floats, later: Floats, slopes: Floats, start: Fit | None) -> Fit:
    fit = np.zeros(4) if start is None else start.copy()
    for _ in range(STEPS):
        error = (later - _laid(earlier, fit, later)).reshape(-1)
        spread = 1.5 * float(np.abs(error).mean()) + 1.0
        weighed = slopes * (1.0 / (1.0 + np.square(error * (1.0 / spread))))
        step = np.linalg.solve((weighed @ slopes.T).astype(np.float64) + STIFF * np.eye(4), weighed @ error)
        fit += step
        if float(np.abs(step).max()) < SETTLED:
            break
    return fit if np.isfinite(fit).all() and np.abs(fit).max() < later.shape[1] else np.zeros(4)


def _slopes(small: Floats) -> Floats:
    """How luma changes with each part of a fit: float32 [4, pixels]."""
    height, width = small.shape
    across = cv2.Sobel(small, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(small, cv2.CV_32F, 0, 1, scale=1 / 8)
    x = (np.arange(width, dtype=np.float32) - width / 2) / width
    y = ((np.arange(height, dtype=np.float32) - height / 2) / width)[:, None]
    parts = (across, down, across * x + down * y, down * x - across * y)
    return np.stack(parts).reshape(4, -1).astype(np.float32, copy=False)


def change_between(earlier: Luma, later: Luma, fit: Fit) -> Floats:
    """Change of luma where both show something once the camera is taken out, else 0: float32 [h, w], signed."""
    large = fit * (earlier.shape[1] / max(1, earlier.shape[1] // SHRINK))
    now = later.astype(np.float32)
    return now - _laid(earlier.astype(np.float32), large, now)


def signed_changes(
    later: Luma, earlier: Sequence[tuple[Luma, float]], stated_s: Sequence[float]
) -> npt.NDArray[np.int8]:
    """Signed changes of luma over stated times, the camera's motion taken out.

    Args:
        later: uint8 [h, w].
        earlier: for each of the stated times a picture uint8 [h, w] and how many seconds before `later` it is shown,
            above 0. The change is brought from that distance to the stated one, as for what moves evenly. None are
            given where nothing came before.
        stated_s: ascending, in seconds.

    Returns:
        int8 [times, h, w], cut at 127; zeros where there is no earlier picture, or one of another shot.
    """
    out = np.zeros((len(stated_s), *later.shape), np.int8)
    fit: Fit | None = None
    before_s = 0.0
    small = _small(later)
    slopes = _slopes(small)
    for i, ((picture, apart_s), stated) in enumerate(zip(earlier, stated_s, strict=False)):
        start = None if fit is None else fit * (apart_s / before_s)
        fit, before_s = _fitted(_small(picture), small, slopes, start), apart_s
        change = change_between(picture, later, fit)
        if float(np.abs(change).mean()) > ANOTHER_SHOT:
            break
        out[i] = np.clip(np.rint(change * min(stated / apart_s, 2.0)), -127, 127).astype(np.int8)
    return out


def _small(luma: Luma) -> Floats:
    size = (max(1, luma.shape[1] // SHRINK), max(1, luma.shape[0] // SHRINK))
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), BLUR), np.float32)


def _laid(picture: Floats, fit: Fit, under: Floats) -> Floats:
    """The earlier picture as the camera shows it later, over the later one where it does not reach."""
    height, width = picture.shape
    zoom, roll = fit[2] / width, fit[3] / width
    cx, cy = width / 2, height / 2
    at = np.array([
        [1 + zoom, -roll, fit[0] - zoom * cx + roll * cy],
        [roll, 1 + zoom, fit[1] - roll * cx - zoom * cy],
    ])  # fmt: skip
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(picture, at, (width, height), dst=under.copy(), flags=how, borderMode=cv2.BORDER_TRANSPARENT)
    return np.asarray(laid, np.float32)
