"""What `ray job submit --working-dir .` uploads."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import RAY_RUNTIME_ENV_DEFAULT_EXCLUDES
from ray._private.runtime_env.packaging import create_package

from tests.cluster.manifests import REPO

LARGEST_BYTES = 20 * 10**6
LEFT = (
    ".venv/lib/torch.so",
    "demo/title.mp4",
    "out/maps/x.parquet",
    ".cache/clip.mp4",
    "dist/v.whl",
    ".vsal-7-a/token",
)


def upload(folder: Path, target: Path) -> list[str]:
    """Ray's own package of a folder, as the job client makes it; the names in it."""
    excludes = RAY_RUNTIME_ENV_DEFAULT_EXCLUDES.split(",")
    create_package(str(folder), target, include_gitignore=True, excludes=excludes)
    with zipfile.ZipFile(target) as package:
        return [name for name in package.namelist() if not name.endswith("/")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that git knows, and what work leaves beside them."""
    folder = tmp_path / "checkout"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, folder / name)
    for left in LEFT:
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).write_bytes(b"x" * 1000)
    return folder


def test_the_upload_is_small_and_holds_no_secret(checkout: Path, tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    names = upload(checkout, package)
    assert package.stat().st_size < LARGEST_BYTES
    assert not {name for name in names if name in LEFT or name.startswith("tests/")}
    # All that a job runs on.
    needed = ["git", "ls-files", "vsal", "jobs", "model/shipped"]
    known = subprocess.run(needed, cwd=REPO, capture_output=True, text=True, check=True).stdout
    assert set(known.split()) <= set(names)
