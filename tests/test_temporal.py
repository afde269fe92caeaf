"""Aggregators as monoids: whatever way a run of frames is cut up, its mask is the same."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsal.temporal import Fold, Smooth, make_aggregator
from vsal.temporal.smooth import EPSILON

NAMES = ["mean", "ema", "max", "motion", "learned", "smooth"]
ALPHA = 0.3
THIRD = 1 / 3

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
    if name == "smooth":
        return of_logs(masks, np.ones(len(masks)))
    value = masks[0]
    for mask, (_, _, gate) in zip(masks[1:], run[1:], strict=True):
        weight = ALPHA if name == "ema" else gate.astype(np.float64)
        value = weight * mask + (1 - weight) * value
    return value


def of_logs(masks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of log saliency, at the scale of the weighted mean of saliency."""
    shares = (weights / weights.sum())[:, None, None]
    agreed = np.exp((np.log(masks + EPSILON) * shares).sum(0)) - EPSILON
    wanted = (masks * shares).sum(0).mean()
    return np.minimum(1.0, agreed * (wanted / agreed.mean() if wanted > 1e-6 else 1.0))


@pytest.mark.parametrize("name", NAMES)
@given(run=frames)
def test_equals_the_direct_computation(name: str, run) -> None:
    aggregator = make_aggregator(name, ALPHA, THIRD)
    np.testing.assert_allclose(aggregator.finish(state_of(aggregator, run)), direct(name, run), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(run=frames, data=st.data())
def test_any_grouping_gives_the_same_mask(name: str, run, data) -> None:
    aggregator = make_aggregator(name, ALPHA, THIRD)
    states = [aggregator.lift(*frame) for frame in run]
    while len(states) > 1:
        at = data.draw(st.integers(0, len(states) - 2))
        states[at : at + 2] = [aggregator.combine(states[at], states[at + 1])]
    np.testing.assert_allclose(aggregator.finish(states[0]), direct(name, run), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(run=frames)
def test_identity_changes_nothing_on_either_side(name: str, run) -> None:
    aggregator = make_aggregator(name, ALPHA, THIRD)
    state, none = state_of(aggregator, run), aggregator.identity()
    for padded in (aggregator.combine(none, state), aggregator.combine(state, none)):
        assert np.array_equal(aggregator.finish(padded), aggregator.finish(state))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "smooth"])  # that one keeps the mean instead
@given(run=frames)
def test_a_mask_stays_within_what_it_is_made_of(name: str, run) -> None:
    aggregator = make_aggregator(name, ALPHA, THIRD)
    mask = aggregator.finish(state_of(aggregator, run))
    stack = np.stack([frame for frame, _, _ in run])
    assert mask.dtype == np.float32
    assert (mask >= stack.min(0) - 1e-6).all()
    assert (mask <= stack.max(0) + 1e-6).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_has_no_mask(name: str) -> None:
    aggregator = make_aggregator(name, ALPHA, THIRD)
    with pytest.raises(ValueError, match="no frame"):
        aggregator.finish(aggregator.identity())


@pytest.mark.parametrize("name", NAMES)
def test_states_are_not_changed_by_combining(name: str) -> None:
    aggregator = make_aggregator(name, ALPHA, THIRD)
    one = aggregator.lift(np.full((1, 1), 0.2, np.float32), 1.0, np.full((1, 1), 0.6, np.float32))
    two = aggregator.lift(np.full((1, 1), 0.9, np.float32), 5.0, np.full((1, 1), 0.1, np.float32))
    before = aggregator.finish(one).copy()
    aggregator.combine(one, two)
    assert np.array_equal(aggregator.finish(one), before)


def test_order_counts_for_the_recurrences_only() -> None:
    gate = np.full((1, 1), 0.4, np.float32)
    run = [(np.full((1, 1), value, np.float32), 1.0, gate) for value in (0.0, 0.5, 1.0)]
    for name in NAMES:
        aggregator = make_aggregator(name, ALPHA, THIRD)
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
    with pytest.raises(ValueError, match="half-width"):
        make_aggregator("smooth", ALPHA, 0.0)
    with pytest.raises(ValueError, match="smooth_s"):
        make_aggregator("smooth", ALPHA)


