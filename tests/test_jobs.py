from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import av
import pytest

from jobs import encode_roi, prepare_roi
from tests import handmade
from vsal.manifest import read_manifest, validate

REPO = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(("job", "verb"), [(prepare_roi, "prepare"), (encode_roi, "encode")])
def test_a_job_joins_the_cluster_it_runs_on(job: ModuleType, verb: str) -> None:
    tolerant = ["--max-failed", "100%"]
    assert job.arguments(["c", "--out", "o"]) == [verb, "c", "--out", "o", "--address", "auto", *tolerant]
    assert job.arguments(["c", "--address", "ray:1"]) == [verb, "c", "--address", "ray:1", *tolerant]
    assert job.arguments(["c", "--address=ray:1"]) == [verb, "c", "--address=ray:1", *tolerant]
    assert job.arguments(["c", "--max-failed=2"]) == [verb, "c", "--max-failed=2", "--address", "auto"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head node with token authentication, as `ray start --head` makes it; yields the environment of its clients."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    dashboard = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": "/tmp",  # the path of a socket may have 107 bytes at most
        "PYTHONPATH": "",
    }
    start = [
        str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", f"--port={free_port()}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--object-store-memory=200000000",
        "--disable-usage-stats",
    ]  # fmt: skip
    log = (tmp_path / "head.log").open("w")
    process = subprocess.Popen(start, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    finally:
        process.terminate()  # --block: the head takes its processes with it
        process.wait(30)
        log.close()


def submit(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "ray"), "job", "submit", "--working-dir", str(REPO), "--", *words]
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
        # A head answers before the agent that starts jobs has come up.
        if "No available agent" not in done.stderr + done.stdout or time.monotonic() > deadline:
            return done


def wait_until_it_answers(environment: dict[str, str]) -> None:
    for _ in range(60):
        listed = subprocess.run(
            [str(BIN / "ray"), "job", "list"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if listed.returncode == 0:
            return
    raise AssertionError(f"the head node does not answer: {listed.stdout}{listed.stderr}")


def test_submitted_jobs_write_the_manifest_and_the_encodes(head: dict[str, str], tmp_path: Path) -> None:
    clip = handmade.write_clip(tmp_path / "clip.mp4")
    out = tmp_path / "out"
    wait_until_it_answers(head)
    stranger = {key: value for key, value in head.items() if not key.startswith("RAY_AUTH")}
    refused = submit(stranger | {"RAY_AUTH_MODE": "disabled"}, "python", "-c", "pass")
    assert refused.returncode != 0, "a client without the token was let in"

    done = submit(head, sys.executable, "-m", "jobs.prepare_roi", str(clip), "--out", str(out))

    summaries = list((out / "runs").glob("*.json"))
    documents = [json.loads(path.read_text()) for path in summaries]
    assert [document["titles"]["done"] for document in documents] == [1], done.stdout + done.stderr
    assert read_manifest(str(out)).title("clip").frames == 72
    assert validate(str(out)) == []

    dest = tmp_path / "enc"
    job = [sys.executable, "-m", "jobs.encode_roi", str(out), "--dest", str(dest), "--preset", "superfast"]
    done = submit(head, *job)

    documents = [json.loads(path.read_text()) for path in (dest / "runs").glob("*.json")]
    assert [document["titles"]["done"] for document in documents] == [1], done.stdout + done.stderr
    with av.open(str(dest / "clip.mp4")) as encoded:
        assert sum(1 for _ in encoded.decode(video=0)) == 72
