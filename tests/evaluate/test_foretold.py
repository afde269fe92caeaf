from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.foretold import difference, rank_correlation
from vsal.evaluate.saliency.foretold import foretell


def test_of_two_blocks_by_hand() -> None:
    offsets = [np.array([[-3, 3]], np.int8)]
    found = foretell(offsets, np.array([[[1.0, 0.0]]]))
    assert found.qp_gain == pytest.approx(3.0)
    bits = (2**0.5 + 2**-0.5) / 2
    assert found.rate == pytest.approx(bits * math.sqrt(0.5) - 1)
    error = (1.0 * 0.5 + 0.1 * 2) / 1.1
    assert found.rate_even == pytest.approx(bits * math.sqrt(error) - 1)


@given(st.integers(-6, 6))
def test_the_same_offset_everywhere_gives_nothing(offset: int) -> None:
    found = foretell([np.full((3, 4), offset)], np.random.default_rng(0).random((1, 3, 4)))
    assert found.qp_gain == pytest.approx(0, abs=1e-9)
    assert found.rate == pytest.approx(0, abs=1e-9)
    assert found.rate_even == pytest.approx(0, abs=1e-9)


def test_offsets_on_the_wrong_side_cost() -> None:
    density = np.zeros((1, 4, 4))
    density[0, 0, 0] = 1.0
    there, elsewhere = np.full((4, 4), 1), np.full((4, 4), 1)
    there[0, 0] = elsewhere[3, 3] = -6
    assert foretell([there], density).rate < -0.2
    assert foretell([elsewhere], density).rate > 0.05
    assert foretell([elsewhere], density).qp_gain < 0


def test_moments_without_a_look_do_not_count() -> None:
    density = np.zeros((2, 1, 2))
    density[0, 0, 0] = 5.0
    one, two = np.array([[-3, 3]]), np.array([[6, -6]])
    assert foretell([one, two], density) == foretell([one], density[:1])
    assert math.isnan(foretell([one], density[1:]).rate)


def test_curves_that_cannot_be_compared_are_refused() -> None:
    curve = [(1000.0 * 2**i, 30.0 + 3 * i) for i in range(4)]
    assert difference(curve, [(0.9 * size, psnr) for size, psnr in curve]) == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="does not rise"):
        difference(curve, [*curve[:3], (9000.0, 31.0)])
    with pytest.raises(ValueError, match="overlap by"):
        difference(curve, [(size, psnr + 6) for size, psnr in curve])


def test_ranks_not_values_are_correlated() -> None:
    assert rank_correlation([1, 2, 3, 4], [-9, -1, 0, 500]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
