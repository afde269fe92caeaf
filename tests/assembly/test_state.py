"""The state at a join: put into another assembly it goes on as if nothing had happened, through bytes and all."""

from __future__ import annotations

import os
import pickle
import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assembly.test_title import chunks_of, inferred, info, make_title, quiet, same, settings_of
from vsal.assembly import TitleAssembly
from vsal.assembly.packing import FORMAT, StateDamaged, pack, unpack
from vsal.settings import PrepareSettings
from vsal.video.shots import AdaptiveCuts, ContentCuts, CutDecider, TransNetCuts

AGGREGATORS = ["mean", "ema", "max", "motion", "smooth", "learned"]


def moving(pictures: np.ndarray) -> np.ndarray:
    """A cut model of a kind: where the pictures' sum is odd there is a transition."""
    return (pictures.reshape(1, 100, -1).sum(axis=2) % 7 == 3) * 20.0 - 10.0


def decider(name: str) -> CutDecider:
    if name == "transnetv2":
        return TransNetCuts(moving)
    return AdaptiveCuts() if name == "adaptive" else ContentCuts()


def assembly(segments: int, chosen: PrepareSettings, cuts: str) -> TitleAssembly:
    return TitleAssembly("t", info(), segments, chosen, decider(cuts))


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_from_any_join_on_another_assembly_gives_the_same_rows(data: st.DataObject) -> None:
    frames = data.draw(st.integers(2, 240))
    resized = data.draw(st.none() | st.integers(1, 160))
    title = make_title(frames, data.draw(st.integers(0, 99)), data.draw(st.booleans()), resized)
    rate = data.draw(st.sampled_from([3.0, 8.0]))
    interval = data.draw(st.sampled_from([0.8, "shot"]))
    chosen = settings_of("ema", interval, rate).model_copy(
        update={"aggregator": data.draw(st.sampled_from(AGGREGATORS)), "samples_per_map": 2}
    )
    cuts = data.draw(st.sampled_from(["adaptive", "content", "transnetv2"]))
    starts = [0, *sorted(data.draw(st.lists(st.integers(1, frames - 1), unique=True, min_size=1, max_size=5)))]
    pieces = chunks_of(title, starts, data.draw(st.integers(1, 40)), rate)
    for chunk, _ in pieces:
        first = starts[chunk.segment] + chunk.first
        pictures = np.random.default_rng(7).integers(0, 255, (frames, 27, 48, 3), np.uint8)
        chunk.tiny = pictures[first : first + len(chunk.pts)]

    whole = assembly(len(starts), chosen, cuts)
    rows, rows_at, joins = [], {}, {}
    for chunk, masks in pieces:
        for final in whole.by_stretch(chunk, inferred(masks)):
            rows += final
            if whole.next_pts is not None:
                assert whole.next_pts == title.pts[starts[chunk.segment + 1]]
                joins[chunk.segment + 1], rows_at[chunk.segment + 1] = pack(whole.state()), len(rows)
    rows += whole.close()
    assert len(joins) == len(starts) - 1

    at = data.draw(st.sampled_from(sorted(joins)))
    resumed = assembly(len(starts) - at, chosen, cuts)
    resumed.restore(unpack(joins[at]))
    later = []
    for chunk, masks in pieces:
        if chunk.segment >= at:
            later += resumed.add(replace(chunk, segment=chunk.segment - at), inferred(masks))
    later += resumed.close()
    same(rows[rows_at[at] :], later)
    assert resumed.totals() == whole.totals()


def test_where_segments_are_not_joined_there_is_no_state_to_keep() -> None:
    pieces = chunks_of(quiet(100), [0, 50], 20, 3.0)
    title = assembly(2, PrepareSettings(), "adaptive")
    assert title.next_pts is None
    seen = []
    for chunk, masks in pieces:
        title.add(chunk, inferred(masks))
        seen.append((chunk.segment, chunk.end is not None, title.next_pts is not None))
    assert [known for _, _, known in seen] == [segment == 0 and ends for segment, ends, _ in seen]


def test_a_state_that_calls_anything_else_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("true",)

    data = pickle.dumps((FORMAT, {"x": Evil()}))
    packed = len(data).to_bytes(8, "big") + pa.compress(data, codec="zstd", asbytes=True)
    with pytest.raises(StateDamaged, match="system is no part of a state"):
        unpack(packed)


@pytest.mark.parametrize("damage", [b"", b"x" * 40, zlib.compress(b"x")])
def test_a_damaged_state_says_so(damage: bytes) -> None:
    with pytest.raises(StateDamaged):
        unpack(damage)
    good = pack({"a": 1})
    assert unpack(good) == {"a": 1}
    with pytest.raises(StateDamaged):
        unpack(good[:-3])


def test_a_state_of_another_format_is_refused() -> None:
    data = pickle.dumps((FORMAT + 1, {}))
    with pytest.raises(StateDamaged, match=f"format {FORMAT + 1}"):
        unpack(len(data).to_bytes(8, "big") + pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize("aggregator", ["mean", "ema", "smooth"])
def test_a_shot_without_end_keeps_a_bounded_number_of_masks_in_memory_of_their_own(aggregator: str) -> None:
    chosen = settings_of(aggregator, "shot", 8.0)
    title = assembly(1, chosen, "content")
    pieces = chunks_of(quiet(8000), [0], 100, 8.0)
    held, rows = [], []
    for chunk, masks in pieces:
        rows += title.add(chunk, inferred(masks))
        maps = title._maps
        samples = [*maps._samples, *maps._shot_samples._held]
        held.append(len(samples))
        assert all(sample.mask.base is None for sample in maps._shot_samples._held), "a window is kept for one mask"
    assert max(held) <= 16 * chosen.samples_per_map + 40, "2,560 samples are held of which 8 count"
    assert not rows
    rows = list(title.close())
    assert [row.samples for row in rows] == [chosen.samples_per_map]
    at_once = assembly(1, chosen, "content")
    for chunk, masks in chunks_of(quiet(8000), [0], 8000, 8.0):
        assert not at_once.add(chunk, inferred(masks))
    same(rows, list(at_once.close()))
