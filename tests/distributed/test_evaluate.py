"""Evaluation as a kind of work on Ray: its table, one bad title among good ones, resume, growth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.encode.titles import write_manifest, write_source
from tests.evaluate import sets
from vsal.catalog import Title, read_catalog
from vsal.cli.app import build as command
from vsal.distributed.evaluate import evaluate_catalogue
from vsal.distributed.outcomes import Progress, Summary
from vsal.distributed.status import read_status
from vsal.errors import Reason, SettingsError
from vsal.evaluate.roi.account import GazeAccount
from vsal.evaluate.roi.arms import ELSEWHERE, PLAIN, STATUS_QUO, TRUTH, UNIFORM, parse_arm, status_quo, with_controls
from vsal.evaluate.roi.catalogue import evaluate_here, judged_titles
from vsal.evaluate.roi.ladder import Ladder, Rates
from vsal.evaluate.roi.table import RoiTable
from vsal.manifest import read_manifest
from vsal.settings import RunSettings
from vsal.settings_file import SettingsFile, read_settings, write_settings

CRFS = (20.0, 26.0, 32.0, 38.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips with gaze, and one at which nobody has looked."""
    folder = sets.gaze_clips(tmp_path_factory.mktemp("gaze"), frames=24)
    shutil.copy(folder / "Keiba.mp4", folder / "unseen.mp4")
    return folder


def ladder_at(dest: Path, root: Path, crfs: tuple[float, ...] = CRFS) -> Ladder:
    arms = with_controls([status_quo(), parse_arm("mine:floor=0.1,limit=8")], has_truth=True)
    return Ladder(str(dest), GazeAccount.open(str(root)), tuple(arms), (Rates("x264", crfs, "superfast"),))


Found = tuple[Summary, RoiTable, Path, list[Progress]]


