"""From a bucket to a bucket: chunks and the finished file appear when they are whole."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import av

from tests.encode.titles import write_manifest, write_source
from tests.fixtures_s3 import S3Server
from vsal.manifest import maps_uri


def test_titles_of_a_bucket_are_encoded_into_a_bucket(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.bucket()
    clip = write_source(tmp_path / "clip.mp4")
    s3_server.put(f"{bucket}/videos/clip.mp4", clip.read_bytes())
    write_manifest(f"{bucket}/roi", f"{bucket}/videos/clip.mp4")
    assert s3_server.keys(maps_uri(f"{bucket}/roi", "title"))
    clip.unlink()
    # A process of its own: its workers inherit endpoint and credentials.
    command = [sys.executable, "-m", "vsal", "encode", f"{bucket}/roi", "--dest", f"{bucket}/enc", "--json"]
    command += ["--preset", "superfast", "--chunked", "--chunk-seconds", "1"]
    begun = len(s3_server.requests)
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    document = json.loads(run.stdout)
    assert document["titles"] == {"done": 1, "skipped": 0, "failed": 0}
    # enc/ is what pyarrow puts in place of a folder.
    left = {"enc/", f"enc/runs/{document['run_id']}.json", "enc/title.encode.json", "enc/title.mp4"}
    assert {key for key in s3_server.keys(f"{bucket}/enc") if not key.startswith("enc/journal/")} == left
    name = bucket.removeprefix("s3://")
    made = s3_server.client.get_object(Bucket=name, Key="enc/title.mp4")["Body"].read()
    with av.open(io.BytesIO(made)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 72
    puts = [r.path for r in s3_server.requests[begun:] if r.method in ("PUT", "POST") and "/enc/" in r.path]
    written = [path.rpartition("/")[2] for path in puts]
    assert written.index("title.mp4") > max(i for i, path in enumerate(written) if path.endswith(".chunk"))
    assert written.index("title.encode.json") > written.index("title.mp4"), "the record is the commit: it comes last"
    assert not list(tmp_path.iterdir()), "something was left on the local disk"

    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(again.stdout)["titles"] == {"done": 0, "skipped": 1, "failed": 0}
    assert subprocess.run(
        [sys.executable, "-m", "vsal", "verify", f"{bucket}/roi", "--encoded", f"{bucket}/enc", "--no-pictures"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    ).returncode == 0  # fmt: skip
