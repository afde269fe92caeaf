"""Encodes as Ray tasks: outcomes, summary, metrics, resume, one bad title among good ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.encode.test_title import settings_of, times_of
from tests.encode.titles import write_manifest, write_source
from vsal.cli.verbs.encode import lines
from vsal.distributed.encode import catalogue as driver
from vsal.distributed.encode import encode_catalogue
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Outcome, Progress, Summary
from vsal.encode.settings import Budget, EncodeSettings
from vsal.errors import Reason, SettingIgnored, SettingsError
from vsal.settings import RunSettings

SETTINGS = settings_of("x264", chunked=True, chunk_s=1.0)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """OUT with a good title, and one whose source is gone."""
    folder = tmp_path_factory.mktemp("catalogue")
    good, gone = write_source(folder / "good.mp4"), write_source(folder / "gone.mp4", 24)
    for title_id, source in (("good", good), ("gone", gone)):
        write_manifest(folder / "out", source, title_id=title_id)
    gone.unlink()
    return folder / "out", good, folder / "dest"


@pytest.fixture(scope="module")
def counted() -> list[Outcome]:
    return []


@pytest.fixture(scope="module")
def seen() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def summary(
    catalogue: tuple[Path, Path, Path], counted: list[Outcome], seen: list[Progress], local_ray: None
) -> Iterator[Summary]:
    class Counting(RunMetrics):
        def ended(self, outcome: Outcome) -> None:
            super().ended(outcome)
            counted.append(outcome)

    out, _, dest = catalogue
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "RunMetrics", Counting)
        yield encode_catalogue(str(out), str(dest), SETTINGS, RunSettings(), on_progress=seen.append)


def test_a_bad_title_does_not_stop_the_others(summary: Summary, catalogue: tuple[Path, Path, Path]) -> None:
    _, good, dest = catalogue
    by_id = {outcome.title_id: outcome for outcome in summary.outcomes}
    assert by_id["good"].status == "done"
    assert by_id["good"].figures["chunks"] == 3
    assert by_id["gone"].reason is Reason.SOURCE_NOT_FOUND
    assert summary.exit_code == 1
    assert times_of(dest / by_id["good"].path) == times_of(good)


def test_the_run_is_summed_up_beside_the_encodes(summary: Summary, catalogue: tuple[Path, Path, Path]) -> None:
    dest = catalogue[2]
    written = json.loads((dest / "runs" / f"{summary.run_id}.json").read_text())
    assert written == json.loads(json.dumps(summary.document()))
    assert written["titles"] == {"done": 1, "skipped": 0, "failed": 1}
    assert (written["frames"], written["bytes"]) == (72, (dest / "good.mp4").stat().st_size)
    assert [title["title_id"] for title in written["failed"]] == ["gone"]
    assert sorted(path.name for path in dest.iterdir()) == ["good.encode.json", "good.mp4", "journal", "runs"]


def test_every_title_is_counted_once(summary: Summary, counted: list[Outcome], seen: list[Progress]) -> None:
    assert sorted(counted, key=lambda outcome: outcome.title_id) == list(summary.outcomes)
    assert [progress.finished for progress in seen if progress.finished] == counted
    frames = [progress.frames for progress in seen]
    assert frames == sorted(frames)
    assert frames[-1] == 72


def test_a_second_run_finds_it_done_and_starts_nothing(
    summary: Summary, catalogue: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object) -> None:
        raise AssertionError("it is started for nothing")

    for name in ("ray_cluster", "check_settings"):
        monkeypatch.setattr(driver, name, started)
    out, good, dest = catalogue
    good.rename(good.with_name("elsewhere.mp4"))  # nothing is planned: nobody opens the source
    try:
        again = encode_catalogue(str(out), str(dest), SETTINGS, RunSettings(), title_ids=["good"])
    finally:
        good.with_name("elsewhere.mp4").rename(good)
    before = next(outcome for outcome in summary.outcomes if outcome.title_id == "good")
    assert [(outcome.status, outcome.frames) for outcome in again.outcomes] == [("skipped", 72)]
    assert again.outcomes[0].figures == before.figures
    assert again.exit_code == 0


def test_what_comes_to_the_same_file_is_found_by_its_plan(summary: Summary, catalogue: tuple[Path, Path, Path]) -> None:
    out, _, dest = catalogue
    named = replace(SETTINGS, container="mp4")
    again = encode_catalogue(str(out), str(dest), named, RunSettings(), title_ids=["good"])
    assert [(outcome.status, outcome.frames) for outcome in again.outcomes] == [("skipped", 72)]
    assert sorted(path.name for path in dest.iterdir()) == ["good.encode.json", "good.mp4", "journal", "runs"]


@pytest.mark.usefixtures("local_ray")
def test_a_share_of_the_bits_is_solved_once_and_reported_each_time(
    catalogue: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    out, _, _ = catalogue
    settings = settings_of("x264", budget=Budget(0.25, 0.5))
    shares = []
    for status in ("done", "skipped"):
        run = encode_catalogue(str(out), str(tmp_path), settings, RunSettings(), title_ids=["good"])
        assert run.count(status) == 1
        shares.append(run.outcomes[0].figures["bit_share"])
    assert shares[0] == shares[1] == pytest.approx(0.5, abs=0.03)


def test_ignored_maps_stop_the_run_before_any_work(catalogue: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out, _, _ = catalogue
    ignored = EncodeSettings("x264", encoder_options={"qp": "20"})
    with pytest.raises(SettingIgnored):
        encode_catalogue(str(out), str(tmp_path), ignored, RunSettings())
    with pytest.raises(SettingsError, match="nobody"):
        encode_catalogue(str(out), str(tmp_path), EncodeSettings("x264"), RunSettings(), title_ids=["nobody"])
    assert list(tmp_path.iterdir()) == []


def test_a_share_that_was_missed_and_streams_that_were_lost_are_told() -> None:
    outcomes = [
        Outcome("reached", "", "done", frames=48, duration_s=2.0, figures={"bytes": 1000, "bit_share": 0.41}),
        Outcome("missed", "", "done", frames=48, duration_s=2.0, figures={"bytes": 1000, "bit_share": 0.33}),
        Outcome("has it", "", "done", figures={"bytes": 0, "bit_share": 0.452, "bit_share_without": 0.452}),
        Outcome("telemetry", "", "skipped", figures={"left_out": ("data bin_data",)}),
    ]
    summary = Summary("run", ("dest", "dest"), outcomes, seconds=14.0, startup_s=2.0)
    told = lines(summary, "out", EncodeSettings("x264", budget=Budget(0.25, 0.4)))
    assert told[1].endswith("96 frames, 0.0 MB, 4 kb/s: 8 frames/s")
    assert "reached: 25% of the picture gets 41.0% of the bits" in told
    assert "missed: 25% of the picture gets 33.0% of the bits, not the 40.0% asked for" in "\n".join(told)
    has_it = (
        "has it: 25% of the picture gets 45.2% of the bits: it has 45.2% without maps, so the 40.0% asked for need none"
    )
    assert has_it in told
    assert "telemetry: not kept: data bin_data" in told
