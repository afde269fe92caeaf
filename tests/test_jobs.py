from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest

from jobs import encode_roi, prepare_roi
from tests import handmade
from vsal import storage
from vsal.distributed import parts
from vsal.errors import Reason
from vsal.manifest import read_manifest, validate
from vsal.video.synthetic import render_title, synthetic_title

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


def submit(environment: dict[str, str], *words: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "ray"), "job", "submit", "--working-dir", str(REPO), *options, "--", *words]
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


@pytest.mark.faults
def test_a_stopped_job_has_told_what_was_open_and_leaves_nothing_behind(head: dict[str, str], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    render_title(str(clip), synthetic_title(320, 180, 24, 40, 120, seed=5), gop=24)
    listing, out = tmp_path / "titles.csv", tmp_path / "out"
    listing.write_text("uri,title_id\n" + "".join(f"{clip},t{i}\n" for i in range(6)))
    wait_until_it_answers(head)
    job = [sys.executable, "-m", "jobs.prepare_roi", str(listing), "--out", str(out), "--sample-rate", "24"]
    submitted = submit(head, *job, options=["--no-wait", "--submission-id", "stopped"])
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    wait_for(lambda: any(read_state(out).get("slowest") or []))
    stopped = subprocess.run(
        [str(BIN / "ray"), "job", "stop", "stopped"], env=head, capture_output=True, text=True, timeout=100, check=False
    )
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    rows = parts.newest(parts.read_all(str(out)).table)
    reasons = [outcome.reason for outcome, _ in parts.outcomes_in(rows)]
    assert reasons.count(Reason.INTERRUPTED) == len(reasons) >= 1
    assert read_state(out)["phase"] in ("stopping", "stopped")
    # The driver was killed after three seconds at the latest; workers and actors end with it.
    wait_for(lambda: not list(out.rglob(".vsal-staging-*")) or storage.sweep(str(out / "maps")))
    assert not list(out.rglob("maps/*"))


def wait_for(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 150
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def read_state(out: Path) -> dict[str, Any]:
    """What the only run into OUT has last told of itself."""
    states = [json.loads(path.read_text()) for path in out.glob("journal/*/run.json")]
    return states[0] if states else {}
