"""A map is a density of looks: one scale for all, so that maps average over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vsal.saliency.density import CLIP_AT, saliency_of

DENSITIES = arrays(np.float64, (6, 8), elements=st.floats(0.05, 1.0))  # at most 14 times their mean: none is cut


@given(DENSITIES, st.floats(1e-6, 1e6))
def test_the_scale_of_a_density_does_not_matter(density: np.ndarray, scale: float) -> None:
    np.testing.assert_allclose(saliency_of(density * scale), saliency_of(density), rtol=1e-5)


@given(DENSITIES, DENSITIES)
def test_the_map_of_a_mean_of_densities_is_the_mean_of_their_maps(a: np.ndarray, b: np.ndarray) -> None:
    a, b = a / a.mean(), b / b.mean()
    np.testing.assert_allclose(saliency_of((a + b) / 2), (saliency_of(a) + saliency_of(b)) / 2, rtol=1e-5)


def test_a_flat_picture_is_low_everywhere_and_a_single_place_is_not_stretched_beyond_one() -> None:
    assert np.allclose(saliency_of(np.full((20, 30), 7.0)), 1 / CLIP_AT)
    peaked = np.zeros((20, 30))
    peaked[10, 15] = 5
    assert saliency_of(peaked).max() == 1
    assert not saliency_of(0 * peaked).any()


def test_pictures_of_a_stack_are_scaled_each_by_its_own_mean() -> None:
    one, other = np.random.default_rng(0).random((2, 6, 8))
    np.testing.assert_allclose(saliency_of(np.stack([one, 9 * other]))[1], saliency_of(other), rtol=1e-6)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_what_is_no_density_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="exponentiate"):
        saliency_of(np.array([[1.0, wrong]]))
