"""What dies in the middle of a run: the manifest is that of an undisturbed run, nothing lost, nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.distributed.killing import killer, processes
from tests.distributed.manifests import same_maps
from vsal.catalog import Title
from vsal.distributed.prepare import prepare_catalogue
from vsal.distributed.prepare.work import SHORT_BYTES
from vsal.errors import Reason
from vsal.manifest import validate
from vsal.settings import PrepareSettings, RunSettings

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def undisturbed(long_clip: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    prepare(long_clip, out)
    return out


def prepare(clip: Path, out: Path, **run):
    run = {"segment_s": 5, **run}
    return prepare_catalogue([Title("t", str(clip))], str(out), PrepareSettings(), RunSettings(**run)).outcomes[0]


def test_a_killed_decode_worker_costs_its_segment_only(undisturbed: Path, long_clip: Path, tmp_path: Path) -> None:
    with killer("scan_task") as killed:
        outcome = prepare(long_clip, tmp_path)
    assert killed
    assert (outcome.status, outcome.attempts) == ("done", 2)
    same_maps(tmp_path, undisturbed, "t")


def test_a_killed_saliency_actor_loses_no_mask(undisturbed: Path, long_clip: Path, tmp_path: Path) -> None:
    with killer("SaliencyActor.infer", after_s=0.0) as killed:
        outcome = prepare(long_clip, tmp_path)
    assert killed
    assert outcome.status == "done"
    same_maps(tmp_path, undisturbed, "t")


def test_a_killed_aggregator_costs_no_attempt(undisturbed: Path, long_clip: Path, tmp_path: Path) -> None:
    with killer("Aggregator.add", after_s=0.0) as killed:
        outcome = prepare(long_clip, tmp_path)
    assert killed
    assert (outcome.status, outcome.attempts) == ("done", 1)
    same_maps(tmp_path, undisturbed, "t")


def test_a_killed_opening_costs_an_attempt(undisturbed: Path, long_clip: Path, tmp_path: Path) -> None:
    with killer("short_title_task", after_s=0.0) as killed:
        outcome = prepare(long_clip, tmp_path)
    assert killed
    assert (outcome.status, outcome.attempts) == ("done", 2)
    same_maps(tmp_path, undisturbed, "t")


@pytest.mark.usefixtures("local_ray")
def test_a_segment_that_kills_its_worker_twice_is_poison(long_clip: Path, tmp_path: Path) -> None:
    with killer("scan_task 2", times=2, after_s=0.0) as killed:
        outcome = prepare(long_clip, tmp_path)
    assert len(killed) == 2
    assert (outcome.status, outcome.reason, outcome.attempts) == ("failed", Reason.WORKER_DIED, 2)
    assert outcome.detail.startswith("poison: segment 2 of ")
    assert not (tmp_path / "maps" / "t.parquet").exists()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "maps" in path.parts]


def test_a_killed_driver_is_resumed(undisturbed: Path, long_clip: Path, tmp_path: Path) -> None:
    listing = tmp_path / "titles.csv"
    listing.write_text("uri,title_id\n" + "".join(f"{long_clip},t{i}\n" for i in range(4)))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vsal", "prepare", str(listing), "--out", str(out), "--json", "--segment-s", "5"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 120
        while not list(out.glob("maps/*.parquet")):
            assert driver.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = [
            p
            for kind in ("scan_task", "open_task", "short_title_task", "Sal", "Agg", "Pulse", "IDLE")
            for p in processes(kind, driver.pid)
        ]
        assert workers
        driver.kill()
    gone = time.monotonic() + 30
    while any(process.is_running() and process.status() != "zombie" for process in workers):
        assert time.monotonic() < gone, "workers outlive their driver"
        time.sleep(0.1)
    committed = {path.name: path.stat().st_mtime_ns for path in out.glob("maps/*.parquet")}
    assert 1 <= len(committed) < 4
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    titles = json.loads(resumed.stdout)["titles"]
    assert titles == {"done": 4 - len(committed), "skipped": len(committed), "failed": 0}
    for name, stamp in committed.items():
        assert (out / "maps" / name).stat().st_mtime_ns == stamp
    assert sorted(path.name for path in (out / "maps").iterdir()) == [f"t{i}.parquet" for i in range(4)]
    table = pq.read_table(out / "titles.parquet").to_pylist()  # of both runs
    told = [(row["title_id"], row["reason"], row["frames"]) for row in table]
    assert told == [(f"t{i}", None, 1440) for i in range(4)]
    assert validate(str(out)) == []


@pytest.mark.usefixtures("local_ray")
def test_a_killed_worker_of_a_short_title_costs_an_attempt(clip: Path, tmp_path: Path) -> None:
    assert clip.stat().st_size < SHORT_BYTES
    prepare(clip, tmp_path / "undisturbed", segment_s=60)
    with killer("short_title_task", after_s=0.02) as killed:
        outcome = prepare(clip, tmp_path / "out", segment_s=60)
    assert killed
    assert (outcome.status, outcome.attempts) == ("done", 2)
    same_maps(tmp_path / "out", tmp_path / "undisturbed", "t")
