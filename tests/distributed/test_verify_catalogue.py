"""Verifying settles titles: one that fails, by whatever, ends nothing; Ray comes in where that is quicker."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from tests.encode.test_title import settings_of
from tests.encode.titles import write_manifest, write_source
from vsal.distributed.outcomes import Outcome
from vsal.distributed.verify import catalogue as door
from vsal.distributed.verify import verify_catalogue
from vsal.encode.proof.titles import Verification
from vsal.encode.title import encode_title
from vsal.errors import Reason
from vsal.settings import RunSettings

TITLES = ("good", "gone", "replaced", "unprepared")


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Verification:
    """A title that obeys its map, one whose source is gone, one whose encode was replaced, one without maps."""
    folder = tmp_path_factory.mktemp("encoded")
    for title_id in TITLES:
        write_manifest(folder / "out", write_source(folder / f"{title_id}.mp4", 48), title_id=title_id)
        encode_title(str(folder / "out"), title_id, settings_of("x264"), str(folder / "dest"))
    (folder / "gone.mp4").unlink()
    (folder / "dest" / "replaced.mp4").write_bytes((folder / "dest" / "good.mp4").read_bytes())
    (folder / "out" / "maps" / "unprepared.parquet").unlink()
    return Verification(str(folder / "out"), str(folder / "dest"), pictures=False)


def told(outcomes: list[Outcome]) -> dict[str, tuple[str, Any]]:
    return {outcome.title_id: (outcome.status, outcome.figures.get("verdict", outcome.reason)) for outcome in outcomes}


EXPECTED = {
    "good": ("done", "obeyed"),
    "gone": ("failed", Reason.SOURCE_NOT_FOUND),
    "replaced": ("failed", Reason.UNREADABLE),
    "unprepared": ("failed", Reason.UNREADABLE),
}


def test_few_titles_are_verified_here_and_each_is_settled(encoded: Verification) -> None:
    seen: list[Outcome] = []
    outcomes = verify_catalogue(encoded, RunSettings(), on_title=seen.append)
    assert told(outcomes) == EXPECTED
    assert sorted(seen, key=lambda outcome: outcome.title_id) == outcomes
    assert not ray.is_initialized()
    assert "is another file" in next(outcome.detail for outcome in outcomes if outcome.title_id == "replaced")


def test_a_fault_of_vsal_costs_its_title_alone(encoded: Verification, monkeypatch: pytest.MonkeyPatch) -> None:
    original = door.verify_encode

    def faulty(asked: Verification, title_id: str) -> dict[str, Any]:
        if title_id == "gone":
            raise ZeroDivisionError("of vsal")
        return original(asked, title_id)

    monkeypatch.setattr(door, "verify_encode", faulty)
    outcomes = verify_catalogue(encoded, RunSettings())
    assert told(outcomes) == EXPECTED | {"gone": ("failed", Reason.INTERNAL)}
    assert "in faulty" in next(outcome.trace for outcome in outcomes if outcome.title_id == "gone")


@pytest.mark.faults
def test_what_takes_longer_goes_to_ray_with_the_same_figures(
    encoded: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = verify_catalogue(encoded, RunSettings())
    monkeypatch.setattr(door, "TRIED_S", 0.0)
    monkeypatch.setattr(door, "RAY_S", -1000.0)
    before = [outcome.document() for outcome in here]
    outcomes = verify_catalogue(encoded, RunSettings())
    for outcome, known in zip(outcomes, before, strict=True):
        for name in ("status", "reason", "detail", "verdict", "correlation", "shots"):
            assert outcome.document().get(name) == known.get(name), (outcome.title_id, name)


def test_ray_is_worth_its_start_where_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert not door._is_worth_ray(0.0, 0, 100), "nothing is known yet"
    assert not door._is_worth_ray(5.0, 5, 100), "it is soon over"
    assert not door._is_worth_ray(20.0, 10, 2)
    assert door._is_worth_ray(20.0, 10, 20)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert not door._is_worth_ray(20.0, 10, 1000), "one CPU is no faster by two processes"
