"""Figures held against pysaliency's, against a plain computation pixel by pixel, and against known cases."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsal.evaluate.saliency.metrics import (
    LAPSE,
    auc_judd,
    block_iou,
    cc,
    flicker,
    information_gain,
    kl,
    nss,
    shuffled_auc,
    sim,
)

# With one fixation double and one on a low value.
POINTS = [(20, 9), (19, 10), (22, 8), (6, 17), (20, 9), (11, 3)]


def example() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A map, a density and fixations that any program can make anew, whatever its random numbers."""
    y, x = np.mgrid[0:24, 0:32].astype(float)
    p = 0.5 + 0.3 * np.sin(0.37 * x + 0.11 * y) + 0.2 * np.cos(0.23 * y * x / 7)
    q = np.exp(-((x - 20) ** 2 / 40 + (y - 9) ** 2 / 30)) + 0.3 * np.exp(-((x - 6) ** 2 / 12 + (y - 17) ** 2 / 18))
    counts = np.zeros(p.shape, int)
    for column, row in POINTS:
        counts[row, column] += 1
    return p, q, counts


def test_figures_are_those_of_pysaliency() -> None:
    # Computed once with pysaliency 0.2.22 (metrics.CC, NSS, MIT_KLDiv; roc.general_roc with judd=1 on the distinct
    # pixels; SIM of the maps less their minima, which is what similarity.m takes). It needs torch to be imported, so it
    # is no dependency of the tests.
    p, q, counts = example()
    assert cc(p, q) == pytest.approx(0.03720214524775741, abs=1e-12)
    assert nss(p, counts) == pytest.approx(0.5715071770835767, abs=1e-12)
    assert sim(p, q) == pytest.approx(0.4182134105008117, abs=1e-12)
    assert kl(p, q) == pytest.approx(0.993609409380588, abs=1e-9)
    assert auc_judd(p, counts) == pytest.approx(0.7036697247706422, abs=1e-9)


def test_figures_are_those_of_a_plain_computation() -> None:
    p, q, counts = example()
    values, others = [], []
    for row in range(24):
        for column in range(32):
            (values if counts[row, column] else others).append(float(p[row, column]))
    mean = sum(values + others) / (24 * 32)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values + others) / (24 * 32))
    fixated = [float(p[row, column]) for column, row in POINTS]
    assert nss(p, counts) == pytest.approx(sum((v - mean) / deviation for v in fixated) / len(POINTS))
    assert cc(p, q) == pytest.approx(np.corrcoef(p.ravel(), q.ravel())[0, 1])
    a, b = p / p.sum(), q / q.sum()
    # similarity.m: each map to 0..1, then to the sum 1.
    c, d = ((m - m.min()) / (m.max() - m.min()) for m in (p, q))
    c, d = c / c.sum(), d / d.sum()
    assert sim(p, q) == pytest.approx(sum(min(x, y) for x, y in zip(c.ravel(), d.ravel(), strict=True)))
    assert kl(p, q) == pytest.approx(sum(y * math.log(y / x) for x, y in zip(a.ravel(), b.ravel(), strict=True)))
    # ROC through Judd's thresholds, which are the values at fixations.
    curve = [(0.0, 0.0)]
    for threshold in sorted(values, reverse=True):
        hits = sum(v >= threshold for v in values) / len(values)
        alarms = sum(v >= threshold for v in others) / len(others)
        curve.append((alarms, hits))
    curve.append((1.0, 1.0))
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(curve))
    assert auc_judd(p, counts) == pytest.approx(area)


def test_a_perfect_map_and_its_opposite() -> None:
    _, q, _ = example()
    top = (q >= np.sort(q.ravel())[-10]).astype(int)
    assert cc(q, 3 * q + 1) == pytest.approx(1.0)
    assert cc(-q, q) == pytest.approx(-1.0)
    assert sim(q, 7 * q) == pytest.approx(1.0)
    assert kl(q, 7 * q) == pytest.approx(0.0, abs=1e-9)
    assert auc_judd(q, top) == 1.0
    assert auc_judd(-q, top) == pytest.approx(0.05)  # the first threshold, a hit in ten, is reached from (0, 0)
    assert nss(top.astype(float), top) == pytest.approx(math.sqrt((24 * 32 - 10) / 10))


def test_a_map_that_says_nothing_is_worth_nothing() -> None:
    _, q, counts = example()
    for value in (0.0, 0.1, 0.7):
        flat = np.full(q.shape, value, np.float32)
        assert cc(flat, q) == 0
        assert nss(flat, counts) == 0
        assert auc_judd(flat, counts) == 0.5


def test_nothing_to_compare_with_is_nan_not_a_figure() -> None:
    p, _, counts = example()
    nothing = np.zeros_like(p)
    assert np.isnan(nss(p, counts * 0))
    assert np.isnan(auc_judd(p, counts * 0))
    assert np.isnan(sim(p, nothing))
    assert np.isnan(kl(p, nothing))


