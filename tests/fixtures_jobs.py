"""Both jobs, submitted to a head with a token, over a clip and a file that is no video."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import handmade
from tests.cluster.head import Head, running_head

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Submitted:
    """What two jobs left behind.

    Attributes:
        states: what Ray says of the jobs, by the name of the job.
        metrics: what the node told Prometheus while and after they ran.
        stranger: the answer to a client without the token.
    """

    out: Path
    dest: Path
    prepared: Done
    encoded: Done
    states: dict[str, str]
    metrics: str
    stranger: Done


def _wait_for_metrics(head: Head, name: str) -> str:
    """The node's metrics once a name is among them: a driver hands its own over every few seconds."""
    deadline = time.monotonic() + 40
    while (told := head.metrics()).count(name) == 0 and time.monotonic() < deadline:
        time.sleep(1)
    return told


@pytest.fixture(scope="session")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Submitted]:
    """Runs them once for all tests that look at something of it."""
    folder = tmp_path_factory.mktemp("jobs")
    videos, out, dest = folder / "videos", folder / "out", folder / "enc"
    videos.mkdir()
    handmade.write_clip(videos / "clip.mp4")
    (videos / "bad.mp4").write_bytes(b"no video at all" * 100)
    with running_head(folder) as head:
        environment = {key: value for key, value in head.environment.items() if not key.startswith("RAY_AUTH")}
        stranger = Head(environment | {"RAY_AUTH_MODE": "disabled"}, head.metrics_url)
        refused = stranger.submit("python", "-c", "pass")
        job = [sys.executable, "-m", "jobs.prepare_roi", str(videos), "--out", str(out), "--max-failed", "1"]
        prepared = head.submit(*job, submission_id="prepare")
        told = _wait_for_metrics(head, "ray_vsal_step_failures_total")
        job = [sys.executable, "-m", "jobs.encode_roi", str(out), "--dest", str(dest), "--preset", "superfast"]
        encoded = head.submit(*job, submission_id="encode")
        states = {name: head.status(name) for name in ("prepare", "encode")}
        told += _wait_for_metrics(head, 'kind="encode"')
    return Submitted(out, dest, prepared, encoded, states, told, refused)
