"""Results that move do so under a raised version: else what is prepared would pass for what it no longer is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden.cases import MADE_UP, Arrays, cases, kept
from vsal.manifest.fingerprints import ALGORITHMS
from vsal.roi.levels import LEVEL_STEP

Cases = dict[str, tuple[dict[str, int], Arrays]]
# Other processors add up in another order: some blocks may come out a level further.
MAY_DIFFER = 0.005
RAISE = "raise its version in vsal/manifest/fingerprints.py, then `python -m tests.golden.cases`"


@pytest.fixture(scope="module")
def now() -> Cases:
    return cases()


def test_every_algorithm_has_a_case(now: Cases) -> None:
    assert {stage for used, _ in now.values() for stage in used} == set(ALGORITHMS)
    assert set(now) == set(kept())


@pytest.mark.parametrize("case", ["filmed", "transnetv2", *MADE_UP])
def test_results_move_under_a_raised_version_alone(case: str, now: Cases) -> None:
    (versions, made), (before, golden) = now[case], kept()[case]
    if versions != before:
        pytest.fail(f"{case} was made by {before}, and these are {versions}: write it anew")
    for name, expected in golden.items():
        assert made[name].shape == expected.shape, f"{name} of {case} moves: {RAISE}"
        if name in ("facts", "cuts"):
            np.testing.assert_array_equal(made[name], expected, err_msg=f"{name} of {case} moves: {RAISE}")
        elif name == "motion":
            np.testing.assert_allclose(made[name], expected, rtol=1e-4, err_msg=f"{name} of {case} moves: {RAISE}")
        else:
            step = LEVEL_STEP if name == "saliency" else 1
            apart = np.abs(made[name].astype(int) - expected.astype(int))
            assert apart.max() <= step, f"{name} of {case} moves by {apart.max()}: {RAISE}"
            assert (apart > 0).mean() <= MAY_DIFFER, f"{(apart > 0).mean():.1%} of {name} of {case} move: {RAISE}"
