"""Models with a memory, fed chunk by chunk: as if each shot had been given to them whole."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assembly.test_title import TIME_BASE, Title, make_title, sampled
from tests.saliency import foreign_graphs as theirs
from tests.saliency.conftest import build_step
from vsal.assembly.ordered import OrderedChunks
from vsal.saliency import SaliencySession
from vsal.saliency.foreign import Interface, wrap
from vsal.saliency.ordered import run_in_order
from vsal.video.clock import SampleClock
from vsal.video.scan import Chunk, SegmentEnd
from vsal.video.shots import AdaptiveCuts, ContentCuts, CutDecider

H, W = 16, 32
MODELS = {
    "recurrent": wrap(theirs.unisal(H, W, (4, 8)), Interface("recurrent", output="log-density")),
    "its own mask": build_step(),
    "clip, last": wrap(theirs.clip_model(5, H, W), Interface("clip")),
    "clip, centre": wrap(theirs.clip_model(6, H, W), Interface("clip", mask_of="centre")),
    "scan": wrap(theirs.selective_scan(8, H, W), Interface("clip")),
}
SESSIONS = {name: SaliencySession(data) for name, data in MODELS.items()}


def pictures(title: Title) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(title.frames)
    return rng.integers(0, 256, (title.frames, H, W, 3), np.uint8), rng.integers(0, 256, (title.frames, H, W), np.uint8)


def chunks(title: Title, lengths: list[int], rate: float) -> list[Chunk]:
    """What a scan of the title in one piece yields, with chunks of these lengths, over and over."""
    picked = sampled(title, SampleClock(rate, TIME_BASE, 0), 0, title.frames)
    shown, moved = pictures(title)
    made: list[Chunk] = []
    first, size = 0, None
    while first < title.frames:
        end = min(title.frames, first + lengths[len(made) % len(lengths)])
        samples = np.array([f for f in picked if first <= f < end], np.int64)
        sizes = []
        for frame in range(first, end):
            if title.size(frame) != size:
                size = title.size(frame)
                sizes.append((frame, *size))
        score = title.score[first:end].copy()
        score[: first == 0] = np.nan
        made.append(
            Chunk(
                seq=len(made), segment=0, first=first, pts=title.pts[first:end].astype(np.int64), score=score,
                motion=title.motion[first:end], sizes=sizes, samples=samples, frames=shown[samples],
                motion_maps=moved[samples], sample_motion=title.motion[samples], tiny=None,
                end=SegmentEnd(title.frames, 0, b"", None, 40, False, 1) if end == title.frames else None,
            )
        )  # fmt: skip
        first = end
    return made


def in_pieces(
    session: SaliencySession, title: Title, lengths: list[int], rate: float, cuts: CutDecider
) -> tuple[dict[int, np.ndarray], int]:
    """The mask of each sample, and the most pictures that were held at a time."""
    ordered = OrderedChunks(session.input, cuts, SampleClock(rate, TIME_BASE, 0))
    masks: dict[int, np.ndarray] = {}
    seqs, memory, most = [], None, 0
    for chunk in chunks(title, lengths, rate):
        for ready, run in ordered.add(chunk):
            seqs.append(ready.seq)
            if run is not None:
                found, memory = run_in_order(session, run, memory)
                masks |= dict(zip(ready.samples.tolist(), found, strict=True))
        most = max(most, len(ordered._held))
    assert seqs == list(range(len(seqs)))
    return masks, most


def shot_by_shot(session: SaliencySession, title: Title, rate: float, cuts: CutDecider) -> dict[int, np.ndarray]:
    cuts.push(title.score, SampleClock(rate, TIME_BASE, 0).seconds_of(title.pts), None)
    sizes = [f for f in range(1, title.frames) if title.size(f) != title.size(f - 1)]
    bounds = sorted({0, title.frames, *sizes, *cuts.take_final(), *cuts.close()})
    picked = sampled(title, SampleClock(rate, TIME_BASE, 0), 0, title.frames)
    shown, moved = pictures(title)
    masks: dict[int, np.ndarray] = {}
    for start, end in pairwise(bounds):
        shot = [f for f in picked if start <= f < end]
        found = session.run_sequence(shown[shot], moved[shot]).saliency if shot else []
        masks |= dict(zip(shot, found, strict=True))
    return masks


@pytest.mark.parametrize("decider", [AdaptiveCuts, ContentCuts])
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_chunks_give_the_masks_of_whole_shots(name: str, decider: Callable[[], CutDecider], data) -> None:
    frames = data.draw(st.integers(1, 120))
    resized_at = data.draw(st.none() | st.integers(1, 120))
    title = make_title(frames, data.draw(st.integers(0, 99)), data.draw(st.booleans()), resized_at)
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    rate = data.draw(st.sampled_from([3.0, 12.0, 25.0]))
    masks, _ = in_pieces(SESSIONS[name], title, lengths, rate, decider())
    expected = shot_by_shot(SESSIONS[name], title, rate, decider())
    assert list(masks) == list(expected)
    for frame, mask in expected.items():
        np.testing.assert_allclose(masks[frame], mask, atol=1e-6, err_msg=f"frame {frame}")


@pytest.mark.parametrize("name", MODELS)
def test_a_shot_without_end_is_not_held(name: str) -> None:
    title = make_title(1500, 1)
    title.score[:] = 1.0
    masks, most = in_pieces(SESSIONS[name], title, [16], 25.0, AdaptiveCuts())
    assert len(masks) == 1500
    assert most <= 16 + 2 * (SESSIONS[name].input.batch or 1) + 3


@pytest.mark.parametrize("lengths", [[1000], [1], [7, 3]])
def test_a_sample_is_told_how_long_ago_the_one_before_was_whatever_the_chunks(lengths: list[int]) -> None:
    title = make_title(150, 3, vfr=True)
    title.score[:] = 0.5
    title.score[70] = 70.0
    ordered = OrderedChunks(SESSIONS["its own mask"].input, ContentCuts(), SampleClock(3.0, TIME_BASE, 0))
    told: dict[int, float] = {}
    for chunk in chunks(title, lengths, 3.0):
        for ready, run in ordered.add(chunk):
            if run is not None:
                told |= dict(zip(ready.samples.tolist(), run.elapsed_s.tolist(), strict=True))
    samples = sampled(title, SampleClock(3.0, TIME_BASE, 0), 0, title.frames)
    assert list(told) == samples
    first_behind_the_cut = next(f for f in samples if f >= 70)
    for before, now in pairwise(samples):
        apart_s = (title.pts[now] - title.pts[before]) * float(TIME_BASE)
        assert told[now] == pytest.approx(0.0 if now == first_behind_the_cut else apart_s, abs=1e-5)
    assert told[samples[0]] == 0
