"""A store that answers 503 or resets for ten seconds costs no step, and the results are those of an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributed.counted import CountedRun
from tests.encode.titles import write_manifest, write_source
from tests.fixtures_s3 import S3Server
from tests.troubled_store import Trouble, troubled

pytestmark = pytest.mark.faults
SECONDS = 10.0


def content(server: S3Server, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = server.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


@pytest.fixture(scope="module")
def undisturbed(s3_server: S3Server, long_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """A bucket with a video and its manifest, and how many frames were decoded for it."""
    bucket = s3_server.bucket()
    s3_server.put(f"{bucket}/videos/t.mp4", long_clip.read_bytes())
    run = CountedRun(tmp_path_factory.mktemp("undisturbed") / "run", f"{bucket}/videos", f"{bucket}/roi")
    run.whole("--segment-s", "10")
    return bucket, run.frames


@pytest.mark.parametrize("kind", ["busy", "reset"])
def test_prepare_goes_on_where_it_was(
    kind: Trouble, undisturbed: tuple[str, int], s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, frames = undisturbed
    run = CountedRun(tmp_path / "run", f"{bucket}/videos", f"{bucket}/{kind}")
    with troubled(s3_server.endpoint) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        # Its head, its header, the keyframes at which it is cut: then the segments are being read.
        store.trouble_at("/videos/t.mp4", 20, kind, SECONDS)
        document = run.whole("--segment-s", "10")
        assert store.met[kind] > 5
    assert document["titles"] == {"done": 1, "skipped": 0, "failed": 0}
    assert document["outcomes"][0]["attempts"] == 1
    assert run.frames == frames, "a step was done again"
    path = "maps/t.parquet"
    assert content(s3_server, f"{bucket}/{kind}/{path}") == content(s3_server, f"{bucket}/roi/{path}")


def test_encode_goes_on_where_it_was(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_server.bucket()
    clip = write_source(tmp_path / "clip.mp4", 240)
    s3_server.put(f"{bucket}/videos/clip.mp4", clip.read_bytes())
    write_manifest(f"{bucket}/roi", f"{bucket}/videos/clip.mp4")

    def encode(dest: str) -> None:
        command = [sys.executable, "-m", "vsal", "encode", f"{bucket}/roi", "--dest", f"{bucket}/{dest}", "--json"]
        command += ["--preset", "superfast", "--chunked", "--chunk-seconds", "2"]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        assert run.returncode == 0, run.stdout + run.stderr
        document = json.loads(run.stdout)
        assert document["titles"] == {"done": 1, "skipped": 0, "failed": 0}
        assert document["outcomes"][0]["attempts"] == 1

    encode("undisturbed")
    with troubled(s3_server.endpoint) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        store.trouble_at(".chunk", 3, "busy", SECONDS)  # some chunks are written, others being made
        encode("busy")
        assert store.met["busy"] > 5
    assert content(s3_server, f"{bucket}/busy/title.mp4") == content(s3_server, f"{bucket}/undisturbed/title.mp4")
