from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from vsal.demo import run_demo
from vsal.errors import SettingsError
from vsal.manifest import read_manifest, validate
from vsal.video.synthetic import synthetic_title


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What `vsal demo --json` says, run as a newcomer runs it."""
    out = tmp_path_factory.mktemp("demo")
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from vsal.cli import main; main()", "demo", "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"out": str(out), "wall_s": time.monotonic() - start}


def test_the_demo_ends_within_a_minute(shown: dict[str, object]) -> None:
    assert float(str(shown["wall_s"])) < 60


def test_its_files_are_where_it_says(shown: dict[str, object]) -> None:
    pictures = shown["pictures"]
    assert isinstance(pictures, list)
    for path in (shown["video"], shown["manifest"], *pictures):
        assert os.path.isabs(str(path))
        assert Path(str(path)).stat().st_size > 10_000
    assert validate(str(shown["manifest"])) == []


def test_it_finds_the_shots_that_were_rendered(shown: dict[str, object]) -> None:
    truth = [shot.start for shot in synthetic_title().shots]
    with read_manifest(f"{shown['out']}/manifest").title("demo") as title:
        found = [start for _, start, _ in title.shots()]
    assert len(truth) >= 5
    assert found == truth


def test_the_heat_is_on_the_subject_of_most_shots(shown: dict[str, object]) -> None:
    rendered = synthetic_title()
    on_subject = []
    with read_manifest(f"{shown['out']}/manifest").title("demo") as title:
        for shot in rendered.shots:
            frame = (shot.start + shot.end) // 2
            row = title.map_at(frame)
            saliency = row.saliency.astype(np.float32)
            size = (row.cols, row.rows)
            inside = cv2.resize(rendered.mask(frame), size, interpolation=cv2.INTER_AREA) > 0.5
            on_subject.append(saliency[inside].mean() > 2 * saliency[~inside].mean())
    assert sum(on_subject) >= 0.8 * len(on_subject)


def test_the_demo_writes_to_local_folders_only() -> None:
    with pytest.raises(SettingsError, match="local folder"):
        run_demo("s3://bucket/demo")
