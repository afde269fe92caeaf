from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.fixtures_s3", "tests.fixtures_jobs"]

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Photographs, clips and odd videos that are not part of the project."""
    folder = Path(os.environ.get("VSAL_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (set VSAL_DATA to its folder)")
    return folder
