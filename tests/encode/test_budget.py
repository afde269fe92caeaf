"""The two knobs: a share of the picture, a share of the bits."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encode.test_title import settings_of
from vsal.encode.budget import measure_share, top_area
from vsal.encode.chunks import encode_chunk
from vsal.encode.settings import Budget
from vsal.encode.source_facts import read_source_facts
from vsal.encode.title import encode_title, finish, plan_title
from vsal.errors import SettingsError
from vsal.manifest import MapRow, TitleManifest, maps_uri


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
    settings = settings_of("x264", budget=Budget(0.25, 0.5), measure_share=True, chunked=True, chunk_s=1.0)
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


def test_a_share_that_was_not_asked_for_is_not_measured() -> None:
    with pytest.raises(SettingsError, match="--top-area"):
        settings_of("x264", measure_share=True)


@pytest.mark.parametrize(("area", "share"), [(0.0, 0.4), (1.0, 0.4), (0.25, 0.0), (0.25, 1.2)])
def test_shares_outside_the_possible_are_refused(area: float, share: float) -> None:
    with pytest.raises(SettingsError, match="share"):
        Budget(area, share)
