"""What `vsal status` tells of a run that goes on, that has ended, and that died; it reads journals only."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import handmade
from tests.distributed.made_up import SumWork
from tests.fixtures_s3 import S3Server
from vsal.catalog import Title
from vsal.cli.app import build
from vsal.distributed.credit import Credit
from vsal.distributed.journal import Journal, write_titles
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Outcome
from vsal.distributed.prepare import prepare_catalogue
from vsal.distributed.run import Run
from vsal.distributed.status import SILENT_S, read_status
from vsal.distributed.tally import Tally
from vsal.distributed.watch import Watch
from vsal.errors import Reason, SettingsError
from vsal.manifest import read_manifest
from vsal.settings import PrepareSettings, RunSettings


@pytest.fixture
def vsal(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            build()(args=[str(argument) for argument in arguments], prog_name="vsal")
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


def outcome(title_id: str, reason: Reason | None = None) -> Outcome:
    return Outcome(title_id, f"/{title_id}.mp4", "failed" if reason else "done", reason, "so it is", frames=240)


def test_a_run_is_told_while_it_goes_on_when_it_died_and_long_after(
    s3_server: S3Server, vsal: Callable[..., tuple[int, str]]
) -> None:
    place = f"{s3_server.bucket()}/roi"
    with pytest.raises(SettingsError, match="holds no journal"):
        read_status(place)
    earlier = Journal(place, "20260101T000000-aaaaaa", "prepare", {"titles": 2})
    earlier.add(outcome("a", Reason.TIMEOUT))
    earlier.add(outcome("b", Reason.NO_VIDEO))
    earlier.close("ended", {"titles": 2, "failed": 2, "left": 0})
    run = Journal(place, "20260102T000000-bbbbbb", "prepare", {"titles": 5})
    tally = Tally(5, time.perf_counter(), run)
    for title_id in ("a", "c"):
        tally.opened(title_id, "")
    tally.settle(outcome("a"))
    tally.look([], Counter({"work": 3, "model": 1}), cpus=4, used_cpus=4)
    run._flush()
    run._write_state()

    told = read_status(place)
    assert (told["run"]["phase"], told["run"]["done"], told["run"]["left"]) == ("running", 1, 4)
    assert (told["run"]["limited_by"], told["run"]["stages"]) == ("decode", {"model": 0.25, "decode": 0.75})
    assert told["titles"] == {"done": 1, "failed": 1, "interrupted": 0}
    assert told["reasons"] == {"no_video": 1}
    assert [title["title_id"] for title in told["failed"]] == ["b"]
    assert [(other["run_id"][:8], other["phase"]) for other in told["runs"]] == [("20260101", "ended")]
    assert read_status(place, now=time.time() + SILENT_S + 5)["run"]["phase"] == "dead"
    run.stopping("SIGTERM")
    assert read_status(place)["run"]["phase"] == "stopping"
    assert read_status(place)["titles"]["interrupted"] == 1
    run.close("stopped", {**tally.state(), "stopped": "SIGTERM"})

    code, shown = vsal("status", place)
    assert code == 0
    assert "prepare stopped" in shown
    assert "Stopped: SIGTERM" in shown
    assert "b  no_video: so it is" in shown
    code, shown = vsal("status", place, "--json", "--watch")  # which ends with the run
    assert (code, json.loads(shown)["run"]["stopped"]) == (0, "SIGTERM")


def test_titles_of_remap_stay_in_the_table_that_a_later_run_writes(
    tmp_path: Path, vsal: Callable[..., tuple[int, str]]
) -> None:
    handmade.write_manifest(tmp_path / "out", "clip", handmade.write_clip(tmp_path / "clip.mp4"))
    assert vsal("remap", tmp_path / "out", "--out", tmp_path / "soft", "--qp-limit", "3")[0] == 0
    later = Journal(str(tmp_path / "soft"), "later", "prepare", {})
    later.add(outcome("new"))
    later.close("ended", {})
    write_titles(str(tmp_path / "soft"), "later")
    records = {record.title_id: record for record in read_manifest(str(tmp_path / "soft")).titles()}
    assert set(records) == {"clip", "new"}
    assert (records["clip"].status, records["clip"].maps) == ("done", 9)
    assert read_status(str(tmp_path / "soft"))["titles"] == {"done": 2, "failed": 0, "interrupted": 0}


def test_a_place_without_a_journal_is_a_wrong_place(tmp_path: Path, vsal: Callable[..., tuple[int, str]]) -> None:
    assert vsal("status", tmp_path)[0] == 2


@pytest.mark.usefixtures("local_ray")
def test_what_failed_on_the_way_what_it_cost_and_what_is_open_is_told(tmp_path: Path) -> None:
    book = Journal(str(tmp_path / "place"), "r", "sum", {})
    seen: list[dict[str, Any]] = []
    show = book.show
    book.show = lambda state: (seen.append(dict(state)), show(state))  # type: ignore[method-assign, assignment, func-returns-value]
    tally, watch = Tally(3, time.perf_counter(), book), Watch()
    (tmp_path / "steps").mkdir()
    mishaps = {"long/piece 0": ["work", ""], "store/piece 0": ["raise ConnectionResetError(104, 'reset')"]}
    work = SumWork({"long": list(range(10)), "store": [1], "easy": [2]}, tmp_path / "steps", mishaps)
    Run(work, RunSettings(), tally, Credit(2, 0), watch, RunMetrics("sum")).work()
    watch.close()
    book.close("ended", tally.state())
    open_titles = [title for state in seen for title in state["slowest"]]
    assert any(title["title_id"] == "long" and "piece 0" in title["steps"][0] for title in open_titles)
    state = read_status(str(tmp_path / "place"))["run"]
    assert (state["done"], state["left"], state["phase"]) == (3, 0, "ended")
    assert state["failures"] == {"passing": 1}


@pytest.mark.usefixtures("local_ray")
def test_a_real_run_is_told_from_its_journal_and_only_what_failed_is_tried_again(clip: Path, tmp_path: Path) -> None:
    out, late = str(tmp_path / "out"), tmp_path / "late.mp4"
    titles = [Title("good", str(clip)), Title("late", str(late))]
    summary = prepare_catalogue(titles, out, PrepareSettings(), RunSettings(max_failed="50%"))
    assert (summary.exit_code, summary.max_failed) == (0, 1)
    told = read_status(out)
    assert (told["titles"], told["reasons"]) == (
        {"done": 1, "failed": 1, "interrupted": 0}, {"source_not_found": 1},
    )  # fmt: skip
    assert (told["run"]["frames"], told["run"]["run_id"]) == (288, summary.run_id)

    late.write_bytes(clip.read_bytes())
    more = [*titles, Title("new", str(clip))]
    again = prepare_catalogue(more, out, PrepareSettings(), RunSettings(retry_failed=True))
    assert [(o.title_id, o.status) for o in again.outcomes] == [("late", "done")]
    nothing = prepare_catalogue(more, out, PrepareSettings(), RunSettings(retry_failed=True))
    assert (nothing.outcomes, nothing.exit_code) == ([], 0)
    assert read_status(out)["titles"] == {"done": 2, "failed": 0, "interrupted": 0}
