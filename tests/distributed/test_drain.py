"""A run that is told to stop: what is known is written at once, nothing is left behind, and the next run goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.cluster.head import running_head
from tests.distributed.killing import processes
from tests.distributed.made_up import PIECE, SumWork
from tests.encode.titles import write_manifest, write_source
from vsal import storage
from vsal.distributed import parts
from vsal.distributed.credit import Credit
from vsal.distributed.drain import Drain
from vsal.distributed.known import failed_titles
from vsal.distributed.metrics import RunMetrics
from vsal.distributed.outcomes import Outcome
from vsal.distributed.run import Run
from vsal.distributed.tally import Tally
from vsal.distributed.watch import Watch
from vsal.errors import Reason, Terminated
from vsal.manifest import validate
from vsal.settings import RunSettings


@contextmanager
def signalled(numbers: list[tuple[float, signal.Signals]]) -> Iterator[None]:
    """This process gets signals, each so long after the one before."""

    def send() -> None:
        for after_s, number in numbers:
            time.sleep(after_s)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield
    thread.join()


def run(titles: dict[str, list[int]], folder: Path, mishaps: dict[str, list[str]], drain: Drain) -> dict[str, Outcome]:
    tally, watch, credit = Tally(len(titles), time.perf_counter()), Watch(), Credit(2, 0)
    try:
        with drain:
            work = SumWork(titles, folder, mishaps)
            Run(work, RunSettings(), tally, credit, watch, RunMetrics("sum"), None, drain).work()
    finally:
        watch.close()
    return {outcome.title_id: outcome for outcome in tally.in_order(list(titles))}


@pytest.mark.usefixtures("local_ray")
def test_open_titles_may_end_within_the_grace_and_the_rest_is_cleared_away(tmp_path: Path) -> None:
    titles = {f"t{i}": list(range(PIECE)) for i in range(20)}
    mishaps = {f"t{i}/piece 0": ["work"] for i in range(20)}  # three seconds each
    mishaps["t0/piece 0"] = ["work"] * 2
    told: list[float] = []
    drain = Drain(0.2, lambda name: told.append(time.monotonic()))
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    with signalled([(2.0, signal.SIGTERM)]):
        sent = time.monotonic() + 2.0
        outcomes = run(titles, tmp_path, mishaps, drain)
    assert told[0] - sent < 0.5
    assert 1 <= len(outcomes) < 20, "titles were begun after the signal"
    assert {outcome.reason for outcome in outcomes.values()} <= {Reason.INTERRUPTED, None}
    stopped = [name for name, outcome in outcomes.items() if outcome.reason is Reason.INTERRUPTED]
    assert stopped
    assert all(list(tmp_path.glob(f"{name}-clear.*")) for name in stopped), "settled before it was cleared away"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before

    long_enough = Drain(60.0, lambda name: None)
    with signalled([(1.0, signal.SIGTERM)]):
        outcomes = run({"a": [1]}, tmp_path, {"a/piece 0": ["work"]}, long_enough)
    assert outcomes["a"].status == "done"


@pytest.mark.usefixtures("local_ray")
def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    drain, began = Drain(60.0, lambda name: None), time.monotonic()
    mishaps = {"a/piece 0": ["hang"]}
    with signalled([(1.0, signal.SIGTERM), (0.5, signal.SIGTERM)]), pytest.raises(Terminated):
        run({"a": [1]}, tmp_path, mishaps, drain)
    assert time.monotonic() - began < 10


def test_a_signal_is_heard_while_the_main_thread_is_busy_in_c() -> None:
    told: list[float] = []
    with Drain(1.0, lambda name: told.append(time.monotonic())), signalled([(0.2, signal.SIGINT)]):
        sent = time.monotonic() + 0.2
        sorted(range(12_000_000), key=lambda n: -n)
    assert told[0] - sent < 1.0


# --- Whole runs


def start(temporary: Path, *words: str | Path) -> subprocess.Popen[str]:
    """A run with a folder of its own for temporary files."""
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "vsal", *map(str, words)]
    environment = {**os.environ, "TMPDIR": str(temporary), "RAY_TMPDIR": "/tmp"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what: Any, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not what():
        assert driver.poll() is None, f"the run ended before it could be stopped: {driver.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def told(place: Path) -> dict[str, Reason | None]:
    """By title how it ended last, by the journals."""
    return {o.title_id: o.reason for o, _ in parts.outcomes_in(parts.newest(parts.read_all(str(place)).table))}


def assert_told_at_once(place: Path) -> None:
    """Within a second; before `ray job stop` kills on a machine that is busy with other things."""
    deadline = time.monotonic() + 2.5
    while Reason.INTERRUPTED not in told(place).values():
        assert time.monotonic() < deadline, "what is open is not told of"
        time.sleep(0.05)


def leftovers(place: Path, temporary: Path) -> list[Path]:
    return [*place.rglob(".vsal-staging-*"), *temporary.glob("*vsal-*")]


@pytest.fixture(scope="module")
def catalogue(long_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    listing = tmp_path_factory.mktemp("catalogue") / "titles.csv"
    listing.write_text("uri,title_id\n" + "".join(f"{long_clip},t{i}\n" for i in range(12)))
    return listing


@pytest.mark.faults
def test_sigterm_in_prepare_and_the_next_run_goes_on(catalogue: Path, tmp_path: Path) -> None:
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    words = ("prepare", catalogue, "--out", out, "--json", "--segment-s", "5", "--sample-rate", "12")
    driver = start(temporary, *words)
    wait_for(lambda: list(out.glob("maps/*.parquet")), driver)
    below = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGTERM)
    assert_told_at_once(out)
    stdout, stderr = driver.communicate(timeout=90)
    document = json.loads(stdout)
    assert driver.returncode == 75, stderr
    assert document["stopped"] == "SIGTERM"
    counts = document["titles"]
    assert counts["failed"] == 0
    assert counts["done"] + counts["interrupted"] + document["left"] == 12
    assert counts["interrupted"] >= 1
    assert document["left"] >= 1
    assert json.loads((out / "runs" / f"{document['run_id']}.json").read_text())["stopped"] == "SIGTERM"
    table = pq.read_table(out / "titles.parquet").to_pylist()
    assert len(table) == counts["done"] + counts["interrupted"]
    assert failed_titles(parts.read_all(str(out)).table, "prepare") == set()
    assert len(list(out.glob("maps/*"))) == counts["done"]
    assert not leftovers(out, temporary)
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive, alive

    again = start(temporary, *words)
    stdout, stderr = again.communicate(timeout=250)
    assert again.returncode == 0, stderr
    assert json.loads(stdout)["titles"] == {"done": 12 - counts["done"], "skipped": counts["done"], "failed": 0}
    assert validate(str(out)) == []
    # All are the same video: what was made before, after and around the stop is the same.
    for i in range(1, 12):
        shutil.copy(out / "maps" / f"t{i}.parquet", tmp_path)
    first = pq.read_table(out / "maps" / "t0.parquet").drop_columns("title_id")
    assert all(pq.read_table(tmp_path / f"t{i}.parquet").drop_columns("title_id").equals(first) for i in range(1, 12))


@pytest.mark.faults
@pytest.mark.parametrize("codec", ["x264", "svtav1"])
def test_ctrl_c_in_encode_leaves_nothing_behind(tmp_path: Path, codec: str) -> None:
    if codec == "svtav1" and shutil.which("SvtAv1EncApp") is None:
        pytest.skip("SvtAv1EncApp is not installed")
    write_manifest(tmp_path / "out", write_source(tmp_path / "clip.mp4", 20 * 24, 640, 384))
    dest, temporary = tmp_path / "dest", tmp_path / "temporary"
    slow = {"x264": "veryslow", "svtav1": "4"}[codec]
    driver = start(
        temporary, "encode", tmp_path / "out", "--dest", dest, "--codec", codec, "--preset", slow, "--json",
        "--chunked", "--chunk-seconds", "4",
    )  # fmt: skip

    def encoding() -> bool:
        workers = processes("chunk_task", driver.pid)
        return bool(workers) and (codec == "x264" or any(worker.children() for worker in workers))

    wait_for(encoding, driver)
    time.sleep(0.5)
    below = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGINT)
    assert_told_at_once(dest)
    stdout, stderr = driver.communicate(timeout=90)
    assert driver.returncode == 130, stderr
    assert json.loads(stdout)["titles"] == {"done": 0, "skipped": 0, "failed": 0, "interrupted": 1}
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive, alive
    assert not leftovers(dest, temporary)
    assert not list(dest.glob("title*"))


@pytest.mark.faults
def test_a_stopped_job_has_told_what_was_open_and_leaves_nothing_behind(catalogue: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def state() -> dict[str, Any]:
        states = [json.loads(path.read_text()) for path in out.glob("journal/*/run.json")]
        return states[0] if states else {}

    with running_head(tmp_path) as head:
        job = (sys.executable, "-m", "jobs.prepare_roi", str(catalogue), "--out", str(out), "--sample-rate", "24")
        thread = threading.Thread(target=head.submit, args=job, kwargs={"submission_id": "stopped"}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 150
        while not any(title["running"] for title in state().get("slowest", ())):
            assert time.monotonic() < deadline, state()
            time.sleep(0.2)
        stopped = head.ray("job", "stop", "stopped")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        thread.join(60)
        reasons = told(out)
        assert Reason.INTERRUPTED in reasons.values()
        assert set(reasons.values()) <= {Reason.INTERRUPTED, None}
        assert state()["phase"] in ("stopping", "stopped")
        assert head.status("stopped") == "STOPPED"
    # The driver may have been killed before it swept: then whoever writes there next does.
    storage.sweep(str(out / "maps"))
    assert len(list(out.rglob("maps/*"))) == sum(reason is None for reason in reasons.values())
