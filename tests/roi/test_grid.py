from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsal.roi.grid import block_grid_shape, block_means

masks = arrays(np.float32, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.floats(0, 1, width=32))
sizes = st.integers(1, 200)


def direct(mask: np.ndarray, width: int, height: int, block: int) -> np.ndarray:
    """Interpolates every pixel, then averages every block, with nothing shared."""

    def at(position: float, count: int) -> tuple[int, int, float]:
        position = min(max(position, 0.0), count - 1.0)
        low = min(int(position), max(count - 2, 0))
        return low, min(low + 1, count - 1), position - low

    picture = np.zeros((height, width))
    for y in range(height):
        y0, y1, dy = at((y + 0.5) * mask.shape[0] / height - 0.5, mask.shape[0])
        for x in range(width):
            x0, x1, dx = at((x + 0.5) * mask.shape[1] / width - 0.5, mask.shape[1])
            top = mask[y0, x0] * (1 - dx) + mask[y0, x1] * dx
            bottom = mask[y1, x0] * (1 - dx) + mask[y1, x1] * dx
            picture[y, x] = top * (1 - dy) + bottom * dy
    rows, cols = -(-height // block), -(-width // block)
    return np.array(
        [
            [picture[r * block : (r + 1) * block, c * block : (c + 1) * block].mean() for c in range(cols)]
            for r in range(rows)
        ]
    )


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(1920, 1080, (68, 120)), (1280, 720, (45, 80)), (1, 1, (1, 1)), (16, 17, (2, 1)), (161, 121, (8, 11))],
)
def test_last_row_and_column_reach_over_the_edge(width: int, height: int, expected: tuple[int, int]) -> None:
    assert block_grid_shape(width, height) == expected


def test_a_picture_without_pixels_has_no_blocks() -> None:
    with pytest.raises(ValueError, match="0x9"):
        block_grid_shape(0, 9)


@given(masks, st.integers(1, 50), st.integers(1, 50), st.sampled_from([4, 16]))
def test_means_are_those_of_every_pixel(mask: np.ndarray, width: int, height: int, block: int) -> None:
    np.testing.assert_allclose(block_means(mask, width, height, block), direct(mask, width, height, block), atol=1e-5)


@given(masks, sizes, sizes)
def test_means_stay_within_the_mask(mask: np.ndarray, width: int, height: int) -> None:
    means = block_means(mask, width, height)
    assert means.shape == block_grid_shape(width, height)
    assert means.min() >= mask.min() - 1e-6
    assert means.max() <= mask.max() + 1e-6


@given(masks, sizes, sizes)
def test_mirrored_mask_gives_mirrored_means_of_whole_blocks(mask: np.ndarray, width: int, height: int) -> None:
    width, height = width * 16, height * 16
    there = block_means(mask, width, height)
    back = block_means(np.ascontiguousarray(mask[::-1, ::-1]), width, height)[::-1, ::-1]
    np.testing.assert_allclose(there, back, atol=1e-5)


def test_a_stack_of_masks_is_reduced_one_by_one() -> None:
    stack = np.random.default_rng(3).random((5, 9, 16), np.float32)
    together = block_means(stack, 640, 360)
    for one, mask in zip(together, stack, strict=True):
        np.testing.assert_allclose(one, block_means(mask, 640, 360), atol=1e-6)


def test_a_block_over_the_edge_is_not_diluted() -> None:
    assert block_means(np.ones((9, 16), np.float32), 1920, 1080).min() == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(0, 4), (4,), (1, 2, 3, 4)])
def test_what_is_not_a_mask_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="mask"):
        block_means(np.zeros(shape, np.float32), 64, 64)
