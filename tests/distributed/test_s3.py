"""From a bucket to a bucket: sources read by ranges, manifests that appear whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.fixtures_s3 import S3Server
from vsal.manifest import read_manifest, validate


def test_a_catalogue_in_a_bucket_is_prepared_into_a_bucket(s3_server: S3Server, clip: Path, tmp_path: Path) -> None:
    bucket = s3_server.bucket()
    s3_server.put(f"{bucket}/videos/a.mp4", clip.read_bytes())
    s3_server.put(f"{bucket}/videos/sub/b.mp4", clip.read_bytes())
    s3_server.put(f"{bucket}/videos/broken.mp4", b"nothing")
    s3_server.put(f"{bucket}/videos/notes.txt", b"not part of the catalogue")
    # A process of its own: its workers inherit endpoint and credentials.
    command = [sys.executable, "-m", "vsal", "prepare", f"{bucket}/videos", "--out", f"{bucket}/roi", "--json"]
    run = subprocess.run([*command, "--segment-s", "3"], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1, run.stderr
    document = json.loads(run.stdout)
    assert document["titles"] == {"done": 2, "skipped": 0, "failed": 1}
    assert document["failed"][0]["reason"] == "unreadable"
    keys = s3_server.keys(f"{bucket}/roi")
    assert sorted(key for key in keys if key.startswith("roi/maps/") and not key.endswith("/")) == [
        "roi/maps/a.parquet", "roi/maps/b.parquet",
    ]  # fmt: skip
    assert "roi/titles.parquet" in keys
    assert validate(f"{bucket}/roi") == []
    assert read_manifest(f"{bucket}/roi").map_at("a", 100).saliency.shape == (12, 20)
    reads = s3_server.gets(f"{bucket}/videos/a.mp4")
    assert reads
    assert all(read.range for read in reads), "a video was fetched whole"
    assert not list(tmp_path.iterdir()), "something was left on the local disk"
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert json.loads(again.stdout)["titles"] == {"done": 0, "skipped": 2, "failed": 1}
