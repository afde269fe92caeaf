"""Aggregators as monoids: whatever way a run of frames is cut up, its mask is the same."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsal.temporal import Fold, make_aggregator

NAMES = ["mean", "ema", "max", "motion"]
ALPHA = 0.3

unit = st.floats(0, 1, width=32)
frames = st.lists(
    st.tuples(arrays(np.float32, (2, 3), elements=unit), st.floats(0, 40, width=32)), min_size=1, max_size=9
)


def state_of(aggregator, run):
    return reduce(aggregator.combine, (aggregator.lift(mask, motion) for mask, motion in run), aggregator.identity())


def direct(name: str, run) -> np.ndarray:
    masks = np.stack([mask for mask, _ in run]).astype(np.float64)
    if name == "mean":
        return masks.mean(0)
    if name == "max":
        return masks.max(0)
    if name == "motion":
        weights = np.maximum([motion for _, motion in run], 1e-3)
        return (masks * weights[:, None, None]).sum(0) / weights.sum()
    value = masks[0]
    for mask in masks[1:]:
        value = ALPHA * mask + (1 - ALPHA) * value
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
    states = [aggregator.lift(mask, motion) for mask, motion in run]
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
    stack = np.stack([frame for frame, _ in run])
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
    one = aggregator.lift(np.full((1, 1), 0.2, np.float32), 1.0)
    two = aggregator.lift(np.full((1, 1), 0.9, np.float32), 5.0)
    before = aggregator.finish(one).copy()
    aggregator.combine(one, two)
    assert np.array_equal(aggregator.finish(one), before)


def test_order_counts_for_the_moving_average_only() -> None:
    run = [(np.full((1, 1), value, np.float32), 1.0) for value in (0.0, 0.5, 1.0)]
    for name in NAMES:
        aggregator = make_aggregator(name, ALPHA)
        there, back = (aggregator.finish(state_of(aggregator, order)) for order in (run, run[::-1]))
        assert np.allclose(there, back) == (name != "ema")


def test_motion_weighs_moving_frames_and_survives_stillness() -> None:
    aggregator = make_aggregator("motion", ALPHA)
    still, moving = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    assert aggregator.finish(state_of(aggregator, [(still, 0.0), (moving, 10.0)]))[0, 0] > 0.99
    assert aggregator.finish(state_of(aggregator, [(still, 0.0), (moving, 0.0)]))[0, 0] == pytest.approx(0.5)


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
