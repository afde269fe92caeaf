"""Killing processes of a running Ray by what they are doing, as a kernel or a person would."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def processes(kind: str, below: int | None = None) -> list[psutil.Process]:
    """Processes of this test run, or below a process, whose title begins with `ray::<kind>`."""
    found = []
    for process in psutil.Process(below or os.getpid()).children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if line and line[0].startswith(f"ray::{kind}"):
            found.append(process)
    return found


@contextmanager
def killer(kind: str, times: int = 1, after_s: float = 0.3) -> Iterator[list[int]]:
    """Kills the first `times` processes of that kind that come by, each `after_s` after it was seen.

    Yields:
        The ids of the processes killed so far.
    """
    killed: list[int] = []
    done = threading.Event()

    def work() -> None:
        while len(killed) < times and not done.is_set():
            for process in processes(kind):
                if process.pid in killed:
                    continue
                time.sleep(after_s)
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.NoSuchProcess:
                    continue
                killed.append(process.pid)
                break
            time.sleep(0.01)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()
