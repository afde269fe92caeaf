"""A head node on loopback with a token, as `ray start --head` makes it, and jobs that are submitted to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with ExitStack() as open_sockets:
        probes = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        environment: of its clients.
        metrics_url: where the node tells Prometheus.
    """

    environment: dict[str, str]
    metrics_url: str

    def ray(self, *words: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """Runs Ray's command line."""
        command = [str(BIN / "ray"), *words]
        environment = self.environment
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout, check=False, cwd=REPO
        )

    def submit(self, *words: str, **options: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit --working-dir REPO` and waits for the job. Options are those of the command, `_` for `-`."""
        given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        deadline = time.monotonic() + 60
        while True:
            done = self.ray("job", "submit", "--working-dir", str(REPO), *given, "--", *words, timeout=900)
            # A head answers before the agent that starts jobs has come up.
            if "No available agent" not in done.stderr + done.stdout or time.monotonic() > deadline:
                return done

    def status(self, submission_id: str) -> str:
        """What Ray says of a job: SUCCEEDED, FAILED, ..."""
        ask = (
            "import os, sys; from ray.job_submission import JobSubmissionClient as Client; "
            "print(Client(os.environ['RAY_API_SERVER_ADDRESS']).get_job_status(sys.argv[1]).value)"
        )
        command = [sys.executable, "-c", ask, submission_id]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split()[-1]

    def metrics(self) -> str:
        """All that the node tells Prometheus now."""
        with urllib.request.urlopen(self.metrics_url, timeout=30) as answer:
            return str(answer.read().decode())


@contextmanager
def running_head(folder: Path, cpus: int = 2, extra: Mapping[str, str] | None = None) -> Iterator[Head]:
    """A head of this context's own, on ports of its own: several Rays on one machine must not share an agent's port.

    Args:
        folder: for its token and log.
        cpus: that it offers.
        extra: environment of the head, and with it of all jobs.
    """
    token = folder / "token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    gcs, dashboard, agent, metrics = free_ports(4)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONPATH": "",
    }
    # Of its own: a job joins the cluster that the file `ray_current_cluster` in it names, the one started last.
    # Short, since the path of a socket may have 107 bytes.
    temp = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    start = [
        str(BIN / "ray"), "start", "--head", "--block", f"--num-cpus={cpus}", f"--port={gcs}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        f"--metrics-export-port={metrics}", "--object-store-memory=200000000", "--disable-usage-stats",
        f"--temp-dir={temp}",
    ]  # fmt: skip
    with (folder / "head.log").open("w") as log:
        given = environment | dict(extra or {})
        process = subprocess.Popen(start, env=given, stdout=log, stderr=log, start_new_session=True)
        api = f"http://127.0.0.1:{dashboard}"
        head = Head(environment | {"RAY_API_SERVER_ADDRESS": api}, f"http://127.0.0.1:{metrics}/metrics")
        try:
            for _ in range(60):
                listed = head.ray("job", "list", timeout=60)
                if listed.returncode == 0:
                    break
            else:
                raise AssertionError(f"the head node does not answer: {listed.stdout}{listed.stderr}")
            yield head
        finally:
            process.terminate()  # --block: the head takes its processes with it
            process.wait(60)
            shutil.rmtree(temp, ignore_errors=True)
