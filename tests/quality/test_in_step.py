"""An encode's frames are found by the source's times, however a container rounds them and however fast they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsal.errors import TitleFailed
from vsal.quality.decoded import Decoded, decoded_from, in_step, mismatches
from vsal.video.probe import probe

BASE = Fraction(1, 90_000)


def source_of(times: Sequence[int]) -> Iterator[av.VideoFrame]:
    for pts in times:
        frame = av.VideoFrame(16, 16, "gray")
        frame.pts, frame.time_base = pts, BASE
        yield frame


def encode_of(times_s: Sequence[float]) -> Iterator[Decoded]:
    return (Decoded(time_s, False, av.VideoFrame(16, 16, "gray"), None) for time_s in times_s)


def steps() -> st.SearchStrategy[list[int]]:
    """Ticks between frames: from 360 frames a second to 2."""
    return st.lists(st.integers(250, 45_000), min_size=1, max_size=40)


@given(steps(), st.integers(-(10**6), 10**9), st.floats(-5.0, 5.0), st.data())
def test_rounding_to_a_millisecond_moves_no_frame(
    durations: list[int], begin: int, shift_s: float, data: st.DataObject
) -> None:
    times = [begin, *(begin + total for total in accumulate(durations))]
    rounded = [round(float(pts * BASE) + shift_s, 3) for pts in times]
    lost = data.draw(st.sets(st.integers(0, len(times) - 1), max_size=3))
    shown = list(encode_of([time_s for number, time_s in enumerate(rounded) if number not in lost]))
    pairs = list(in_step(source_of(times), iter(shown), shift_s))
    assert [pair.source.pts for pair in pairs] == times
    kept = iter(shown)
    for number, pair in enumerate(pairs):
        if number in lost:
            assert pair.encoded is None, "a dropped frame's place was given to another"
        else:
            assert pair.encoded is next(kept), "out of step"


def test_of_two_frames_in_one_place_the_nearer_counts_and_those_before_are_passed_over() -> None:
    pairs = list(in_step(source_of([9000, 12600]), encode_of([0.0, 0.02, 0.091, 0.102, 0.139, 0.3])))
    assert [pair.encoded and pair.encoded.time_s for pair in pairs] == [0.102, 0.139]


def write(path: Path, times: Sequence[int], size: tuple[int, int] = (64, 48), fps: int = 25) -> Path:
    """A clip whose frames say by their gray which they are."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=fps, options={"crf": "1", "g": "9", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = BASE
        for number, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1] * 3 // 2, size[0]), 20 + 4 * number, np.uint8), "yuv420p"
            )
            frame.pts, frame.time_base = pts, BASE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_from_any_frame_of_a_fast_stretch_on_the_encode_is_in_step(tmp_path: Path, ending: str) -> None:
    slow, fast = [i * 9000 for i in range(12)], [108_000 + i * 375 for i in range(30)]  # 10 and 240 frames a second
    times = slow + fast
    clip = write(tmp_path / f"clip.{ending}", times)
    for start in (0, 5, 12, 13, 40):
        found = decoded_from(str(clip), float(times[start] * BASE) - 0.01)
        pairs = list(in_step(source_of(times[start:]), found))
        grays = [int(p.encoded.frame.to_ndarray()[8, 8]) for p in pairs if p.encoded is not None]
        assert grays == pytest.approx([20 + 4 * n for n in range(start, len(times))], abs=1)


def test_mismatches_are_named_with_their_numbers(tmp_path: Path) -> None:
    one = probe(str(write(tmp_path / "one.mp4", [i * 3600 for i in range(10)])))
    assert mismatches(one, one) == ()
    other = probe(str(write(tmp_path / "other.mp4", [i * 3000 for i in range(10)], (32, 48), 30)))
    found = {odd.kind: odd.detail for odd in mismatches(one, replace(other, color_range=2))}
    assert "64x48" in found["size"]
    assert "32x48" in found["size"]
    assert "25.000" in found["rate"]
    assert "30.000" in found["rate"]
    assert "limited range" in found["range"]
    assert "full" in found["range"]


def test_what_is_no_video_fails_as_a_title_does(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    path.write_text("no video")
    with pytest.raises(TitleFailed):
        next(decoded_from(str(path)))
