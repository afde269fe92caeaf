"""A region list that draws another map than the manifest's would misplace bits without anybody seeing it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from vsal.encode.maps.levels import fewest_loss_levels
from vsal.encode.maps.rectangles import cover, draw, rectangles

GRIDS = arrays(np.int8, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(-6, 6))


@given(GRIDS)
def test_the_list_draws_the_grid_exactly_when_the_first_region_wins(grid: np.ndarray) -> None:
    assert np.array_equal(draw(cover(grid), grid.shape), grid)


@given(GRIDS)
def test_every_block_is_said_because_x265_keeps_old_offsets_where_nothing_is_said(grid: np.ndarray) -> None:
    said = np.zeros(grid.shape, dtype=bool)
    for region in cover(grid):
        said[region.top : region.bottom, region.left : region.right] = True
    assert said.all()


@given(GRIDS, st.integers(1, 60))
def test_the_limit_holds_and_the_list_draws_the_grid_it_reports(grid: np.ndarray, limit: int) -> None:
    found, drawn = rectangles(grid, limit)
    assert len(found) <= limit
    assert np.array_equal(draw(found, grid.shape), drawn)
    if len(cover(grid)) <= limit:
        assert np.array_equal(drawn, grid)


@given(GRIDS)
def test_more_important_regions_come_first(grid: np.ndarray) -> None:
    offsets = [region.offset for region in cover(grid)[:-1]]
    assert offsets == sorted(offsets)


def test_a_subject_on_a_ground_takes_one_rectangle_a_ring() -> None:
    y, x = np.mgrid[0:45, 0:80]
    ring = np.maximum(abs(x - 40) // 4, abs(y - 20) // 4).astype(np.int8)
    grid = np.minimum(ring, 5) - 3
    assert len(cover(grid.astype(np.int8))) == 6


@settings(max_examples=60)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=7, unique=True), st.integers(1, 4), st.booleans())
def test_levels_lose_least(distinct: list[int], count: int, keep_zero: bool) -> None:
    values = np.repeat(sorted(distinct), np.arange(len(distinct)) % 3 + 1)
    levels, index = fewest_loss_levels(values, count, keep_zero)
    assert len(levels) <= count
    if keep_zero:
        assert 0.0 in levels
    loss = float(((levels[index] - values) ** 2).sum())
    assert loss == pytest.approx(_least_loss(values, count, keep_zero), abs=1e-9)


def _least_loss(values: np.ndarray, count: int, keep_zero: bool) -> float:
    ordered = np.sort(values)
    best = np.inf
    for groups in range(1, min(count, len(ordered)) + 1):
        for cuts in combinations(range(1, len(ordered)), groups - 1):
            parts = np.split(ordered, cuts)
            losses = [float(((part - part.mean()) ** 2).sum()) for part in parts]
            if not keep_zero:
                best = min(best, sum(losses))
                continue
            zeros = [float((part.astype(float) ** 2).sum()) for part in parts]
            best = min(best, *(sum(losses) - losses[i] + zeros[i] for i in range(groups)))
            if groups < count:
                best = min(best, sum(losses))
    return float(best)
