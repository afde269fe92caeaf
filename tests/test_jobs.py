from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.prepare_roi import arguments
from tests import handmade
from vsal.manifest import read_manifest, validate

REPO = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def test_a_job_joins_the_cluster_it_runs_on() -> None:
    assert arguments(["c", "--out", "o"]) == ["prepare", "c", "--out", "o", "--address", "auto"]
    assert arguments(["c", "--address", "ray:1"]) == ["prepare", "c", "--address", "ray:1"]
    assert arguments(["c", "--address=ray:1"]) == ["prepare", "c", "--address=ray:1"]


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
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def wait_until_it_answers(environment: dict[str, str]) -> None:
    for _ in range(60):
        listed = subprocess.run(
            [str(BIN / "ray"), "job", "list"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if listed.returncode == 0:
            return
    raise AssertionError(f"the head node does not answer: {listed.stdout}{listed.stderr}")


def test_a_submitted_job_writes_the_manifest(head: dict[str, str], tmp_path: Path) -> None:
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
