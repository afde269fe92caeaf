"""Aggregators as monoids: whatever way a run of frames is cut up, its mask is the same."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsal.temporal import Fold, make_aggregator

NAMES = ["mean", "ema", "max", "motion", "learned"]
ALPHA = 0.3

unit = st.floats(0, 1, width=32)
plane = arrays(np.float32, (2, 3), elements=unit)
frames = st.lists(st.tuples(plane, st.floats(0, 40, width=32), plane), min_size=1, max_size=9)  # mask, motion, gate


def state_of(aggregator, run):
    return reduce(aggregator.combine, (aggregator.lift(*frame) for frame in run), aggregator.identity())


def direct(name: str, run) -> np.ndarray:
    masks = np.stack([mask for mask, _, _ in run]).astype(np.float64)
    if name == "mean":
        return masks.mean(0)
    if name == "max":
        return masks.max(0)
    if name == "motion":
        weights = np.maximum([motion for _, motion, _ in run], 1e-3)
        return (masks * weights[:, None, None]).sum(0) / weights.sum()
    value = masks[0]
    for mask, (_, _, gate) in zip(masks[1:], run[1:], strict=True):
        weight = ALPHA if name == "ema" else gate.astype(np.float64)
        value = weight * mask + (1 - weight) * value
    return value


@pytest.mark.parametrize("name", NAMES)
@given(run=frames)
def test_equals_the_direct_computation(name: str, run) -> None:
    aggregator = make_aggregator(name, ALPHA)
    np.testing.assert_allclose(aggregator.finish(state_of(aggregator, run)), direct(name, run), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(run=frames, data=st.data())
def test_any_grouping_gives_the_same_mask(name: str, run, data) -> None:
    aggregator = make_aggregator(name, ALPHA)
    states = [aggregator.lift(*frame) for frame in run]
    while len(states) > 1:
        at = data.draw(st.integers(0, len(states) - 2))
        states[at : at + 2] = [aggregator.combine(states[at], states[at + 1])]
    np.testing.assert_allclose(aggregator.finish(states[0]), direct(name, run), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(run=frames)
def test_identity_changes_nothing_on_either_side(name: str, run) -> None:
    aggregator = make_aggregator(name, ALPHA)
    state, none = state_of(aggregator, run), aggregator.identity()
    for padded in (aggregator.combine(none, state), aggregator.combine(state, none)):
        assert np.array_equal(aggregator.finish(padded), aggregator.finish(state))


@pytest.mark.parametrize("name", NAMES)
@given(run=frames)
def test_a_mask_stays_within_what_it_is_made_of(name: str, run) -> None:
    aggregator = make_aggregator(name, ALPHA)
    mask = aggregator.finish(state_of(aggregator, run))
    stack = np.stack([frame for frame, _, _ in run])
    assert mask.dtype == np.float32
    assert (mask >= stack.min(0) - 1e-6).all()
    assert (mask <= stack.max(0) + 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_has_no_mask(name: str) -> None:
    aggregator = make_aggregator(name, ALPHA)
    with pytest.raises(ValueError, match="no frame"):
        aggregator.finish(aggregator.identity())


@pytest.mark.parametrize("name", NAMES)
def test_states_are_not_changed_by_combining(name: str) -> None:
    aggregator = make_aggregator(name, ALPHA)
    one = aggregator.lift(np.full((1, 1), 0.2, np.float32), 1.0, np.full((1, 1), 0.6, np.float32))
    two = aggregator.lift(np.full((1, 1), 0.9, np.float32), 5.0, np.full((1, 1), 0.1, np.float32))
    before = aggregator.finish(one).copy()
    aggregator.combine(one, two)
    assert np.array_equal(aggregator.finish(one), before)


def test_order_counts_for_the_recurrences_only() -> None:
    gate = np.full((1, 1), 0.4, np.float32)
    run = [(np.full((1, 1), value, np.float32), 1.0, gate) for value in (0.0, 0.5, 1.0)]
    for name in NAMES:
        aggregator = make_aggregator(name, ALPHA)
        there, back = (aggregator.finish(state_of(aggregator, order)) for order in (run, run[::-1]))
        assert np.allclose(there, back) == (name not in ("ema", "learned"))


@given(run=frames)
def test_a_gate_of_one_value_is_the_moving_average(run) -> None:
    gate = np.full((2, 3), 0.25, np.float32)
    learned, ema = make_aggregator("learned", ALPHA), make_aggregator("ema", 0.25)
    same = [(mask, motion, gate) for mask, motion, _ in run]
    assert np.array_equal(learned.finish(state_of(learned, same)), ema.finish(state_of(ema, same)))


def test_a_gate_decides_pixel_by_pixel_what_is_remembered() -> None:
    learned = make_aggregator("learned", ALPHA)
    before, now = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)
    gate = np.array([[0.0, 0.25, 1.0]], np.float32)
    mask = learned.finish(state_of(learned, [(before, 0.0, gate), (now, 0.0, gate)]))
    np.testing.assert_array_equal(mask, gate)
    # The first mask of a shot is whole, however little its gate lets in.
    np.testing.assert_array_equal(learned.finish(state_of(learned, [(now, 0.0, gate)])), now)


def test_the_learned_aggregator_needs_a_gate_of_the_masks_shape() -> None:
    learned, mask = make_aggregator("learned", ALPHA), np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="gate of a video model"):
        learned.lift(mask, 0.0, None)
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        learned.lift(mask, 0.0, np.zeros((2, 2), np.float32))


def test_motion_weighs_moving_frames_and_survives_stillness() -> None:
    aggregator = make_aggregator("motion", ALPHA)
    still, moving = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    assert aggregator.finish(state_of(aggregator, [(still, 0.0, None), (moving, 10.0, None)]))[0, 0] > 0.99
    assert aggregator.finish(state_of(aggregator, [(still, 0.0, None), (moving, 0.0, None)]))[0, 0] == pytest.approx(
        0.5
    )


def test_a_fold_restarts_empty() -> None:
    fold = Fold(make_aggregator("max", ALPHA))
    fold.add(np.ones((1, 1), np.float32), 0.0)
    fold.restart()
    fold.add(np.zeros((1, 1), np.float32), 0.0)
    assert fold.mask()[0, 0] == 0.0


def test_unknown_names_and_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="median"):
        make_aggregator("median", ALPHA)
    with pytest.raises(ValueError, match="alpha"):
        make_aggregator("ema", 0.0)
