"""The scripts of cluster/: what shellcheck says, and what they do where the programs that reach a cloud stand in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import handmade
from tests.cluster.manifests import REPO
from tests.cluster.shims import called, program, shim
from vsal import __version__
from vsal.manifest import validate

CLUSTER = REPO / "cluster"
SCRIPTS = [path for path in sorted(CLUSTER.rglob("*")) if path.suffix in (".sh", ".sbatch")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    command = [program("shellcheck"), "--shell=bash", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.access(path, os.X_OK), "it cannot be run"


def test_images_of_both_targets_are_built_and_pushed(tmp_path: Path) -> None:
    programs = shim(tmp_path, docker="")
    command = [str(CLUSTER / "images.sh"), "registry.test/team", "--build-arg", "PYTHON_TAG=t@sha256:0"]
    subprocess.run(command, env=programs.environment, check=True, timeout=60, cwd=tmp_path)
    builds = [call for call in called(programs) if call.startswith("docker build")]
    pushed = [call.split()[-1] for call in called(programs) if call.startswith("docker push")]
    assert pushed == [f"registry.test/team/vsal:{__version__}-{target}" for target in ("cpu", "cuda")]
    for image, call in zip(pushed, builds, strict=True):
        assert f"--tag {image} --build-arg PYTHON_TAG=t@sha256:0 ." in call
    stages = (CLUSTER / "Dockerfile").read_text()
    assert all(f" AS {target}\n" in stages for target in ("cpu", "cuda"))


def test_the_operator_comes_and_a_token_that_nobody_saw(tmp_path: Path) -> None:
    kept = tmp_path / "token"  # the first time there is none
    kubectl = f'case "$*" in "get secret"*) [ -e {kept} ];; "create secret"*) cat > {kept};; esac'
    programs = shim(tmp_path, helm="", kubectl=kubectl)
    for _ in range(2):
        subprocess.run([str(CLUSTER / "kuberay/install.sh")], env=programs.environment, check=True, timeout=60)
    token = kept.read_text()
    assert len(token) == 64
    assert int(token, 16)
    calls = called(programs)
    assert not any(token in call for call in calls), "arguments can be seen by other users"
    made = [call for call in calls if "create secret" in call]
    assert made == ["kubectl create secret generic vsal-token --namespace vsal --from-file=auth_token=/dev/stdin"]
    assert all("--version 1.7.0 --namespace kuberay" in call for call in calls if call.startswith("helm"))


SRUN = """
node=n0
while [ "${1#-}" != "$1" ]; do case "$1" in --nodelist=*) node=${1#*=};; esac; shift; done
[ "$1" = hostname ] && { echo 127.0.0.1; exit; }
exec "$@"
"""
SCONTROL = '[ "$1" != show ] || printf "n0\\nn1\\n"'


@pytest.mark.faults  # half a minute, most of it Ray's start and its leave
def test_the_slurm_script_prepares_a_clip_on_two_nodes(tmp_path: Path) -> None:
    programs = shim(tmp_path, srun=SRUN, scontrol=SCONTROL)
    clip = handmade.write_clip(tmp_path / "a clip.mp4")
    out = tmp_path / "out"
    # A number of its own: ports follow from it.
    number = 1 + os.getpid() % 990
    slurm = {"SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "n[0-1]", "SLURM_CPUS_PER_TASK": "1"}
    script = [str(CLUSTER / "slurm/vsal.sbatch"), "prepare_roi"]
    before = set(REPO.glob(".vsal-*"))

    def run(*words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in programs.environment.items() if not k.startswith("RAY_")} | slurm | extra
        return subprocess.run(
            [*script, *words], env=environment, capture_output=True, text=True, timeout=280, check=False, cwd=REPO
        )

    done = run(str(clip), "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "prepare_roi ended as SUCCEEDED" in done.stdout
    assert validate(str(out)) == []
    starts = [call for call in called(programs) if "ray start" in call]
    assert ["--nodelist=n0" in call for call in starts] == [True, False]
    assert "--head" in starts[0]
    assert not any("requeue" in call for call in called(programs))
    assert set(REPO.glob(".vsal-*")) == before, "the token is left behind"
    assert not list(Path("/tmp").glob(f"vsal-{number}*")), "files of the nodes are left behind"


@pytest.mark.faults
def test_the_slurm_script_asks_for_another_start_until_it_had_enough(tmp_path: Path) -> None:
    programs = shim(tmp_path, srun=SRUN, scontrol=SCONTROL.replace("n1\\n", ""))
    number = 1 + (os.getpid() + 500) % 990
    slurm = {"SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "n0", "SLURM_CPUS_PER_TASK": "1", "VSAL_RESTARTS": "1"}
    words = [str(CLUSTER / "slurm/vsal.sbatch"), "prepare_roi", str(tmp_path / "nothing"), "--out", str(tmp_path)]
    for restarts, requeued in (("0", 1), ("1", 1)):
        environment = {k: v for k, v in programs.environment.items() if not k.startswith("RAY_")}
        environment |= slurm | {"SLURM_RESTART_COUNT": restarts}
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=280, check=False, cwd=REPO
        )
        assert "ended as FAILED" in done.stdout, done.stdout + done.stderr
        assert sum(f"requeue {number}" in call for call in called(programs)) == requeued
    assert done.returncode == 1


def test_the_slurm_script_says_what_it_wants(tmp_path: Path) -> None:
    script = str(CLUSTER / "slurm/vsal.sbatch")
    environment = os.environ | {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n0"}

    def run(*words: str, cwd: Path) -> str:
        done = subprocess.run(
            [script, *words], capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env=environment
        )
        assert done.returncode == 2
        return done.stderr

    assert "usage" in run(cwd=REPO)
    assert "submit from the root of a checkout" in run("prepare_roi", "x", cwd=tmp_path)
    (tmp_path / "jobs").mkdir()
    shutil.copy(REPO / "jobs/prepare_roi.py", tmp_path / "jobs")
    assert "make install" in run("prepare_roi", "x", cwd=tmp_path)
