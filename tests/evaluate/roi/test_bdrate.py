from __future__ import annotations

import bjontegaard
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsal.evaluate.roi.bdrate import bd_rate

CURVE = [(1000.0 * 2**i, 30.0 + 3 * i - 0.1 * i * i) for i in range(6)]
STEPS = st.lists(st.tuples(st.floats(0.2, 1.0), st.floats(0.8, 4.0)), min_size=4, max_size=8)


def curve_of(steps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    size, quality, found = 9.0, 28.0, []
    for growth, better in steps:
        size, quality = size + growth, quality + better
        found.append((float(np.exp(size)), quality))
    return found


@given(STEPS, STEPS)
def test_as_the_bjontegaard_package_has_it(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> None:
    reference, tested = curve_of(one), curve_of(other)
    found = bd_rate(reference, tested, least_overlap=0.05)
    if found.akima is None or found.pchip is None:
        return
    sides = [part for curve in (reference, tested) for part in zip(*curve, strict=True)]
    for method, value in (("akima", found.akima), ("pchip", found.pchip)):
        theirs = bjontegaard.bd_rate(*sides, method=method, require_matching_points=False, min_overlap=0)
        assert 100 * value == pytest.approx(theirs, abs=1e-6, rel=1e-6)


def test_a_distance_that_is_known() -> None:
    assert bd_rate(CURVE, CURVE).akima == pytest.approx(0)
    assert bd_rate(CURVE, [(0.9 * size, quality) for size, quality in CURVE]).akima == pytest.approx(-0.1)
    assert bd_rate([(0.8 * size, quality) for size, quality in CURVE], CURVE).pchip == pytest.approx(0.25)


@given(STEPS, st.floats(0.5, 2.0))
def test_it_does_not_depend_on_units_or_order(steps: list[tuple[float, float]], factor: float) -> None:
    curve = curve_of(steps)
    other = [(size * factor, quality + 0.05) for size, quality in curve]
    found = bd_rate(curve, other).akima
    kilobits = bd_rate([(s / 125, q) for s, q in reversed(curve)], [(s / 125, q) for s, q in reversed(other)]).akima
    assert found is not None
    assert found == pytest.approx(kilobits)


@pytest.mark.parametrize(
    ("tested", "reason"),
    [
        (CURVE[:3], "has 3 points, and a curve needs 4"),
        ([*CURVE[:5], (40_000.0, 31.0)], "does not rise"),
        ([(size, quality + 8) for size, quality in CURVE], "the curves overlap by"),
        ([*CURVE[:5], (40_000.0, float("inf"))], "without a figure"),
    ],
)
def test_what_is_no_curve_gets_a_reason_and_no_figure(tested: list[tuple[float, float]], reason: str) -> None:
    found = bd_rate(CURVE, tested)
    assert found.akima is None
    assert found.pchip is None
    assert reason in found.refused


def test_a_warning_where_the_interpolations_part() -> None:
    uneven = [(1000.0, 30.0), (1050.0, 34.0), (8000.0, 34.5), (9000.0, 40.0), (64000.0, 40.5)]
    even = [(1000.0 * 1.8**i, 30.0 + 1.5 * i) for i in range(8)]
    assert "PCHIP" in bd_rate(even, uneven).warning
    assert not bd_rate(CURVE, CURVE).warning
