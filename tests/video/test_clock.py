from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vsal.video.clock import SampleClock

RATE = st.sampled_from([0.5, 1.0, 2.5, 3.0, 7.0, 24.0, 30.0])
BASE = st.sampled_from([Fraction(1, 24), Fraction(1001, 30000), Fraction(1, 90000), Fraction(1, 1000), Fraction(1, 7)])
START = st.integers(-5000, 10**9)


def title_pts(draw: st.DrawFn, base: Fraction, start: int) -> list[int]:
    gaps = draw(st.lists(st.integers(1, max(2, int(Fraction(1, 2) / base))), min_size=1, max_size=40))
    first = start + draw(st.integers(0, 3))
    return [first, *(first + int(s) for s in np.cumsum(gaps))]


@st.composite
def titles(draw: st.DrawFn) -> tuple[SampleClock, Fraction, Fraction, int, list[int]]:
    rate, base, start = draw(RATE), draw(BASE), draw(START)
    return SampleClock(rate, base, start), Fraction(rate), base, start, title_pts(draw, base, start)


def picked(clock: SampleClock, pts: list[int], first: bool = True) -> set[int]:
    """Frames that are samples when these are scanned in one go; `first` if the title begins with them."""
    chosen = {0} if first else set()
    for i, (a, b) in enumerate(pairwise(pts)):
        earlier, later = clock.pick(a, b)
        chosen |= ({i} if earlier else set()) | ({i + 1} if later else set())
    return chosen


@settings(max_examples=300, deadline=None)
@given(titles())
def test_samples_are_the_frames_nearest_to_the_grid(title: tuple) -> None:
    clock, rate, base, start, pts = title
    times = [(p - start) * base for p in pts]
    expected = {0}
    j = 0
    while Fraction(j) / rate <= times[-1]:
        point = Fraction(j) / rate
        if point > times[0]:
            expected.add(min(range(len(pts)), key=lambda i: (abs(times[i] - point), i)))
        j += 1
    assert picked(clock, pts) == expected


@settings(max_examples=200, deadline=None)
@given(titles(), st.integers(1, 39))
def test_a_cut_title_has_the_same_samples(title: tuple, at: int) -> None:
    # The segment before the join owns its frame `at`, and sees the frame after it to decide.
    clock, *_, pts = title
    at = min(at, len(pts) - 1)
    before = {i for i in picked(clock, pts[: at + 2]) if i <= at}
    after = {i + at for i in picked(clock, pts[at:], first=False) if i > 0}
    assert before | after == picked(clock, pts)


@settings(max_examples=200, deadline=None)
@given(titles(), st.integers(1, 9))
def test_spans_have_their_samples_in_the_middle(title: tuple, k: int) -> None:
    clock, rate, base, start, pts = title
    spans = clock.spans_of(np.array(pts), k)
    for p, span in zip(pts, spans, strict=True):
        assert span == clock.span_of(p, k)
        time = (p - start) * base
        assert (span * k - Fraction(1, 2)) / rate <= time < ((span + 1) * k - Fraction(1, 2)) / rate


def test_spans_of_huge_times_do_not_overflow() -> None:
    clock = SampleClock(29.97, Fraction(1001, 1_000_000_000), 0)
    pts = np.array([0, 2**50, 2**60], np.int64)
    assert list(clock.spans_of(pts, 3)) == [clock.span_of(int(p), 3) for p in pts]


def test_seconds_start_at_the_title() -> None:
    clock = SampleClock(3, Fraction(1, 90000), 900000)
    np.testing.assert_allclose(clock.seconds_of(np.array([900000, 990000])), [0, 1])
