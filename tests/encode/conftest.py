from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.encode.titles import write_manifest, write_source
from vsal.encode.codecs.kvazaar import find_kvazaar_ffmpeg
from vsal.encode.codecs.svtav1 import find_svtav1
from vsal.errors import SettingsError
from vsal.video.ffmpeg import find_ffmpeg


def _missing(what: str) -> None:
    """A test that cannot run is a failure where everything was meant to be there."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def _installed(name: str) -> str:
    """Where tests/install_encoders.sh puts a program."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return str(cache / "vsal" / "programs" / "bin" / name)


@pytest.fixture(scope="session")
def svtav1() -> str:
    for program in (None, _installed("SvtAv1EncApp")):
        try:
            return find_svtav1(program)[0]
        except SettingsError:
            continue
    _missing("no SvtAv1EncApp >= 1.6: tests/install_encoders.sh brings one")
    raise AssertionError


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(_installed(name))
    if found is None:
        _missing(f"no {name}: tests/install_encoders.sh brings one")
        raise AssertionError
    return found


@pytest.fixture(scope="session")
def x264() -> str:
    """The program of that name, not the library in PyAV."""
    return _program("x264")


@pytest.fixture(scope="session")
def x265() -> str:
    """The program of that name, not the library in PyAV."""
    return _program("x265")


@pytest.fixture(scope="session")
def kvazaar() -> str:
    try:
        return find_kvazaar_ffmpeg()
    except SettingsError as error:
        _missing(str(error))
        raise


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    try:
        return find_ffmpeg()
    except SettingsError as error:
        _missing(str(error))
        raise


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots of 24 frames, 320x192."""
    return write_source(tmp_path_factory.mktemp("source") / "clip.mp4")


@pytest.fixture(scope="session")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT with the manifest of `source`."""
    out = tmp_path_factory.mktemp("out")
    write_manifest(out, source)
    return out
