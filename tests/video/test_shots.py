from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from vsal.video.shots import AdaptiveCuts, ContentCuts, CutDecider, TransNetCuts

RATES = [Fraction(10), Fraction(24), Fraction(24000, 1001), Fraction(25), Fraction(30), Fraction(60)]
# Scores as video has them: mostly small, some on the thresholds themselves, runs of stillness.
SCORE = st.one_of(
    st.floats(0, 4), st.floats(10, 200), st.sampled_from([0.0, 5.0, 15.0, 27.0, 45.0, 14.999999, 26.999999])
)
RUNS = st.lists(st.tuples(SCORE, st.integers(1, 30)), min_size=1, max_size=12)
SERIES = st.one_of(
    st.lists(SCORE, min_size=1, max_size=160),
    RUNS.map(lambda runs: [score for score, length in runs for _ in range(length)]),
    # Quiet with single frames above the threshold: what the merging of flashes turns on.
    st.lists(st.integers(1, 40), min_size=1, max_size=12).map(
        lambda gaps: [s for gap in gaps for s in [*[1.0] * (gap - 1), 60.0]] + [1.0] * 30
    ),
)


def at(number: int, fps: Fraction) -> FrameTimecode:
    """A frame's time as PySceneDetect's backends give it, from pts; made from a frame number, lengths get rounded."""
    return FrameTimecode(Timecode(number, 1 / fps), float(fps))


def theirs(kind: type, scores: list[float], fps: Fraction, min_shot_s: float) -> list[int]:
    """Cuts of PySceneDetect's detector when its frame scores are these."""
    numbers = {at(number, fps).seconds: number for number in range(len(scores))}

    class Told(kind):
        def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: object) -> float:
            return scores[numbers[timecode.seconds]]

    detector = Told(min_scene_len=min_shot_s)
    cuts = []
    for number in range(len(scores)):
        cuts += detector.process_frame(at(number, fps), np.zeros(0))
    cuts += detector.post_process(at(len(scores) - 1, fps))
    return [numbers[cut.seconds] for cut in cuts]


def ours(decider: CutDecider, scores: list[float], fps: Fraction, pieces: list[int]) -> list[int]:
    """Cuts of a decider that is pushed pieces of the series; checks that what it calls final stays so."""
    series, times = np.array(scores), np.arange(len(scores)) / float(fps)
    cuts: list[int] = []
    final_before = done = 0
    for size in [*pieces, len(scores)]:
        decider.push(series[done : done + size], times[done : done + size])
        done += size
        new = decider.take_final()
        assert all(cut >= final_before for cut in new), "a cut appeared where everything had been declared final"
        assert decider.final_before >= final_before
        final_before = decider.final_before
        cuts += new
    last = decider.close()
    assert all(cut >= final_before for cut in last)
    return cuts + last


@settings(max_examples=300, deadline=None)
@given(SERIES, st.sampled_from(RATES), st.sampled_from([0.0, 0.2, 0.6, 1.0]), st.lists(st.integers(0, 20), max_size=12))
def test_adaptive_rule_is_pyscenedetects(scores: list[float], fps: Fraction, min_s: float, pieces: list[int]) -> None:
    assert ours(AdaptiveCuts(min_shot_s=min_s), scores, fps, pieces) == theirs(AdaptiveDetector, scores, fps, min_s)


@settings(max_examples=300, deadline=None)
@given(SERIES, st.sampled_from(RATES), st.sampled_from([0.0, 0.2, 0.6, 1.0]), st.lists(st.integers(0, 20), max_size=12))
def test_content_rule_is_pyscenedetects(scores: list[float], fps: Fraction, min_s: float, pieces: list[int]) -> None:
    assert ours(ContentCuts(min_shot_s=min_s), scores, fps, pieces) == theirs(ContentDetector, scores, fps, min_s)


def test_minimum_length_is_met_exactly_at_25_frames_a_second() -> None:
    # 15 frames are 0.6 s; as floats 5.0 s - 4.4 s is less, and the second cut would be lost.
    scores = [1.0] * 140
    scores[110] = scores[125] = 100.0
    assert ours(AdaptiveCuts(), scores, Fraction(25), []) == [110, 125]


@pytest.mark.parametrize("make", [AdaptiveCuts, ContentCuts])
def test_memory_stays_bounded_under_endless_flashing(make: type) -> None:
    decider = make()
    for second in range(200):
        decider.push(np.tile([1.0, 90.0], 12), second + np.arange(24) / 24)
        decider.take_final()
        assert decider.final_before >= (second - 2) * 24
    held = sum(getattr(value, "size", 0) for value in vars(decider).values())
    assert held < 50


def predicting(cuts: set[int]) -> tuple[list[np.ndarray], object]:
    """A stand-in for TransNetV2: a frame whose picture holds a 1 ends a shot."""
    seen: list[np.ndarray] = []

    def predict(windows: np.ndarray) -> np.ndarray:
        assert windows.shape == (1, 100, 27, 48, 3)
        assert windows.dtype == np.uint8
        seen.append(windows[0, :, 0, 0, 1].copy())
        return np.where(windows[:, :, 0, 0, 0] == 1, 4.0, -4.0)[..., None]

    return seen, predict


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 260), st.sets(st.integers(0, 259), max_size=8), st.lists(st.integers(0, 90), max_size=6))
def test_transnet_cuts_follow_transitions_however_frames_arrive(n: int, ends: set[int], pieces: list[int]) -> None:
    pictures = np.zeros((n, 27, 48, 3), np.uint8)
    for end in ends:
        if end < n:
            pictures[end, :, :, 0] = 1
    pictures[:, :, :, 1] = np.arange(n, dtype=np.uint8)[:, None, None]
    seen, predict = predicting(ends)
    decider = TransNetCuts(predict)
    cuts: list[int] = []
    at = 0
    for size in [*pieces, n]:
        piece = pictures[at : at + size]
        decider.push(np.zeros(len(piece)), np.zeros(len(piece)), piece)
        at += size
        new = decider.take_final()
        assert all(cut <= decider.final_before for cut in new)
        cuts += new
    cuts += decider.close()
    inside = {e for e in ends if e < n}
    assert cuts == sorted(e + 1 for e in inside if e + 1 not in inside and e + 1 < n)
    # As published: 25 copies of the first frame ahead, then windows every 50 frames.
    assert (seen[0][:25] == seen[0][25]).all()
    for i, window in enumerate(seen):
        assert window[25] == (50 * i) % 256


def test_transnet_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="tiny=True"):
        TransNetCuts(lambda w: w).push(np.zeros(1), np.zeros(1))
