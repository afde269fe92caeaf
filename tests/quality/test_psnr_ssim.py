"""PSNR and SSIM against what their formulas say, written out; and the algebra of moving weights."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsal.quality.psnr import block_mse, block_psnr_db, luma, psnr_db, weighted_error
from vsal.quality.ssim import block_ssim, ssim_map, weighted_ssim
from vsal.quality.weights import Pooled, pooled

SIZES = st.tuples(st.integers(1, 45), st.integers(1, 50))
SEEDS = st.integers(0, 2**32 - 1)


def clip(seed: int, size: tuple[int, int], frames: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    source = random.uniform(0, 255, (frames, *size)).astype(np.float32)
    return source, (source + random.normal(0, 9, source.shape)).clip(0, 255).astype(np.float32)


def written_out(source: np.ndarray, encoded: np.ndarray, weights: np.ndarray) -> float:
    """The formula of the module's docstring, term by term, in whole clips of float64."""
    error, weight = 0.0, 0.0
    for a, b, w in zip(source.astype(float), encoded.astype(float), weights.astype(float), strict=True):
        for y in range(a.shape[0]):
            for x in range(a.shape[1]):
                error += w[y, x] * (a[y, x] - b[y, x]) ** 2
                weight += w[y, x]
    return 10 * np.log10(255**2 / (error / weight))


@given(SEEDS, SIZES)
@settings(max_examples=15, deadline=None)
def test_weighted_psnr_is_the_formula_under_a_moving_density(seed: int, size: tuple[int, int]) -> None:
    source, encoded = clip(seed, size)
    weights = np.random.default_rng(seed + 1).uniform(0.01, 1, source.shape)
    total = sum((weighted_error(a, b, w) for a, b, w in zip(source, encoded, weights, strict=True)), Pooled())
    assert psnr_db(total) == pytest.approx(written_out(source, encoded, weights), abs=1e-4)


