"""Rows of a title from the chunks of its scan: the same however the title is cut up and in whatever order they come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsal.assembly import JoinBroken, TitleAssembly
from vsal.assembly.masks import TwoSided
from vsal.errors import TitleFailed
from vsal.manifest import MapRow
from vsal.roi.levels import LEVEL_STEP
from vsal.saliency import Masks
from vsal.settings import PrepareSettings
from vsal.video.clock import SampleClock
from vsal.video.orientation import UPRIGHT, Orientation
from vsal.video.probe import VideoInfo
from vsal.video.scan import Chunk, Past, SegmentEnd
from vsal.video.shots import AdaptiveCuts, ContentCuts

TIME_BASE = Fraction(1, 1000)


def info(orientation: Orientation = UPRIGHT) -> VideoInfo:
    return VideoInfo(
        uri="title.mp4", container="mp4", codec="h264", stream_index=0, width=64, height=40, pix_fmt="yuv420p",
        bit_depth=8, time_base=TIME_BASE, start_pts=0, duration_s=None, fps=Fraction(25), frames_estimate=None,
        orientation=orientation, sample_aspect_ratio=Fraction(1), color_trc=1, color_primaries=1, colorspace=1,
        color_range=1, interlaced=False, file_size=1,
    )  # fmt: skip


@dataclass
class Title:
    """A made-up title: what a decoder and a model would have found."""

    pts: np.ndarray
    score: np.ndarray
    motion: np.ndarray
    masks: np.ndarray  # of every frame
    resized_at: int | None = None

    @property
    def frames(self) -> int:
        return len(self.pts)

    def size(self, frame: int) -> tuple[int, int]:
        return (96, 32) if self.resized_at is not None and frame >= self.resized_at else (64, 40)


def make_title(frames: int, seed: int, vfr: bool = False, resized_at: int | None = None) -> Title:
    rng = np.random.default_rng(seed)
    steps = rng.integers(5, 400, frames) if vfr else np.full(frames, 40)
    score = rng.uniform(0, 4, frames)
    score[rng.random(frames) < 0.04] = 60.0
    score[0] = 0.0
    return Title(
        np.cumsum(steps) - steps[0], score, rng.uniform(0, 9, frames).astype(np.float32),
        rng.random((frames, 6, 8), np.float32), resized_at,
    )  # fmt: skip


def chunks_of(title: Title, starts: list[int], chunk_frames: int, rate: float) -> list[tuple[Chunk, np.ndarray | None]]:
    """What scans of the segments that begin at `starts` would yield."""
    clock = SampleClock(rate, TIME_BASE, 0)
    made = []
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], title.frames], strict=True)):
        last = end == title.frames
        picks = sampled(title, clock, start, end)
        firsts = list(range(start, end, chunk_frames))
        for seq, first in enumerate(firsts):
            stop = min(first + chunk_frames, end)
            closing = seq == len(firsts) - 1
            # A sample is known one frame later, so it may come with the chunk after its frame.
            mine = [
                f for f in picks if (first <= f + 1 < stop or (closing and f + 1 >= stop)) or (seq == 0 and f == start)
            ]
            mine = [f for f in mine if not (seq > 0 and f + 1 < first)]
            sizes = [
                (f - start, *title.size(f))
                for f in range(first, stop)
                if f == start or title.size(f) != title.size(f - 1)
            ]
            score, motion = title.score[first:stop].copy(), title.motion[first:stop].copy()
            if first == start:
                score[0], motion[0] = np.nan, 0.0
            digest = lambda frame: int(title.pts[frame]).to_bytes(8, "big")  # noqa: E731
            past = (
                None
                if last
                else Past(int(title.pts[end]), *map(float, (title.score[end], title.motion[end])), digest(end))
            )
            chunk = Chunk(
                seq=seq, segment=index, first=first - start, pts=title.pts[first:stop].astype(np.int64), score=score,
                motion=motion, sizes=sizes, samples=np.array([f - start for f in mine], np.int64),
                frames=np.empty((0, 0, 0, 3), np.uint8), motion_maps=None,
                sample_motion=np.array([title.motion[f] for f in mine], np.float32), tiny=None,
                end=SegmentEnd(
                    frames=end - start, decode_errors=1, first_digest=digest(start), past=past, last_duration_pts=40,
                    interlaced=False, keyframes=1,
                ) if closing else None,
            )  # fmt: skip
            made.append((chunk, title.masks[mine] if mine else None))
    return made


def sampled(title: Title, clock: SampleClock, start: int, end: int) -> list[int]:
    """Frames that the segment [start, end) samples; it sees the frame at `end` too."""
    picks: set[int] = {0} if start == 0 else set()
    for frame in range(start + 1, min(end + 1, title.frames)):
        before, after = clock.pick(int(title.pts[frame - 1]), int(title.pts[frame]))
        picks |= ({frame - 1} if before else set()) | ({frame} if after else set())
    return sorted(picks)


def inferred(masks: np.ndarray | None) -> Masks | None:
    """Masks as a video model gives them; the gate is something else that is known of each."""
    return None if masks is None else Masks(masks, 1 - masks[:, ::-1])


def rows_of(
    chunks, chosen: PrepareSettings, segments: int, decider=None, orientation: Orientation = UPRIGHT
) -> list[MapRow]:
    assembly = TitleAssembly("t", info(orientation), segments, chosen, decider or AdaptiveCuts())
    rows = []
    for chunk, masks in chunks:
        rows += assembly.add(chunk, inferred(masks))
    return [*rows, *assembly.close()]


def same(one: list[MapRow], other: list[MapRow]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for name in MapRow.__slots__:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def settings_of(draw_aggregator: str, interval, rate: float) -> PrepareSettings:
    return PrepareSettings(aggregator=draw_aggregator, map_interval=interval, sample_rate=rate)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_segments_in_any_order_give_the_rows_of_one_piece(data) -> None:
    frames = data.draw(st.integers(1, 160))
    title = make_title(
        frames, data.draw(st.integers(0, 99)), data.draw(st.booleans()), data.draw(st.none() | st.integers(1, 160))
    )
    rate = data.draw(st.sampled_from([3.0, 8.0, 0.7]))
    chosen = settings_of(
        data.draw(st.sampled_from(["mean", "ema", "max", "motion", "learned", "smooth"])),
        data.draw(st.sampled_from([0.8, 2.0, "shot"])),
        rate,
    ).model_copy(update={"smooth_s": data.draw(st.sampled_from([1 / 3, 1.0]))})
    cuts = data.draw(st.lists(st.integers(1, frames - 1), unique=True, max_size=6)) if frames > 1 else []
    starts = [0, *sorted(cuts)]
    pieces = chunks_of(title, starts, data.draw(st.integers(1, 40)), rate)
    pieces += data.draw(st.lists(st.sampled_from(pieces), max_size=4))  # redone after a retry
    one = rows_of(chunks_of(title, [0], 1000, rate), chosen, 1)
    same(one, rows_of(data.draw(st.permutations(pieces)), chosen, len(starts)))


@settings(deadline=None, max_examples=60)
@given(
    frames=st.integers(1, 200),
    seed=st.integers(0, 99),
    vfr=st.booleans(),
    interval=st.sampled_from([0.33, 1.0, "shot"]),
)
def test_every_frame_lies_in_exactly_one_map(frames: int, seed: int, vfr: bool, interval) -> None:
    title = make_title(frames, seed, vfr)
    rows = rows_of(chunks_of(title, [0], 50, 3.0), settings_of("ema", interval, 3.0), 1, ContentCuts())
    assert [row.frame_start for row in rows] == [0, *[row.frame_end for row in rows[:-1]]]
    assert rows[-1].frame_end == frames
    assert [row.map for row in rows] == list(range(len(rows)))
    assert all(0 <= b.shot - a.shot <= 1 for a, b in pairwise(rows))
    assert all(a.pts_end == b.pts_start for a, b in pairwise(rows))


def quiet(frames: int, cuts: tuple[int, ...] = ()) -> Title:
    title = make_title(frames, 0)
    title.score[:] = 0.5
    for cut in cuts:
        title.score[cut] = 70.0
    return title


def test_maps_are_a_third_of_a_second_and_end_at_cuts() -> None:
    rows = rows_of(chunks_of(quiet(100, (37,)), [0], 50, 3.0), PrepareSettings(), 1)
    assert 37 in [row.frame_start for row in rows]
    assert [row.shot for row in rows] == [0 if row.frame_start < 37 else 1 for row in rows]
    inner = [row.frame_end - row.frame_start for row in rows if row.frame_end < 37 or row.frame_start > 45][1:-1]
    assert set(inner) <= {8, 9}  # 25 frames a second in thirds
    assert all(row.samples == 1 for row in rows if row.frame_end - row.frame_start == 8)


def test_ema_runs_on_through_a_shot_and_stops_at_its_end() -> None:
    title = quiet(100, (50,))
    chosen = PrepareSettings(ema_alpha=0.25)
    title.masks[:50], title.masks[50:] = 0.0, 1.0
    title.masks[0] = 1.0  # the first sample: its weight fades from map to map
    rows = rows_of(chunks_of(title, [0], 50, 3.0), chosen, 1)
    first = [row.saliency.max() for row in rows if row.shot == 0 and row.samples]
    np.testing.assert_allclose(first, 255 * 0.75 ** np.arange(len(first)), atol=1)
    assert all((row.saliency == 255).all() for row in rows if row.shot == 1)


@pytest.mark.parametrize("rate", [1.0, 3.0, 5.0, 12.5])
def test_a_learned_memory_lasts_as_long_at_any_rate(rate: float) -> None:
    """A gate of 0.3 is what a new mask takes in a third of a second: after two seconds 0.7^6 of the old one is left."""
    title = quiet(150)
    title.masks[:] = 0.0
    title.masks[0] = 1.0
    chosen = settings_of("learned", 1 / rate, rate)
    assembly = TitleAssembly("t", info(), 1, chosen, ContentCuts())
    rows = []
    for chunk, masks in chunks_of(title, [0], 50, rate):
        gated = None if masks is None else Masks(masks, np.full_like(masks, 0.3))
        rows += assembly.add(chunk, gated)
    rows += assembly.close()
    two_s = next(row for row in rows if row.frame_start <= 50 < row.frame_end)
    assert two_s.saliency.mean() / 255 == pytest.approx(0.7**6, abs=0.01)


def test_mean_rests_on_the_samples_of_its_own_map() -> None:
    title = quiet(100)
    title.masks[:] = np.linspace(0, 1, 100, dtype=np.float32)[:, None, None]
    rows = rows_of(chunks_of(title, [0], 50, 3.0), PrepareSettings(aggregator="mean"), 1)
    middle = rows[5]
    frame = (middle.frame_start + middle.frame_end) / 2
    assert abs(float(middle.saliency.mean()) / 255 - frame / 99) < 0.03


def jumping(frames: int, at: int) -> Title:
    """A title whose subject is at the left, and from frame `at` on at the right."""
    title = quiet(frames)
    title.masks[:] = 0.0
    title.masks[:at, :, :2] = title.masks[at:, :, -2:] = 1.0
    return title


def test_smooth_leaves_half_of_the_ghost_behind_at_most_and_a_faint_one_before() -> None:
    title = jumping(100, 46)  # samples lie at 42 and 50
    left, right = {}, {}
    for name in ("ema", "smooth"):
        rows = rows_of(chunks_of(title, [0], 50, 3.0), settings_of(name, 0.33, 3.0), 1)
        left[name] = np.array([row.saliency[:, 0].mean() for row in rows if row.frame_start >= 46]) / 255
        right[name] = np.array([row.saliency[:, -1].mean() for row in rows if row.frame_start < 46]) / 255
    assert 0.3 < left["ema"][0] < 0.4
    assert 0 < left["smooth"].max() < left["ema"].max() / 2
    assert left["smooth"].sum() < left["ema"].sum() / 2
    assert not right["ema"].any()
    assert 0.01 < right["smooth"].max() < 0.1
    assert not right["smooth"][:-1].any()  # a third of a second before, and no earlier


def test_smooth_ends_at_cuts() -> None:
    title = quiet(100, (50,))
    title.masks[:50], title.masks[50:] = 0.0, 1.0
    rows = rows_of(chunks_of(title, [0], 50, 3.0), settings_of("smooth", 0.33, 3.0), 1)
    assert [row.saliency.mean() for row in rows] == [0.0 if row.shot == 0 else 255.0 for row in rows]


def test_a_title_backwards_has_the_smooth_maps_backwards() -> None:
    # Nine frames a sample, and a sample at either end: the clock is the same both ways.
    title = quiet(9 * 12 + 1)
    there, back = (
        rows_of(chunks_of(shown, [0], 30, 25 / 9), settings_of("smooth", 0.36, 25 / 9), 1)
        for shown in (title, replace(title, masks=title.masks[::-1]))
    )
    assert [row.frame_start for row in there] == [title.frames - row.frame_end for row in reversed(back)]
    for row, other in zip(there, reversed(back), strict=True):
        np.testing.assert_allclose(row.saliency.astype(int), other.saliency.astype(int), atol=LEVEL_STEP)


def test_smooth_maps_come_in_order_a_map_or_two_later() -> None:
    assemblies = [
        TitleAssembly("t", info(), 1, settings_of(name, 0.33, 3.0), ContentCuts()) for name in ("mean", "smooth")
    ]
    counts, late = [0, 0], []
    for chunk, masks in chunks_of(quiet(200), [0], 1, 3.0):
        for i, assembly in enumerate(assemblies):
            rows = assembly.add(chunk, inferred(masks))
            assert [row.map for row in rows] == list(range(counts[i], counts[i] + len(rows)))
            counts[i] += len(rows)
        late.append(counts[0] - counts[1])
    assert max(late) == 2
    assert late[-1] > 0
    assert len(list(assemblies[1].close())) + counts[1] == len(list(assemblies[0].close())) + counts[0]


def test_a_piece_without_a_sample_takes_the_nearest_of_its_shot() -> None:
    # Grid points at frames 0, 8.3, 16.7, 25; spans change at 4.2, 12.5, 20.8. A cut at 18 leaves [18, 21) without one.
    title = quiet(60, (18,))
    title.masks[:18], title.masks[18:] = 0.0, 1.0
    rows = rows_of(chunks_of(title, [0], 100, 3.0), PrepareSettings(), 1)
    orphan = next(row for row in rows if row.frame_start == 18)
    assert (orphan.frame_end, orphan.samples) == (21, 0)
    assert (orphan.saliency == 255).all()


def test_a_shot_nobody_sampled_moves_no_bits() -> None:
    title = quiet(21, (18,))
    rows = rows_of(chunks_of(title, [0], 100, 3.0), PrepareSettings(), 1)
    assert (rows[-1].frame_start, rows[-1].shot, rows[-1].samples) == (18, 1, 0)
    assert not rows[-1].qp_offset.any()


def test_one_map_a_shot_takes_evenly_spaced_samples() -> None:
    title = quiet(1000, (500,))
    seen = []
    title.masks[:] = (np.arange(1000, dtype=np.float32) / 1000)[:, None, None]
    rows = rows_of(chunks_of(title, [0], 64, 3.0), PrepareSettings(map_interval="shot", aggregator="mean"), 1)
    assert [(row.frame_start, row.frame_end, row.samples) for row in rows] == [(0, 500, 8), (500, 1000, 8)]
    seen = [float(row.saliency.mean()) / 255 for row in rows]
    assert seen == pytest.approx([0.25, 0.75], abs=0.01)


def test_a_picture_of_another_size_begins_a_shot_with_its_own_grid() -> None:
    title = make_title(60, 1, resized_at=30)
    title.score[:] = 0.5
    rows = rows_of(chunks_of(title, [0], 20, 3.0), PrepareSettings(), 1)
    assert {(row.width, row.height, row.saliency.shape) for row in rows if row.frame_start < 30} == {(64, 40, (3, 4))}
    assert {(row.width, row.height, row.saliency.shape) for row in rows if row.frame_start >= 30} == {(96, 32, (2, 6))}
    assert {row.shot for row in rows if row.frame_start >= 30} == {1}


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [
        (UPRIGHT, (0, 0)),
        (Orientation(90), (-1, 0)),
        (Orientation(180), (-1, -1)),
        (Orientation(270), (0, -1)),
        (Orientation(0, mirrored=True), (0, -1)),
        (Orientation(90, mirrored=True), (0, 0)),
        (Orientation(180, mirrored=True), (-1, 0)),
        (Orientation(270, mirrored=True), (-1, -1)),
    ],
)
def test_maps_are_in_coded_orientation(orientation: Orientation, corner: tuple[int, int]) -> None:
    # Turned clockwise and mirrored the coded picture is upright, so the upright top left lies at `corner` in it.
    title = quiet(10)
    title.masks[:] = 0.0
    title.masks[:, :2, :2] = 1.0
    rows = rows_of(chunks_of(title, [0], 50, 3.0), PrepareSettings(), 1, orientation=orientation)
    saliency = rows[0].saliency
    assert saliency[corner] == saliency.max() > 100
    assert np.unravel_index(saliency.argmax(), saliency.shape) == (corner[0] % 3, corner[1] % 4)


def test_segments_that_do_not_meet_are_refused() -> None:
    title = make_title(80, 5)
    pieces = chunks_of(title, [0, 40], 100, 3.0)
    end = pieces[0][0].end
    assert end is not None
    pieces[0][0].end = replace(end, past=Past(int(title.pts[40]), 1.0, 1.0, b"another picture"))
    with pytest.raises(JoinBroken, match="differently"):
        rows_of(pieces, PrepareSettings(), 2)
    pieces = chunks_of(title, [0, 40], 100, 3.0)
    pieces[1][0].pts[0] += 1
    with pytest.raises(JoinBroken, match="pts"):
        rows_of(pieces, PrepareSettings(), 2)


def test_a_missing_segment_is_never_called_done() -> None:
    pieces = chunks_of(make_title(80, 5), [0, 40], 100, 3.0)
    with pytest.raises(TitleFailed, match="never arrived"):
        rows_of(pieces[:1], PrepareSettings(), 2)


@pytest.mark.parametrize("aggregator", ["ema", "smooth"])
def test_memory_does_not_grow_with_the_title(aggregator: str) -> None:
    assembly = TitleAssembly("t", info(), 1, settings_of(aggregator, 0.33, 3.0), AdaptiveCuts())
    masks_held = []
    held = []
    for chunk, masks in chunks_of(quiet(5000), [0], 100, 3.0):
        assembly.add(chunk, inferred(masks))
        held.append(len(assembly._maps._pts) + len(assembly._maps._samples) + len(assembly._maps._span))
        if isinstance(assembly._maps._masks, TwoSided):
            masks_held.append(len(assembly._maps._masks._samples) + len(assembly._maps._masks._open))
    assert max(held) < 60
    assert max(masks_held, default=0) < 10
