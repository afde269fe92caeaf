"""From a stream's YUV to the sRGB-like picture that models were trained on, at the size of a model's input."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

Matrix = npt.NDArray[np.float32]
PQ, HLG = 16, 18  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
BT2020_PRIMARIES = 9
_KR_KB = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601 (625 lines)
    6: (0.299, 0.114),  # BT.601 (525 lines)
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
    10: (0.2627, 0.0593),
}
REFERENCE_WHITE_NITS = 203.0  # BT.2408: diffuse white in HDR programmes
MASTERING_PEAK_NITS = 1000.0  # what most programmes are graded for; HLG's nominal peak
_LEVELS = 4096
# BT.2020 to BT.709 primaries, in linear light (BT.2087).
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


@lru_cache(maxsize=32)
def rgb_from_yuv(colorspace: int, full: bool, large: bool, bgr: bool = False) -> Matrix:
    """The matrix [3, 4] that turns 8-bit (Y, U, V, 1) into full-range R'G'B' of 0..255.

    Args:
        colorspace: FFmpeg's number; where unspecified, BT.709 for large pictures and BT.601 for small ones.
        full: Y, U and V use 0..255; otherwise 16..235 and 16..240.
        large: more than 576 lines or 1024 columns, as players draw the line.
        bgr: give B', G', R' instead.
    """
    kr, kb = _KR_KB.get(colorspace, _KR_KB[1 if large else 6])
    kg = 1 - kr - kb
    black, luma, chroma = (0.0, 1.0, 1.0) if full else (16.0, 255 / 219, 255 / 224)
    red = [luma, 0.0, 2 * (1 - kr) * chroma]
    green = [luma, -2 * (1 - kb) * kb / kg * chroma, -2 * (1 - kr) * kr / kg * chroma]
    blue = [luma, 2 * (1 - kb) * chroma, 0.0]
    rows = [blue, green, red] if bgr else [red, green, blue]
    return np.array([[*row, -row[0] * black - (row[1] + row[2]) * 128] for row in rows], np.float32)


def is_full_range(frame: VideoFrame) -> bool:
    """Whether a frame's components use all codes; unmarked YUV is limited."""
    pixels = frame.format
    return frame.color_range == FULL_RANGE or pixels.name.startswith("yuvj") or pixels.is_rgb


def is_large(width: int, height: int) -> bool:
    """Whether players take an unmarked picture of this size for BT.709."""
    return height > 576 or width > 1024


def tone_map(rgb: npt.NDArray[np.float32], trc: int, wide_gamut: bool) -> npt.NDArray[np.uint8]:
    """PQ or HLG R'G'B' as an SDR picture.

    Args:
        rgb: float32 [h, w, 3], non-linear, 0..1.
        trc: PQ or HLG.
        wide_gamut: the primaries are BT.2020's.

    Returns:
        uint8 [h, w, 3], BT.709 primaries.

    BT.2390's EETF brings a 1000-nit programme to the reference white of BT.2408 (203 nits); it acts on the largest of
    R, G and B, so hues stay. HLG goes through BT.2100's OOTF for a display of 1000 nits first.
    """
    codes = np.clip(rgb * (_LEVELS - 1) + 0.5, 0, _LEVELS - 1).astype(np.uint16)
    nits = _hlg_nits(codes) if trc == HLG else _pq_table()[codes]
    peak = nits.max(axis=2)
    scale = np.interp(peak.ravel(), *_eetf_table()).astype(np.float32).reshape(peak.shape)
    linear = nits * (scale / REFERENCE_WHITE_NITS)[..., None]
    if wide_gamut:
        linear = cv2.transform(linear, _BT2020_TO_BT709)
    positions = np.sqrt(np.clip(linear, 0, 1))  # spends the table's entries on the dark end
    return np.asarray(_gamma_table()[(positions * (_LEVELS - 1) + 0.5).astype(np.uint16)], np.uint8)


def _pq_to_nits(code: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # SMPTE ST 2084
    power = np.power(code, 1 / m2)
    return np.asarray(10000 * np.power(np.maximum(power - c1, 0) / (c2 - c3 * power), 1 / m1))


def _nits_to_pq(nits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.power(nits / 10000, m1)
    return np.asarray(np.power((c1 + c2 * power) / (1 + c3 * power), m2))


@lru_cache(maxsize=1)
def _pq_table() -> npt.NDArray[np.float32]:
    return _pq_to_nits(np.linspace(0, 1, _LEVELS)).astype(np.float32)


@lru_cache(maxsize=1)
def _hlg_table() -> npt.NDArray[np.float32]:
    code = np.linspace(0, 1, _LEVELS)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # BT.2100
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


def _hlg_nits(codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    scene = _hlg_table()[codes]
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    gain = MASTERING_PEAK_NITS * np.power(np.maximum(luminance, 1e-6), np.float32(0.2))  # system gamma 1.2
    return np.asarray(scene * gain[..., None], np.float32)


@lru_cache(maxsize=1)
def _eetf_table() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(nits of the brightest component, factor on all three): BT.2390 section 5.4.1 without a black lift."""
    source = float(_nits_to_pq(np.array(MASTERING_PEAK_NITS)))
    limit = float(_nits_to_pq(np.array(REFERENCE_WHITE_NITS))) / source
    knee = 1.5 * limit - 0.5
    nits = _pq_to_nits(np.linspace(0, 1, 1024))
    coded = np.minimum(_nits_to_pq(nits) / source, 1)
    t = np.clip((coded - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * limit
    mapped = np.where(coded < knee, coded, spline)
    return nits, _pq_to_nits(mapped * source) / np.maximum(nits, 1e-6)


@lru_cache(maxsize=1)
def _gamma_table() -> npt.NDArray[np.uint8]:
    linear = np.linspace(0, 1, _LEVELS) ** 2
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    return (255 * srgb + 0.5).astype(np.uint8)
