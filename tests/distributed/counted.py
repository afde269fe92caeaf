"""A run in a process of its own, in which every process counts the frames that it decodes: also those that are killed.

What a killed worker has decoded it cannot tell any more. So each frame is written down when it is met: Python looks
for a module named sitecustomize when it starts, and this file lies on the path of the run under that name.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_S = 1200.0  # of a run
FOLDER = os.environ.get("VSAL_TEST_COUNTED", "")


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the scan once it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "vsal.video.scan":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            measured = module._Scan._measured
            out = os.open(f"{FOLDER}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

            def counted(self: Any, pts: int, picture: Any) -> Any:
                os.write(out, b".")
                return measured(self, pts, picture)

            module._Scan._measured = counted

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if FOLDER and __name__ == "sitecustomize":
    sys.meta_path.insert(0, _Finder())


@dataclass
class CountedRun:
    """Runs of `vsal prepare` over one catalogue into one place.

    Args:
        folder: for what is counted, and for the output.
        catalogue: what is prepared.
        place: of the output, where it is not in the folder.
    """

    folder: Path
    catalogue: Path | str
    place: str = ""

    def __post_init__(self) -> None:
        (self.folder / "counts").mkdir(parents=True)
        (self.folder / "path").mkdir()
        shutil.copy(__file__, self.folder / "path" / "sitecustomize.py")

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def frames(self) -> int:
        """Decoded so far, in all runs."""
        return sum(file.stat().st_size for file in (self.folder / "counts").iterdir())

    def start(self, *options: str) -> subprocess.Popen[str]:
        paths = [str(self.folder / "path"), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "vsal", "prepare", str(self.catalogue), "--json"]
        command += ["--out", self.place or str(self.out)]
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(paths), "VSAL_TEST_COUNTED": str(self.folder / "counts"),
        }  # fmt: skip
        return subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def whole(self, *options: str, meanwhile: Callable[[subprocess.Popen[str]], None] | None = None) -> dict[str, Any]:
        """A run to its end; its summary."""
        with self.start(*options) as driver:
            if meanwhile is not None:
                meanwhile(driver)
            return self.ended(driver)

    def ended(self, driver: subprocess.Popen[str]) -> dict[str, Any]:
        """Waits until a run has ended well; its summary."""
        printed, said = driver.communicate(timeout=LONGEST_S)
        assert driver.returncode == 0, said
        document: dict[str, Any] = json.loads(printed)
        return document

    @property
    def kept(self) -> int:
        """Frames up to the last checkpoint of the one title."""
        return max((int(file.stem[-9:]) for file in self.out.glob("checkpoints/*/*.arrow")), default=0)

    def until(self, driver: subprocess.Popen[str], frames: int) -> None:
        """Waits until so many frames are kept."""
        deadline = time.monotonic() + 120
        while self.kept < frames:
            assert driver.poll() is None, "the run ended before so many frames were kept"
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.01)

    def left_over(self) -> Sequence[Path]:
        """What a run should have cleared away."""
        return [*self.out.rglob(".vsal-staging-*"), *self.out.glob("checkpoints")]
