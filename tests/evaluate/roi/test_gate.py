"""The gate: its rule, and its stages on small clips."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import evaluation
from benchmarks.evaluation import default_by_rule
from tests.evaluate import sets
from tests.evaluate.roi.test_verdict import ARMS, WORTH, rows_of, table_of
from vsal.evaluate.roi.arms import parse_arm

OTHER = parse_arm("other:model=image_saliency_student_v1")


@pytest.mark.parametrize(
    ("mine", "other", "default"),
    [
        pytest.param((-0.16, 0.03), (-0.12, 0.03), "mine", id="the one that gains most"),
        pytest.param((-0.16, 0.03), (-0.2, 0.08), "mine", id="not one beyond the guard"),
        pytest.param((-0.17, 0.045), (-0.185, 0.01), "other", id="of those alike the one that loses less elsewhere"),
        pytest.param((-0.05, 0.03), (-0.03, 0.03), None, id="none that a blob is ahead of"),
    ],
)
def test_the_default_follows_from_the_rule(
    mine: tuple[float, float], other: tuple[float, float], default: str | None
) -> None:
    rows = rows_of(WORTH | {"mine": mine, "other": other}, noise=0.03)
    assert default_by_rule(table_of(rows, [*ARMS, OTHER])) == default


@pytest.mark.long
def test_all_stages_run_resume_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    sets.gaze_clips(data / "gaze_clips", frames=24)
    sets.davis(data / "davis_more")
    rates = (20.0, 26.0, 32.0, 38.0)
    monkeypatch.setattr(evaluation, "CHOICES", evaluation.CHOICES[5:7])
    monkeypatch.setattr(evaluation, "CRFS", dict.fromkeys(evaluation.CRFS, rates))
    monkeypatch.setattr(evaluation, "DAVIS_CRFS", rates)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["evaluation", "--data", str(data), "--out", str(out), *more])
        evaluation.main()
        return capsys.readouterr().out

    run("--stage", "check")
    assert "status-quo" in (out / "check.md").read_text()
    made = {path: path.stat().st_mtime_ns for path in (out / "points").rglob("*.json")}
    assert "status-quo" in run("--stage", "check", "--report")
    assert {path: path.stat().st_mtime_ns for path in (out / "points").rglob("*.json")} == made
    run("--stage", "finalists")
    assert len(json.loads((out / "choose.json").read_text())["chosen"]) == 2
    for stage in ("gaze", "x265-vp9", "davis"):
        assert (out / f"{stage}.md").is_file(), stage
    assert "VMAF, weighted" in (out / "davis.md").read_text()
    assert not (out / "kvazaar-svtav1.md").is_file()  # the clips are below 832 wide