def test_similarity_does_not_count_what_a_map_has_everywhere() -> None:
    p, q, _ = example()
    assert sim(p + 100, q) == pytest.approx(float(sim(p, q)))


def test_looks_at_other_pictures_take_the_middle_out() -> None:
    middle, subject = np.zeros((9, 9)), np.zeros((9, 9))
    middle[3:6, 3:6], subject[4, 4], subject[1, 7] = 1, 0.5, 1
    here, elsewhere = np.zeros((9, 9), int), np.zeros((9, 9), int)
    here[4, 4], here[1, 7] = 1, 3
    elsewhere[4, 4], elsewhere[4, 5], elsewhere[8, 0] = 2, 1, 1
    # Pairs by hand. Middle: looks at its middle tie with 3 of 4 and beat 1; the other 3 tie with 1 of 4.
    assert shuffled_auc(middle, here, elsewhere) == pytest.approx((1 * (1 + 3 / 2) + 3 * (0 + 1 / 2)) / 16)
    # Subject: at its middle ties with 2 and beats 2; the other 3 beat all.
    assert shuffled_auc(subject, here, elsewhere) == pytest.approx((1 * (2 + 2 / 2) + 3 * 4) / 16)
    assert shuffled_auc(np.full((9, 9), 0.3), here, elsewhere) == 0.5
    assert np.isnan(shuffled_auc(subject, here, elsewhere * 0))


def test_information_gain_is_bits_over_the_prior() -> None:
    prior = np.array([[1.0, 1.0], [1.0, 1.0]])
    looks = np.array([[3, 1], [0, 0]])
    p = np.array([[0.5, 0.25], [0.25, 0.0]])
    wanted = (3 * math.log2(0.5 / 0.25) + math.log2(0.25 / 0.25)) / 4
    assert information_gain(8 * p, prior, looks, lapse=0.0) == pytest.approx(wanted)
    assert information_gain(prior * 3, prior, looks) == pytest.approx(0.0)
    # A map that excludes where people look is charged for it, not infinitely.
    wrong = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert information_gain(wrong, prior, looks) == pytest.approx(math.log2(LAPSE))
    assert information_gain(np.zeros((2, 2)), prior, looks) == pytest.approx(0.0)
    assert np.isnan(information_gain(p, prior, looks * 0))


def test_ties_are_one_threshold_and_no_dice_are_rolled() -> None:
    steps = np.repeat([0.0, 1.0], 8).reshape(4, 4)
    fixations = np.zeros((4, 4), int)
    fixations[3, 3] = fixations[0, 0] = 1
    # Half the fixations and 7 of 14 other pixels lie in each half: the diagonal.
    assert auc_judd(steps, fixations) == pytest.approx(0.5)


def test_every_leading_axis_is_a_batch() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.random((2, 3, 8, 10)).astype(np.float32), rng.random((2, 3, 8, 10))
    counts = rng.integers(0, 2, (2, 3, 8, 10))
    for metric, other in ((cc, q), (sim, q), (kl, q), (nss, counts), (auc_judd, counts), (block_iou, q)):
        together = metric(p, other)
        assert together.shape == (2, 3)
        for i, j in np.ndindex(2, 3):
            assert together[i, j] == pytest.approx(float(metric(p[i, j], other[i, j]))), metric.__name__


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-5, 5, allow_subnormal=False))
def test_scale_and_offset_of_a_map_change_neither_rank_nor_correlation(seed: int, gain: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    p, q, counts = rng.random((6, 7)), rng.random((6, 7)), rng.integers(0, 2, (6, 7))
    counts[0, 0], counts[0, 1] = 0, 1
    assert cc(gain * p + offset, q) == pytest.approx(float(cc(p, q)), abs=1e-9)
    assert nss(gain * p + offset, counts) == pytest.approx(float(nss(p, counts)), abs=1e-6)
    assert auc_judd(gain * p + offset, counts) == pytest.approx(float(auc_judd(p, counts)), abs=1e-9)


def test_block_iou_of_known_grids() -> None:
    truth = np.array([[1, 1, 0], [0, 0, 0]])
    assert block_iou(np.array([[0.9, 0.5, 0.5], [0.1, 0.49, 0.0]]), truth) == pytest.approx(2 / 3)
    assert block_iou(np.zeros((2, 3)), np.zeros((2, 3))) == 1
    assert block_iou(np.zeros((2, 3)), truth) == 0


def test_flicker_counts_only_where_the_truth_stands_still() -> None:
    truth = np.zeros((3, 1, 4))
    truth[1:, 0, 0] = 1  # the subject enters the first block
    grids = np.zeros((3, 1, 4))
    grids[1:, 0, 0] = 1  # as it should: no flicker
    grids[1, 0, 3] = 0.6  # comes and goes
    np.testing.assert_allclose(flicker(grids, truth), [0.6 / 3, 0.6 / 4])
    assert flicker(grids[:1], truth[:1]).shape == (0,)