@pytest.fixture(scope="module")
def found(root: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Found:
    dest, seen = tmp_path_factory.mktemp("dest"), list[Progress]()
    summary, table = evaluate_catalogue(
        read_catalog(str(root)), ladder_at(dest, root), RunSettings(), on_progress=seen.append
    )
    return summary, table, dest, seen


def test_a_title_that_nobody_looked_at_does_not_stop_the_others(found: Found) -> None:
    summary, table, _, seen = found
    by_id = {outcome.title_id: outcome for outcome in summary.outcomes}
    assert by_id["unseen"].reason is Reason.UNSUPPORTED
    assert "holds no fixation of unseen" in by_id["unseen"].detail
    assert {name for name, outcome in by_id.items() if outcome.status == "done"} == {"Keiba", "Vidyo1", "Vidyo3"}
    assert {row["title_id"] for row in table.rows} == {"Keiba", "Vidyo1", "Vidyo3"}
    assert by_id["Keiba"].figures["encodes"] == len(table.arms) * len(CRFS)
    assert seen[-1].done == 3
    assert summary.exit_code == 1


def test_every_control_stands_beside_the_arms(found: Found) -> None:
    _, table, dest, _ = found
    names = {arm.name.partition(" (")[0] for arm in table.arms}
    assert {PLAIN, STATUS_QUO, "mine", "fixed prior", TRUTH, ELSEWHERE, UNIFORM} == names
    for arm in table.arms[1:]:
        assert table.summed("x264", arm.name) is not None, arm.name
    assert all(row["steered"] is not None for row in table.rows if row["arm"].startswith(TRUTH))
    text = (dest / "evaluation.md").read_text()
    assert text.startswith("Account: gaze:")
    assert json.loads((dest / "evaluation.json").read_text())["titles"] == 3


def test_ray_and_one_process_say_the_same(found: Found, root: Path) -> None:
    _, table, dest, _ = found
    ladder = ladder_at(dest, root)
    titles = [title for title in judged_titles(read_catalog(str(root)), ladder.account) if title.title_id != "unseen"]
    ours = {key(row): row for row in evaluate_here(ladder, titles)}
    assert {key(row): row["bytes"] for row in table.rows} == {name: row["bytes"] for name, row in ours.items()}


def key(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in ("title_id", "codec", "crf", "arm"))


def test_a_second_run_encodes_nothing_and_a_larger_one_what_is_new(found: Found, root: Path) -> None:
    _, table, dest, _ = found
    before = {path: path.stat().st_mtime_ns for path in (dest / "points").rglob("*.json")}
    assert len(before) == len(table.rows)
    titles = [Title("Keiba", str(root / "Keiba.mp4")), Title("Vidyo1", str(root / "Vidyo1.mp4"))]
    evaluate_catalogue(titles, ladder_at(dest, root, (*CRFS, 44.0)), RunSettings())
    after = {path: path.stat().st_mtime_ns for path in (dest / "points").rglob("*.json")}
    assert {path: time for path, time in after.items() if path in before} == before
    # Another title's map is another's now that there are two titles: of the third clip none has to be made.
    assert len(after) - len(before) <= 2 * len(table.arms) + 2 * len(CRFS)


def test_status_tells_of_it(found: Found) -> None:
    document = read_status(str(found[2]))
    assert document["run"]["kind"] == "evaluate"
    assert document["titles"]["done"] == 3


def test_what_cannot_be_is_refused_before_any_work(root: Path, tmp_path: Path, local_ray: None) -> None:
    titles = read_catalog(str(root))
    with pytest.raises(SettingsError, match="hold one twice"):
        evaluate_catalogue(titles, ladder_at(tmp_path, root, (24.0, 24.0)), RunSettings())
    with pytest.raises(SettingsError, match="--crf of x264"):
        evaluate_catalogue(titles, ladder_at(tmp_path, root, (24.0, 99.0)), RunSettings())
    with pytest.raises(SettingsError, match="no title"):
        evaluate_catalogue([], ladder_at(tmp_path, root), RunSettings())


def test_the_command_prints_account_table_and_verdict(
    root: Path, tmp_path: Path, local_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command()(args=["evaluate", "roi", *map(str, words)], prog_name="vsal")
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    asked = (root / "Keiba.mp4", "--dest", tmp_path, "--weights", f"gaze:{root}", "--crf", "24,29,34,39")
    asked += ("--preset", "superfast", "--seconds", "0.5", "--arm", "blob:kind=prior,limit=4", "--equal-spread", "2")
    code, out, err = call(*asked)
    assert code == 0, err
    assert out.startswith("Account: gaze:")
    assert "blob under x264: cannot tell (" in out
    assert "truth @ 2 QP" in out
    code, out, _ = call(*asked, "--json")
    document = json.loads(out)
    assert document["titles"]["done"] == 1
    assert document["evaluation"]["account"]["name"] == f"gaze:{root}"
    code, _, err = call(*asked, "--weights", "model:image_saliency_student_v2", "--arm", "kin:mode=video")
    assert code == 2
    assert "cannot judge the arm kin" in err
    assert call(*asked, "--crf", "x265=24")[0] == 2


def test_settings_that_were_found_are_taken_by_prepare_and_encode(
    root: Path, tmp_path: Path, local_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            command()(args=[str(word) for word in words], prog_name="vsal")
        return int(ended.value.code or 0), capsys.readouterr().err

    file = tmp_path / "settings.json"
    prepare = {"model": "image_saliency_student_small_v2", "qp_floor": 0.15, "qp_limit": 5}
    write_settings(str(file), SettingsFile("x264", prepare, {"aq-strength": "0.4"}, "superfast", ("Keiba",)))
    out, dest = tmp_path / "out", tmp_path / "encoded"
    code, err = call("prepare", root / "Keiba.mp4", "--out", out, "--settings", file, "--qp-limit", 4)
    assert code == 0, err
    with read_manifest(str(out)).title("Keiba") as title:
        assert title.model["name"] == "image_saliency_student_small_v2"
        assert (title.settings["qp_floor"], title.settings["qp_limit"]) == (0.15, 4)  # the option overrides the file
    code, err = call("encode", out, "--dest", dest, "--settings", file, "--crf", 30)
    assert code == 0, err
    record = json.loads((dest / "Keiba.encode.json").read_text())
    assert record["settings"]["codec"] == "x264"
    assert (record["settings"]["encoder_options"], record["settings"]["preset"]) == (
        {"aq-strength": "0.4"},
        "superfast",
    )
    assert "Maps do not pay for Keiba" in err
    code, err = call("encode", out, "--dest", dest, "--settings", file, "--codec", "x265")
    assert code == 2
    assert "was found for x264, not for x265" in err
    for broken in ("{", "{}", '{"vsal_settings": 1, "codec": 7}', '{"vsal_settings": 1, "codec": "x264", "colour": 1}'):
        file.write_text(broken)
        code, err = call("prepare", root / "Keiba.mp4", "--out", out, "--settings", file)
        assert code == 2, broken
        assert "is no settings file" in err
    assert call("prepare", root / "Keiba.mp4", "--out", out, "--settings", tmp_path / "nothing")[0] == 2


@pytest.mark.long
def test_tuning_writes_settings_that_were_crossed(
    tmp_path: Path, local_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    looks, out = [], tmp_path / "out"
    (tmp_path / "clips").mkdir()
    for number, name in enumerate(("Keiba", "Vidyo1", "Male", "ParkScene", "Traffic", "BQSquare")):
        source = write_source(tmp_path / "clips" / f"{name}.mp4", 24, width=320 + 16 * number)
        write_manifest(out, source, title_id=name)  # a blob that walks to the right, and the looks with it
        for part in range(3):
            at = {"x": 0.2 + 0.6 * part / 7, "y": 0.5, "start_ms": round(part * 1000 / 3), "duration_ms": 333}
            looks += [{"clip": name, "observer": observer, **at} for observer in (1, 2)]
    pq.write_table(pa.Table.from_pylist(looks), tmp_path / "fixations.parquet")
    with pytest.raises(SystemExit) as ended:
        command()(
            args=[
                "evaluate", "roi", str(tmp_path / "clips"), "--dest", str(tmp_path / "dest"), "--tune",
                "--weights", f"gaze:{tmp_path / 'fixations.parquet'}", "--crf", "16,24,32,40", "--preset", "superfast",
                "--arm", f"blob:maps={out}",
            ],
            prog_name="vsal",
        )  # fmt: skip
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    assert "Held out, psnr_alone" in shown.err
    found = read_settings(str(tmp_path / "dest" / "settings-x264.json"))
    assert {"qp_mapping", "qp_floor", "qp_limit", "qp_offset"} <= set(found.prepare)
    assert found.found["guard"] == ["psnr", 0.05]
    assert found.found["held_out"]["psnr_alone"]["titles"] == 6
    assert found.found["held_out"]["psnr_alone"]["mean"] < 0
    assert "tuned for x264" in shown.out
    assert "mild settings: VMAF is not measured" in shown.err