# What follows is of `smooth`: samples of a shot, in seconds, around the map of the frames from `start` to `end`.
RATE = 3.0
timed = st.lists(st.tuples(st.floats(0, 3), plane), min_size=1, max_size=9).map(lambda run: sorted(run, key=at_of))
half_widths = st.floats(0.05, 2.0)


def at_of(sample) -> float:
    return sample[0]


def around(half: float, run, start: float, end: float) -> np.ndarray:
    smooth = Smooth(half)
    return smooth.around([(at, smooth.lift(mask, 0.0)) for at, mask in run], start, end, 1 / RATE)


@given(run=timed, half=half_widths, data=st.data())
def test_a_map_is_the_average_over_the_time_around_its_middle(run, half: float, data) -> None:
    """Against a count of moments: each within reach has the samples whose period it lies in."""
    start = data.draw(st.sampled_from(run))[0] - data.draw(st.floats(0.01, 0.5))
    end = start + data.draw(st.floats(0.51, 2.0))  # so the sample lies in the map
    reach = max(half, (end - start) / 2)
    moments = (start + end) / 2 + np.linspace(-reach, reach, 40_001)
    weights = np.array([(abs(moments - at) <= 0.5 / RATE).mean() for at, _ in run])
    masks = np.stack([mask for _, mask in run]).astype(np.float64)
    np.testing.assert_allclose(around(half, run, start, end), of_logs(masks, weights), atol=2e-3)


@given(mask=plane, count=st.integers(1, 9), half=half_widths)
def test_what_does_not_change_is_not_changed(mask, count: int, half: float) -> None:
    run = [(i / RATE, mask) for i in range(count)]
    np.testing.assert_allclose(around(half, run, -0.5 / RATE, 0.5 / RATE), mask, rtol=1e-6, atol=1e-12)


@given(run=timed, half=half_widths)
def test_reversed_samples_give_reversed_maps(run, half: float) -> None:
    start, end = run[0][0] - 0.1, run[0][0] + 0.3
    back = [(-at, mask) for at, mask in reversed(run)]
    np.testing.assert_allclose(around(half, run, start, end), around(half, back, -end, -start), atol=1e-5)


@given(run=timed, half=half_widths)
def test_a_smooth_map_keeps_the_mean_of_its_samples_where_it_is_not_cut(run, half: float) -> None:
    dim = [(at, mask / np.float32(50)) for at, mask in run]
    means = [mask.astype(np.float64).mean() for _, mask in dim]
    assert min(means) - 1e-7 <= around(half, dim, run[0][0] - 0.1, run[0][0] + 0.3).mean() <= max(means) + 1e-7


@pytest.mark.parametrize(
    ("half", "weights"), [(1 / 3, (0.25, 0.5, 0.25)), (0.5, (1 / 3, 1 / 3, 1 / 3)), (1 / 6, (0.0, 1.0, 0.0))]
)
def test_a_third_of_a_second_weighs_the_neighbours_half_as_much(half: float, weights) -> None:
    for index, weight in enumerate(weights):
        masks = [np.full((1, 2), 0.4 if i == index else 0.2, np.float32) for i in range(3)]
        mask = around(half, [(i / RATE, m) for i, m in enumerate(masks)], 0.5 / RATE, 1.5 / RATE)
        assert mask.mean() == pytest.approx(0.2 + 0.2 * weight)  # even masks: their mean is that of their weights


def test_a_map_reaches_over_all_its_frames_however_narrow_the_window() -> None:
    run = [(0.1, np.full((1, 1), 0.2, np.float32)), (1.9, np.full((1, 1), 0.6, np.float32))]
    assert around(0.05, run, 0.0, 2.0)[0, 0] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="no frame"):
        around(0.05, run, 0.9, 1.1)
