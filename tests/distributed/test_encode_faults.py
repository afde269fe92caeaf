"""What dies in the middle of an encode: the file is that of an undisturbed run, nothing lost, nothing half."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import pytest

from tests.distributed.killing import killer, processes
from tests.encode.test_title import settings_of, times_of
from tests.encode.titles import write_manifest, write_source
from vsal import storage
from vsal.distributed.encode import encode_catalogue
from vsal.distributed.outcomes import Outcome
from vsal.encode.chunks import encode_chunk
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import plan_title
from vsal.errors import Reason
from vsal.settings import RunSettings

FRAMES, CHUNKS = 8 * 24, 4

pytestmark = pytest.mark.faults


def settings() -> EncodeSettings:
    # Slow, so that there is time to kill something in the middle.
    return settings_of("x264", chunked=True, chunk_s=2.0, encoder_options={"me": "umh", "subme": "9", "refs": "8"})


@pytest.fixture(scope="module")
def prepared_long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a title of eight shots, 24 frames each."""
    folder = tmp_path_factory.mktemp("long")
    write_manifest(folder / "out", write_source(folder / "clip.mp4", FRAMES, 640, 384))
    return folder / "out"


def encode(out: Path, dest: Path, **run: Any) -> Outcome:
    return encode_catalogue(str(out), str(dest), settings(), RunSettings(**run)).outcomes[0]


def pictures(path: Path) -> list[tuple[bool, int]]:
    """For each packet whether it is a keyframe, and its size."""
    with av.open(str(path)) as container:
        return [(packet.is_keyframe, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.fixture(scope="module")
def undisturbed(prepared_long: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    dest = tmp_path_factory.mktemp("undisturbed")
    assert encode(prepared_long, dest).status == "done"
    return dest / "title.mp4"


def holds_the_same(dest: Path, undisturbed: Path) -> None:
    assert times_of(dest / "title.mp4") == times_of(undisturbed)
    assert pictures(dest / "title.mp4") == pictures(undisturbed)
    assert sorted(path.name for path in dest.iterdir()) == ["journal", "runs", "title.encode.json", "title.mp4"]


def test_a_killed_chunk_worker_costs_its_chunk_only(undisturbed: Path, prepared_long: Path, tmp_path: Path) -> None:
    with killer("chunk_task", after_s=0.1) as killed:
        outcome = encode(prepared_long, tmp_path)
    assert killed
    assert (outcome.status, outcome.attempts, outcome.figures["chunks"]) == ("done", 2, CHUNKS)
    holds_the_same(tmp_path, undisturbed)


@pytest.mark.usefixtures("local_ray")
def test_a_chunk_that_kills_its_worker_twice_is_poison(prepared_long: Path, tmp_path: Path) -> None:
    plan = plan_title(str(prepared_long), "title", settings(), str(tmp_path))
    for chunk in plan.chunks[1:]:
        encode_chunk(chunk)
    whole = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.chunk")}
    with killer("chunk_task 0", times=2, after_s=0.0) as killed:
        outcome = encode(prepared_long, tmp_path, attempts=8)
    assert len(killed) == 2
    assert (outcome.status, outcome.reason) == ("failed", Reason.WORKER_DIED)
    assert outcome.detail.startswith("poison: chunk 0 of 4, frames 0 to 47, killed 2 workers")
    assert not (tmp_path / "title.mp4").exists()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.chunk")} == whole, "a good chunk was lost"


@pytest.mark.usefixtures("local_ray")
def test_chunks_that_do_not_join_are_made_again_in_one_piece(
    undisturbed: Path, prepared_long: Path, tmp_path: Path
) -> None:
    plan = plan_title(str(prepared_long), "title", settings(), str(tmp_path))
    encode_chunk(plan.chunks[0])
    encode_chunk(plan.chunks[1])
    # Under the name of the second chunk lies the first: as many frames, at times that are taken already.
    for ending in ("", ".pts.npy"):
        data = storage.read_bytes(plan.chunks[0].uri + ending)
        storage.write_bytes(plan.chunks[1].uri + ending, data)
    outcome = encode(prepared_long, tmp_path)
    assert (outcome.status, outcome.figures["chunks"]) == ("done", 1)
    assert times_of(tmp_path / "title.mp4") == times_of(undisturbed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "runs", "title.encode.json", "title.mp4"]
    assert encode(prepared_long, tmp_path).status == "skipped", "it would be made again in every run"


def test_chunks_that_others_remove_are_made_again(undisturbed: Path, prepared_long: Path, tmp_path: Path) -> None:
    removed: list[Path] = []

    def remove() -> None:
        while not removed and not done.wait(0.01):
            for chunk in sorted(tmp_path.rglob("*.chunk"))[:1]:
                chunk.unlink()
                removed.append(chunk)

    done = threading.Event()
    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    try:
        outcome = encode(prepared_long, tmp_path)
    finally:
        done.set()
        thread.join()
    assert removed
    assert (outcome.status, outcome.figures["chunks"]) == ("done", CHUNKS)
    holds_the_same(tmp_path, undisturbed)


def test_a_killed_driver_is_resumed(undisturbed: Path, prepared_long: Path, tmp_path: Path) -> None:
    options = [f"--encoder-option={key}={value}" for key, value in settings().encoder_options.items()]
    command = [sys.executable, "-m", "vsal", "encode", str(prepared_long), "--dest", str(tmp_path), "--json"]
    command += ["--preset", "superfast", "--chunked", "--chunk-seconds", "2", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("*.chunk")):
            assert driver.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = [process for kind in ("chunk_task", "IDLE") for process in processes(kind, driver.pid)]
        driver.kill()
    gone = time.monotonic() + 30
    while any(process.is_running() and process.status() != "zombie" for process in workers):
        assert time.monotonic() < gone, "workers outlive their driver"
        time.sleep(0.05)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.chunk")}
    assert 1 <= len(kept) <= CHUNKS
    assert not (tmp_path / "title.mp4").exists()
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    document = json.loads(resumed.stdout)
    assert document["titles"] == {"done": 1, "skipped": 0, "failed": 0}
    record = json.loads((tmp_path / "title.encode.json").read_text())
    assert record["reused"] == len(kept)
    holds_the_same(tmp_path, undisturbed)
