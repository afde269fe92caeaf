"""A place that takes no more stops the run: nothing more is decoded for it, nothing half stays, and it is said."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributed.manifests import same_maps
from tests.encode.test_title import settings_of
from tests.encode.titles import write_manifest, write_source
from tests.fixtures_s3 import S3Server
from vsal import storage
from vsal.catalog import Title
from vsal.distributed.encode import encode_catalogue
from vsal.distributed.failures import DENIED, FULL, LOST, WRITE, Failure
from vsal.distributed.output import WRITES_IN_A_ROW, Outlet
from vsal.distributed.prepare import prepare_catalogue
from vsal.encode.chunks import encode_chunk
from vsal.encode.title import plan_title
from vsal.errors import Reason
from vsal.settings import PrepareSettings, RunSettings

ONE_BY_ONE = RunSettings(titles_in_flight=1)
TITLES = 5


@pytest.fixture(scope="module")
def ray_here(s3_server: S3Server, local_ray: None) -> None:
    """Ray whose workers know the S3 server."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "vsal-test", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory, ray_here: None) -> tuple[list[Title], Path]:
    """Some copies of a title, and their manifest."""
    folder = tmp_path_factory.mktemp("copies")
    titles = []
    for number in range(TITLES):
        (folder / f"{number}.mp4").hardlink_to(clip)
        titles.append(Title(f"t{number}", str(folder / f"{number}.mp4")))
    assert prepare_catalogue(titles, str(folder / "out"), PrepareSettings(), RunSettings()).exit_code == 0
    return titles, folder / "out"


def fill(folder: Path, leave: int) -> Path:
    """Takes up a file system but for some bytes."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))
    return filler


def staging(folder: Path) -> list[Path]:
    return list(folder.rglob(".vsal-staging-*"))


@pytest.mark.faults
def test_a_disk_that_fills_up_stops_prepare_and_room_lets_it_go_on(
    undisturbed: tuple[list[Title], Path], small_disk: Path
) -> None:
    titles, before = undisturbed
    out = small_disk / "out"
    out.mkdir()
    size = (before / "maps" / "t0.parquet").stat().st_size
    filler = fill(small_disk, 256 * 1024 + 2 * size)
    summary = prepare_catalogue(titles, str(out), PrepareSettings(), ONE_BY_ONE)
    assert summary.exit_code == 75
    assert "takes no more" in summary.stopped
    assert "No space left on device" in summary.stopped
    assert summary.count("failed") == 0, "the titles are not at fault"
    assert 1 <= summary.count("done") < TITLES
    assert summary.count("done") + summary.sums.interrupted + summary.left == TITLES
    assert staging(small_disk) == []
    filler.unlink()
    again = prepare_catalogue(titles, str(out), PrepareSettings(), ONE_BY_ONE)
    assert (again.exit_code, again.count("done") + again.count("skipped")) == (0, TITLES)
    for title in titles:
        same_maps(before, out, title.title_id)


@pytest.mark.faults
def test_a_disk_that_fills_up_stops_encode_and_its_chunks_are_gone_on_with(
    ray_here: None, small_disk: Path, tmp_path: Path
) -> None:
    for title_id in ("one", "other"):
        write_manifest(tmp_path / "out", write_source(tmp_path / f"{title_id}.mp4"), title_id=title_id)
    settings, dest = settings_of("x264", chunked=True, chunk_s=1.0), small_disk / "dest"
    plan = plan_title(str(tmp_path / "out"), "one", settings, str(dest))
    first = encode_chunk(plan.chunks[0])
    filler = fill(small_disk, 256 * 1024 + first.size)
    summary = encode_catalogue(str(tmp_path / "out"), str(dest), settings, RunSettings())
    assert summary.exit_code == 75
    assert "takes no more" in summary.stopped
    assert summary.count("failed") == 0
    assert summary.sums.interrupted + summary.left >= 1
    assert staging(small_disk) == []
    assert Path(plan.chunks[0].uri).exists() or (dest / "one.encode.json").exists()
    filler.unlink()
    again = encode_catalogue(str(tmp_path / "out"), str(dest), settings, RunSettings())
    assert (again.exit_code, again.count("done") + again.count("skipped")) == (0, 2)
    assert not (dest / ".chunks").exists()


@pytest.mark.faults
def test_a_bucket_that_takes_no_more_stops_prepare(undisturbed: tuple[list[Title], Path], s3_server: S3Server) -> None:
    titles, _ = undisturbed
    bucket = s3_server.bucket()
    over = threading.Event()

    def deny() -> None:
        while not s3_server.keys(f"{bucket}/roi/maps/t0.parquet") and not over.wait(0.02):
            pass
        s3_server.denied[bucket.removeprefix("s3://")] = {"s3:PutObject"}

    thread = threading.Thread(target=deny, daemon=True)
    thread.start()
    try:
        summary = prepare_catalogue(titles, f"{bucket}/roi", PrepareSettings(), ONE_BY_ONE)
    finally:
        over.set()
        thread.join()
        s3_server.denied.clear()
    assert summary.exit_code == 75
    assert "takes no more" in summary.stopped
    assert summary.count("failed") == 0
    done = summary.count("done")
    assert 1 <= done < TITLES - 1, "it went on for a place that takes nothing"
    again = prepare_catalogue(titles, f"{bucket}/roi", PrepareSettings(), ONE_BY_ONE)
    assert (again.exit_code, again.count("skipped"), again.count("done")) == (0, done, TITLES - done)


def failure(rule: object, detail: str = "gone") -> Failure:
    return Failure(rule, Reason.WRITE_FAILED, detail)  # type: ignore[arg-type]


def stopped_by(place: str, failures: list[tuple[str, Failure | None]]) -> list[str]:
    """What an outlet says after these; None is a result that was written."""
    said: list[str] = []
    outlet = Outlet(place, said.append)
    for title_id, failed in failures:
        if failed is None:
            outlet.written()
        else:
            outlet.failed(title_id, failed)
    deadline = time.monotonic() + 10
    while outlet._asking is not None and outlet._asking.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    return said


def test_what_stops_a_run_and_what_does_not(tmp_path: Path) -> None:
    place, many = str(tmp_path), WRITES_IN_A_ROW
    in_turn = [(f"t{number % 2}", failure(WRITE)) for number in range(many)]
    assert len(stopped_by(place, [("t", failure(FULL))])) == 1
    assert len(stopped_by(place, list(in_turn))) == 1
    assert stopped_by(place, [*in_turn[:-1], ("t", None), in_turn[-1]]) == []
    assert stopped_by(place, [("t", failure(WRITE))] * many) == [], "one title alone is no reason"
    assert stopped_by(place, [(f"t{number}", failure(LOST)) for number in range(3 * many)]) == []
    # The folder for temporary files of one node of many, as far as is known.
    assert stopped_by("s3://bucket/key", [("t", failure(FULL))]) == []
    # One name alone is denied: the place takes others.
    assert stopped_by(place, [("t", failure(DENIED))]) == []
    (tmp_path / "file").touch()
    assert len(stopped_by(str(tmp_path / "file" / "below"), [("t", failure(DENIED))])) == 1


def test_a_full_disk_is_seen_before_anything_is_written_for_a_title(small_disk: Path) -> None:
    fill(small_disk, 16 * 1024)
    path = storage.staging_file(str(small_disk / "title.parquet"))
    with pytest.raises(OSError, match="No space left on device"):
        storage.claim(path)
    assert staging(small_disk) == []
