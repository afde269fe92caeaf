from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import handmade
from vsal.manifest import validate

REPO = Path(__file__).resolve().parent.parent
# What a checkout offers and an installation must do without.
CHECKOUT = ("PYTHONPATH", "VSAL_MODELS", "VIRTUAL_ENV")


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in CHECKOUT}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPO, cwd=folder)
    (built,) = folder.glob("vsal-*.whl")
    return built


def test_the_wheel_holds_models_and_types_and_nothing_of_the_workshop(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    registry = json.loads(zipfile.ZipFile(wheel).read("vsal/_models/registry.json"))
    for model in registry["models"]:
        assert f"vsal/_models/{model['file']}" in names
    assert "vsal/_models/op_allowlist.txt" in names
    assert {Path(name).suffix for name in names if name.startswith("vsal/_models/")} == {".onnx", ".json", ".txt"}
    assert "vsal/py.typed" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"vsal", next(top for top in tops if top.endswith(".dist-info"))}


@pytest.mark.timeout(900)  # installs every dependency, from pip's cache where it has them
def test_an_installed_wheel_prepares_a_clip_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    clip = handmade.write_clip(tmp_path / "clip.mp4")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    bin_ = tmp_path / "venv" / "bin"
    run(bin_ / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)

    models = json.loads(run(bin_ / "vsal", "models", "list", "--json", cwd=tmp_path))
    assert all(model["path"].startswith(str(tmp_path / "venv")) for model in models["models"])

    document = json.loads(run(bin_ / "vsal", "prepare", clip, "--out", "out", "--json", cwd=tmp_path))
    assert document["titles"] == {"done": 1, "skipped": 0, "failed": 0}
    assert document["frames"] == 72
    assert validate(str(tmp_path / "out")) == []