@given(SEEDS, SIZES, st.sampled_from([4, 8, 16, 64]))
@settings(max_examples=40, deadline=None)
def test_a_grid_of_blocks_weighs_as_its_pixels_do(seed: int, size: tuple[int, int], cell: int) -> None:
    source, encoded = clip(seed, size, 1)
    grid = np.random.default_rng(seed).uniform(0.01, 1, (-(-size[0] // cell), -(-size[1] // cell)))
    dense = grid.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]
    of_blocks, of_pixels = (weighted_error(source[0], encoded[0], w, c) for w, c in ((grid, cell), (dense, None)))
    assert of_blocks.total == pytest.approx(of_pixels.total, rel=1e-5)
    assert of_blocks.weight == pytest.approx(of_pixels.weight, rel=1e-5)


@given(SEEDS, st.floats(0.01, 100.0))
@settings(max_examples=20, deadline=None)
def test_weights_count_by_their_proportions_and_where_they_are(seed: int, factor: float) -> None:
    source, encoded = clip(seed, (20, 30), 1)
    weights = np.random.default_rng(seed).uniform(0.1, 1, (20, 30))
    once, scaled = (psnr_db(weighted_error(source[0], encoded[0], w)) for w in (weights, weights * factor))
    assert once == pytest.approx(scaled, abs=1e-4)
    plain = psnr_db(weighted_error(source[0], encoded[0]))
    assert plain == pytest.approx(psnr_db(weighted_error(source[0], encoded[0], np.full((20, 30), factor))), abs=1e-4)
    worst = np.zeros((20, 30))
    worst[np.unravel_index(np.argmax((source[0] - encoded[0]) ** 2), worst.shape)] = 1
    assert psnr_db(weighted_error(source[0], encoded[0], worst)) <= plain


def test_error_is_pooled_over_the_clip_before_the_logarithm() -> None:
    """The mean of the two frames' decibels would be 38 dB."""
    black = np.zeros((16, 16), np.float32)
    total = weighted_error(black, black + 1) + weighted_error(black, black + 10)
    assert psnr_db(total) == pytest.approx(10 * np.log10(255**2 / 50.5))


def test_a_frame_counts_by_its_weight() -> None:
    black = np.zeros((16, 16), np.float32)
    total = weighted_error(black, black + 1, np.full((1, 1), 3.0), 16) + weighted_error(
        black, black + 5, np.ones((1, 1)), 16
    )
    assert total.mean == pytest.approx((3 * 1 + 25) / 4)


def test_equal_pictures_are_infinitely_good_and_no_weight_is_no_number() -> None:
    gray = np.full((8, 8), 99, np.float32)
    assert psnr_db(weighted_error(gray, gray)) == float("inf")
    assert np.isnan(psnr_db(weighted_error(gray, gray + 1, np.zeros((8, 8)))))


@given(SEEDS, SIZES, st.sampled_from([8, 16, 64]))
@settings(max_examples=25, deadline=None)
def test_block_errors_are_means_over_the_pixels_that_exist(seed: int, size: tuple[int, int], cell: int) -> None:
    source, encoded = clip(seed, size, 1)
    found = block_mse(source[0], encoded[0], cell)
    assert found.shape == (-(-size[0] // cell), -(-size[1] // cell))
    for row, col in np.ndindex(*found.shape):
        at = np.s_[row * cell : (row + 1) * cell, col * cell : (col + 1) * cell]
        error = (source[0][at].astype(float) - encoded[0][at]) ** 2
        assert found[row, col] == pytest.approx(error.mean(), rel=1e-4)
    assert block_psnr_db(source[0], source[0], cell, 0.05) == pytest.approx(10 * np.log10(255**2 / 0.05))


def ssim_written_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Window by window, with the weights of the paper and mirrored edges."""
    span = np.arange(-5, 6)
    line = np.exp(-(span**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    wide = [np.pad(p.astype(float), 5, mode="reflect") for p in (a, b)]
    found = np.empty(a.shape)
    for y, x in np.ndindex(*a.shape):
        p, q = (w[y : y + 11, x : x + 11] for w in wide)
        m, n = (window * p).sum(), (window * q).sum()
        s, t, c = (window * (p - m) ** 2).sum(), (window * (q - n) ** 2).sum(), (window * (p - m) * (q - n)).sum()
        found[y, x] = (2 * m * n + 6.5025) * (2 * c + 58.5225) / ((m * m + n * n + 6.5025) * (s + t + 58.5225))
    return found


@pytest.mark.parametrize("spread", [0.0, 2.0, 60.0])
def test_ssim_is_that_of_the_paper(spread: float) -> None:
    random = np.random.default_rng(1)
    a = (200 + random.normal(0, spread, (22, 31))).clip(0, 255).astype(np.float32)
    b = (a + random.normal(0, 6, a.shape)).clip(0, 255).astype(np.float32)
    assert ssim_map(a, b) == pytest.approx(ssim_written_out(a, b), abs=2e-4)
    means = block_ssim(a, b, 16)
    assert means[1, 1] == pytest.approx(ssim_written_out(a, b)[16:, 16:].mean(), abs=2e-4)


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_ssim_is_symmetric_1_for_equals_and_weighed_as_psnr_is(seed: int) -> None:
    source, encoded = clip(seed, (24, 40), 1)
    a, b = source[0], encoded[0]
    assert ssim_map(a, b) == pytest.approx(ssim_map(b, a), abs=1e-5)
    assert ssim_map(a, a) == pytest.approx(1.0, abs=1e-4)
    grid = np.random.default_rng(seed).uniform(0.1, 1, (2, 3))
    dense = grid.repeat(16, axis=0).repeat(16, axis=1)[:24, :40]
    assert weighted_ssim(a, b, grid, 16).mean == pytest.approx((ssim_map(a, b) * dense).sum() / dense.sum(), rel=1e-4)


def test_weights_of_another_picture_are_refused_with_the_numbers() -> None:
    values = np.ones((30, 40), np.float32)
    with pytest.raises(ValueError, match=r"40x30 pixels have 2x3 cells of 16 .* weights are 3x2"):
        pooled(values, np.ones((3, 2)), 16)
    with pytest.raises(ValueError, match="at least 0"):
        pooled(values, np.full((2, 3), -0.1), 16)
    with pytest.raises(ValueError, match="at least 0"):
        pooled(values, np.full((2, 3), np.nan), 16)
    with pytest.raises(ValueError, match="40x30 and 40x31"):
        weighted_error(values, np.ones((31, 40), np.float32))


def test_a_density_of_another_size_is_stretched_over_the_picture() -> None:
    values = np.zeros((40, 80), np.float32)
    values[:, 40:] = 1.0
    left = pooled(values, np.array([[1.0, 0.0]]))
    assert left.mean < 0.2 < 0.8 < pooled(values, np.array([[0.0, 1.0]])).mean


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv422p12le", "gray", "nv12", "yuyv422"])
def test_luma_is_in_8_bit_units_whatever_the_format(pix_fmt: str) -> None:
    planes = np.full((48, 34), 100, np.uint8)
    planes[:32:2] = 180  # a height of 32, and the chroma of 4:2:0 below it
    eight = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    found = luma(eight.reformat(format=pix_fmt) if pix_fmt != "gray" else eight)
    assert found.shape == (32, 34)
    assert found.dtype == np.float32
    assert found == pytest.approx(planes[:32].astype(float), abs=0.6 if pix_fmt == "yuyv422" else 0.01)
