from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from vsal.distributed.cluster import ray_cluster
from vsal.settings import RunSettings
from vsal.video.synthetic import SyntheticTitle, render_title, synthetic_title


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """Ray on this machine for a module's tests; what is prepared meanwhile uses it."""
    with ray_cluster(RunSettings()):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds, six shots, a keyframe every half second."""
    return rendered(tmp_path_factory.mktemp("clips") / "clip.mp4", synthetic_title(320, 180, 24, 6, 12, seed=4), gop=12)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute, so that there is time to kill something in the middle."""
    return rendered(
        tmp_path_factory.mktemp("clips") / "long.mp4", synthetic_title(320, 180, 24, 20, 60, seed=5), gop=24
    )


def rendered(path: Path, title: SyntheticTitle, gop: int) -> Path:
    render_title(str(path), title, gop=gop)
    return path
