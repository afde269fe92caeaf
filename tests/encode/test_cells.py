"""Coarser cells and other units say the same as the block map."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsal.encode.codecs.svtav1 import MOST_LEVELS, qindex_levels
from vsal.encode.maps.cells import cell_offsets, cell_saliency
from vsal.encode.maps.units import qindex_of_crf, qindex_offsets
from vsal.manifest import MapRow
from vsal.roi.qp import QpMapping, exact_offsets, qp_offsets


def row_of(saliency: np.ndarray, width: int, height: int) -> MapRow:
    return MapRow(
        "t", 0, 0, 0, 8, 0, 8, Fraction(1, 24), width, height, 1, 0.0, saliency, np.zeros_like(saliency, np.int8)
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from(["rd", "linear"]))
def test_rounded_they_are_the_manifest_s_offsets(seed: int, kind: str) -> None:
    saliency = np.random.default_rng(seed).random((9, 13)).astype(np.float32)
    mapping = QpMapping(kind=kind)  # type: ignore[arg-type]
    assert np.array_equal(np.rint(exact_offsets(saliency.astype(float), mapping)), qp_offsets(saliency, mapping))


def test_a_cell_at_the_edge_is_the_mean_of_the_pixels_that_exist() -> None:
    saliency = np.zeros((5, 5), dtype=np.uint8)
    saliency[4, 4] = 255  # 8x4 pixels of the picture
    cells, share = cell_saliency(row_of(saliency, 72, 68), 64)
    assert cells.shape == (2, 2)
    assert cells[1, 1] == pytest.approx(1.0)
    assert share[1, 1] == pytest.approx(8 * 4 / 64**2)
    assert cells[0, 0] == 0.0


def test_the_reduction_is_of_saliency_and_not_of_rounded_qp() -> None:
    saliency = np.tile(np.array([[0, 255]], dtype=np.uint8), (4, 2))
    offsets, _ = cell_offsets(row_of(saliency, 64, 64), QpMapping())
    assert offsets.item() == pytest.approx(0.0)  # one cell: nothing to move


@pytest.mark.parametrize("crf", [20, 35, 50])
def test_six_qp_double_the_quantiser_step_of_av1(crf: float) -> None:
    base = qindex_of_crf(crf)
    up = base + qindex_offsets(np.array([6.0, -6.0]), base)
    knots = {20: (80, 87), 35: (140, 212), 50: (200, 640)}  # qindex and step of AV1's table
    table = dict([knots[crf]])
    assert base == next(iter(table))
    assert up[0] > base > up[1]
    spread = up[0] - up[1]
    assert 40 < spread < 140


@given(st.integers(0, 2**32 - 1))
def test_svtav1_gets_at_most_eight_levels_and_the_largest_is_not_negative(seed: int) -> None:
    random = np.random.default_rng(seed)
    levels = qindex_levels(random.normal(-2, 4, (6, 10)), 140.0)
    assert len(np.unique(levels)) <= MOST_LEVELS
    assert levels.max() >= 0
    assert np.abs(levels).max() <= 255
