"""Decoding times that a muxer takes, for any reordering an encoder may use."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsal.encode.mux.join import _decode_times


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_decoding_times_rise_and_never_pass_display_times(gaps: list[int], depth: int, seed: int) -> None:
    rising = np.cumsum(np.array(gaps, dtype=np.int64))
    random = np.random.default_rng(seed)
    groups = np.array_split(np.arange(len(rising)), max(1, len(rising) // depth))
    pts = np.concatenate([rising[random.permutation(group)] for group in groups])
    dts = _decode_times(pts, rising)
    assert len(dts) == len(pts)
    assert (dts <= pts).all()
    assert (np.diff(dts) > 0).all()


def test_without_reordering_frames_are_decoded_when_they_are_shown() -> None:
    rising = np.array([5, 9, 20], dtype=np.int64)
    assert np.array_equal(_decode_times(rising, rising), rising)
