"""Coarser cells and other units say the same as the block map."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsal.encode.codecs.svtav1 import CHOSEN, MOST_LEVELS, Segments, level_of_base
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


WAYS = [CHOSEN, Segments(levels=8, below=1.0, key_step=1.0, raised=0.0), Segments(2, 0.0, 1 / 8, 0.5)]


@given(st.integers(0, 2**32 - 1), st.sampled_from(WAYS), st.integers(1, 63))
def test_svtav1_gets_few_levels_of_which_the_largest_is_not_negative(seed: int, segments: Segments, crf: int) -> None:
    offsets = np.random.default_rng(seed).normal(-2, 4, (6, 10))
    level, base = segments.level(float(offsets.min()), crf, 1.0)
    levels = segments.qindex_levels(offsets, level, base)
    assert len(np.unique(levels)) <= segments.levels <= MOST_LEVELS
    assert levels.max() >= 0
    assert np.abs(levels).max() <= 255


# qindex of the key frame of 120 frames of a still picture (preset 8), by the CRF that the program was given.
KEY_QINDEX = {20: 4, 35: 16, 48: 43, 56: 73}


@given(st.floats(-12, 0), st.sampled_from(sorted(KEY_QINDEX)), st.integers(0, 2**32 - 1))
def test_no_segment_of_a_key_frame_falls_to_qindex_0(lowest_qp: float, base: int, seed: int) -> None:
    """There SVT-AV1 gives its blocks to another segment, or codes the frame without any."""
    offsets = np.random.default_rng(seed).uniform(lowest_qp, 6, (6, 10))
    offsets[0, 0] = lowest_qp
    level = level_of_base(CHOSEN, lowest_qp, base)
    assert KEY_QINDEX[base] + CHOSEN.qindex_levels(offsets, level, base).min() >= 1


@given(st.floats(-12, 0), st.integers(10, 55))
def test_each_cell_keeps_its_quantiser_wherever_the_base_lies(lowest_qp: float, crf: int) -> None:
    offsets = np.array([[lowest_qp, 0.0, 4.0]])
    segments = replace(CHOSEN, levels=3)
    level, base = segments.level(lowest_qp, crf, 1.0)
    assert base <= crf <= level
    wanted = qindex_of_crf(level) + qindex_offsets(offsets, qindex_of_crf(level))
    # Below it, some are kept from qindex 0.
    wanted = np.maximum(wanted, qindex_of_crf(base) - segments.room(base))
    assert qindex_of_crf(base) + segments.qindex_levels(offsets, level, base) == pytest.approx(wanted, abs=0.51)


def test_maps_that_ask_for_nothing_below_the_title_leave_the_base() -> None:
    assert CHOSEN.level(0.0, 35, 1.0) == (35, 35)


@given(st.floats(-12, 0), st.integers(1, 55))
def test_an_exported_file_is_what_encode_would_write_where_it_gives_the_program_that_base(
    lowest_qp: float, crf: int
) -> None:
    level, base = CHOSEN.level(lowest_qp, crf, 1.0)
    assert level_of_base(CHOSEN, lowest_qp, base) == pytest.approx(level, abs=1.0)
