from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsal.evaluate.saliency.groups import group_means, interval, sign_flip


def test_like_clips_count_as_one_draw() -> None:
    """Ten clips of one scene say less than ten of ten scenes."""
    values = np.concatenate([np.full(10, 1.0), [0.0, 0.2]])
    alone = interval(values, [str(i) for i in range(12)])
    alike = interval(values, ["scene"] * 10 + ["b", "c"])
    assert alike[1] - alike[0] > 1.5 * (alone[1] - alone[0])
    assert alike[0] <= values.mean() <= alike[1]
    assert interval(values, ["scene"] * 10 + ["b", "c"]) == alike  # no dice of its own


def test_the_sign_flip_test_is_the_exact_one() -> None:
    differences = np.array([0.3, 0.1, 0.4, -0.2, 0.05])
    groups = ["a", "a", "b", "c", "d"]
    sums = [0.4, 0.4, -0.2, 0.05]
    flips = [abs(sum(s * v for s, v in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=4)]
    assert sign_flip(differences, groups) == pytest.approx(np.mean([f >= abs(sum(sums)) - 1e-9 for f in flips]))
    assert sign_flip(np.ones(9), [str(i) for i in range(9)]) == pytest.approx(2 / 512)
    assert sign_flip(np.ones(9), ["one"] * 9) == 1.0  # a single group proves nothing


def test_more_groups_than_can_be_enumerated() -> None:
    rng = np.random.default_rng(1)
    assert sign_flip(rng.normal(1, 0.2, 40), [str(i) for i in range(40)]) < 0.001
    assert sign_flip(rng.normal(0, 1, 40), [str(i) for i in range(40)]) > 0.05


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_the_sign_of_all_differences_does_not_matter(values: list[float]) -> None:
    groups = [str(i) for i in range(len(values))]
    assert sign_flip(np.array(values), groups) == pytest.approx(sign_flip(-np.array(values), groups))


def test_means_of_groups() -> None:
    assert group_means(np.array([1.0, 3.0, 5.0]), ["b", "b", "a"]) == {"b": 2.0, "a": 5.0}
