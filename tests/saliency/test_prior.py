from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from vsal.saliency.prior import FIXED_PRIOR, FixedPrior, fit_prior


def test_a_density_has_the_mean_one_whatever_the_shape() -> None:
    for height, width in ((9, 16), (72, 128), (40, 20), (1, 1)):
        density = FIXED_PRIOR.density(height, width)
        assert density.shape == (height, width)
        assert density.mean() == pytest.approx(1.0, abs=1e-5)
        assert density.min() > 0.1


def test_the_fit_finds_what_the_looks_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    looks = rng.normal((0.45, 0.6), (0.1, 0.2), (6000, 2))
    anywhere = rng.random((2000, 2))
    points = np.concatenate([looks[((looks >= 0) & (looks < 1)).all(axis=1)], anywhere])
    found = fit_prior(np.array_split(rng.permutation(points), 40), "drawn")
    np.testing.assert_allclose(found.centre, (0.45, 0.6), atol=0.02)
    np.testing.assert_allclose(found.sigma, (0.1, 0.2), atol=0.03)
    assert found.uniform == pytest.approx(0.27, abs=0.04)


def test_a_picture_with_many_looks_counts_no_more_than_another() -> None:
    left, right = np.full((10, 2), 0.3), np.full((1000, 2), 0.7)
    jitter = np.random.default_rng(0).normal(0, 0.02, (1000, 2))
    found = fit_prior([left + jitter[:10], right + jitter], "two", rounds=5)
    assert found.centre[0] == pytest.approx(0.5, abs=0.02)


def test_no_look_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="none inside"):
        fit_prior([np.array([[1.5, 0.5]])], "nothing")


def test_the_constant_is_the_fit_on_the_training_stills(shared_data: object) -> None:
    stills = [shared_data / "osie" / "osie.parquet", *sorted((shared_data / "gaze_stills").glob("*.parquet"))]  # type: ignore[operator]
    looks = [
        np.array([row["fixation_x"], row["fixation_y"]]).T
        for file in stills
        for row in pq.read_table(file, columns=["fixation_x", "fixation_y"]).to_pylist()
        if row["fixation_x"]
    ]
    found: FixedPrior = fit_prior(looks, FIXED_PRIOR.source)
    np.testing.assert_allclose(
        (*found.centre, *found.sigma, found.uniform),
        (*FIXED_PRIOR.centre, *FIXED_PRIOR.sigma, FIXED_PRIOR.uniform),
        atol=1e-3,
    )
    assert len(looks) == 1366
