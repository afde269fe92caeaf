"""The two knobs: a share of the picture, a share of the bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encode.test_title import settings_of
from tests.encode.titles import write_manifest, write_source
from vsal.encode.budget import WINDOW_FRAMES, _grayed, _next_gain, measure_share, top_area
from vsal.encode.chunks import encode_chunk
from vsal.encode.codecs import FrameRun, encode_frames
from vsal.encode.codecs.kvazaar import coding_order
from vsal.encode.proof.verdict import Verdict
from vsal.encode.proof.verify import verify_title
from vsal.encode.settings import Budget
from vsal.encode.source import frames
from vsal.encode.source_facts import read_source_facts
from vsal.encode.title import encode_title, finish, plan_title
from vsal.errors import SettingsError
from vsal.manifest import MapRow, TitleManifest, maps_uri
from vsal.quality.psnr import luma


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_the_top_area_is_the_most_salient_share_of_the_pixels(seed: int, share: float) -> None:
    saliency = np.random.default_rng(seed).integers(0, 256, (7, 11), dtype=np.uint8)
    row = MapRow("t", 0, 0, 0, 8, 0, 8, Fraction(1, 24), 170, 101, 1, 0.0, saliency, np.zeros((7, 11), np.int8))
    chosen = top_area(row, share)
    pixels = np.zeros((101, 170), dtype=bool)
    pixels[:] = chosen.repeat(16, axis=0).repeat(16, axis=1)[:101, :170]
    assert share - 1e-9 <= pixels.mean() <= share + 256 / (170 * 101) + 1e-9
    assert chosen.all() or saliency[chosen].min() >= saliency[~chosen].max()


@pytest.mark.parametrize("share", [0.35, 0.6])
def test_the_top_area_gets_about_the_share_that_was_asked_for(
    share: float, source: Path, prepared: Path, tmp_path: Path
) -> None:
    budget = Budget(0.25, share)
    settings = settings_of("x264", budget=budget)
    record = encode_title(str(prepared), "title", settings, str(tmp_path))
    assert record["budget"]["achieved"] == pytest.approx(share, abs=0.03)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsal.encode.title.solve_gain", lambda *_: pytest.fail("it was solved again"))
        assert encode_title(str(prepared), "title", settings, str(tmp_path))["skipped"]
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        picture = read_source_facts(str(source))
        again = measure_share(title, picture, settings_of("x264"), budget, record["gain"])
        assert again == pytest.approx(record["budget"]["achieved"], abs=0.02)
        assert measure_share(title, picture, settings_of("x264"), budget, 0.0) < 0.3


def test_the_share_can_be_measured_on_the_whole_title(source: Path, prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264", budget=Budget(0.25, 0.5), measure_share=True, chunked=True, chunk_s=1.0, threads=1)
    plan = plan_title(str(prepared), "title", settings, str(tmp_path))
    first = [encode_chunk(chunk) for chunk in plan.chunks]
    again = [encode_chunk(chunk) for chunk in plan.chunks]
    assert [done.areas for done in again] == [done.areas for done in first], "what was measured is lost on resume"
    budget = finish(plan, again)["budget"]
    tops, rests = zip(*(done.areas or (0, 0) for done in first), strict=True)
    assert budget["measured_on"] == "whole"
    assert budget["achieved"] == pytest.approx(sum(tops) / (sum(tops) + sum(rests)), abs=1e-4)
    # The windows of this short title are all of it, so both measures agree.
    assert plan.solved is not None
    assert budget["achieved"] == pytest.approx(plan.solved.achieved, abs=0.01)


def test_an_area_that_has_its_share_without_maps_gets_none(prepared: Path, tmp_path: Path) -> None:
    settings = settings_of("x264", budget=Budget(0.25, 0.03), threads=1)
    record = encode_title(str(prepared), "title", settings, str(tmp_path / "roi"))
    budget = record["budget"]
    assert record["gain"] == 0.0, "what people look at was made worse for a smaller share"
    assert budget["without"] > 0.03
    assert budget["achieved"] == budget["without"]
    plain = encode_title(str(prepared), "title", settings.plain(), str(tmp_path / "plain"))
    assert record["video_bytes"] == plain["video_bytes"]
    with TitleManifest(maps_uri(str(prepared), "title")) as title:
        proof = verify_title(title, str(tmp_path / "roi" / record["outputs"][0]["name"]), settings, gain=record["gain"])
    assert proof.verdict is Verdict.OBEYED
    assert "without maps" in proof.detail


@given(st.lists(st.tuples(st.floats(0.0, 4.0), st.floats(0.01, 0.99)), min_size=2, max_size=6), st.floats(0.01, 0.99))
def test_a_strength_is_never_negative(tried: list[tuple[float, float]], wanted: float) -> None:
    assert 0.0 <= _next_gain(tried, wanted) <= 4.0


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_only_the_area_is_grayed_in_every_frame(pix_fmt: str, tmp_path: Path) -> None:
    """A decoder predicts from the very pictures that it gives away."""
    clip = write_source(tmp_path / "clip.mp4", 40, pix_fmt=pix_fmt)
    write_manifest(tmp_path / "out", clip)
    facts = read_source_facts(str(clip))
    truth = [luma(frame) for frame in frames(facts)]
    with TitleManifest(maps_uri(str(tmp_path / "out"), "title")) as title:
        rows = list(title.iter_maps())
    grayed = 0
    for number, frame in enumerate(_grayed(frames(facts), iter(rows), 0.25, True)):
        area = top_area(rows[number // 8], 0.25).repeat(16, axis=0).repeat(16, axis=1)
        assert np.array_equal(luma(frame)[~area], truth[number][~area]), f"frame {number} is gray beside the area"
        assert (luma(frame)[area] == 128).all()
        grayed += 1
    assert grayed == 40


def test_graying_reads_each_map_once(source: Path, prepared: Path) -> None:
    """A title in one piece has 10,800 maps an hour: looking for a frame's from the first on takes hours of it."""
    read = []
    with TitleManifest(maps_uri(str(prepared), "title")) as title:

        def counted() -> Iterator[MapRow]:
            for row in title.iter_maps():
                read.append(row.map)
                yield row

        found = frames(read_source_facts(str(source)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vsal.encode.budget.top_area", lambda row, share: read.append(-1) or top_area(row, share))
            assert sum(1 for _ in _grayed(found, counted(), 0.25, False)) == 72
    assert read == [number for row in range(9) for number in (row, -1)]


def test_trials_use_the_one_cpu_that_a_plan_has(prepared: Path, tmp_path: Path) -> None:
    threads = []

    def watched(run: FrameRun, path: str) -> list[int]:
        threads.append(run.settings.threads)
        return encode_frames(run, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsal.encode.budget.encode_frames", watched)
        plan_title(str(prepared), "title", settings_of("x264", budget=Budget(0.25, 0.5)), str(tmp_path))
    assert set(threads) == {1}


def one_long_map(row: MapRow) -> MapRow | None:
    """A title of one shot, whose first map is in force for 20 frames and the second for the 52 that are left."""
    if row.map > 1:
        return None
    return replace(row, shot=0, frame_start=20 * row.map, frame_end=52 * row.map + 20, pts_start=512 * 20 * row.map)


def test_a_window_inside_a_map_has_the_coding_order_of_its_own_length(
    source: Path, tmp_path: Path, kvazaar: str
) -> None:
    """kvazaar takes its arrays in coding order, which for 24 frames is not that of the 72 of the maps."""
    write_manifest(tmp_path / "out", source, one_long_map)
    asked = []

    def watched(program: str, params: str, count: int) -> list[int]:
        asked.append(count)
        return coding_order(program, params, count)

    settings = settings_of("kvazaar", program=kvazaar)
    with pytest.MonkeyPatch.context() as patch, TitleManifest(maps_uri(str(tmp_path / "out"), "title")) as title:
        patch.setattr("vsal.encode.codecs.kvazaar.coding_order", watched)
        measure_share(title, read_source_facts(str(source)), settings, Budget(0.25, 0.5), 1.0)
    assert set(asked) == {WINDOW_FRAMES}


def test_a_share_that_was_not_asked_for_is_not_measured() -> None:
    with pytest.raises(SettingsError, match="--top-area"):
        settings_of("x264", measure_share=True)


@pytest.mark.parametrize(("area", "share"), [(0.0, 0.4), (1.0, 0.4), (0.25, 0.0), (0.25, 1.2)])
def test_shares_outside_the_possible_are_refused(area: float, share: float) -> None:
    with pytest.raises(SettingsError, match="share"):
        Budget(area, share)
