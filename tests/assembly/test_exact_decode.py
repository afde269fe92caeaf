"""The loop filter that scans skip changes maps a little; it must not change shots, and no codec without the option."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.exact_decode import maps
from vsal.saliency.registry import load_model
from vsal.saliency.session import SaliencySession
from vsal.video.synthetic import render_title, synthetic_title

CODECS = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


@pytest.fixture(scope="module")
def session() -> SaliencySession:
    return SaliencySession(load_model().data)


@pytest.mark.parametrize("codec", CODECS)
def test_maps_stay_close_to_those_of_a_full_decode(codec: str, session: SaliencySession, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    render_title(
        str(path), synthetic_title(480, 272, 24, 3, 6, seed=2), codec=codec, options=CODECS[codec], gop=48,
        bit_rate=400_000,
    )  # fmt: skip
    (full, _), (fast, _) = maps(path, session, exact=True), maps(path, session, exact=False)
    assert [(row.shot, row.frame_start, row.frame_end) for row in full] == [
        (row.shot, row.frame_start, row.frame_end) for row in fast
    ]
    change = np.stack([a.saliency.astype(int) - b.saliency for a, b in zip(full, fast, strict=True)])
    if codec == "libvpx-vp9":
        assert not change.any()
    else:
        assert change.any(), "the loop filter ran, or was skipped, both times"
        assert np.abs(change).mean() < 2.0
